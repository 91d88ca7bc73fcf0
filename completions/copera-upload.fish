complete -c copera-upload -s p -l parent -d 'Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]' -r -f
complete -c copera-upload -s t -l to -d 'Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]' -r -f
complete -c copera-upload -s n -l name -d 'Name in the drive, for a single file; required for standard input [default: the file\'s name]' -r -f
complete -c copera-upload -l mime-type -d 'MIME type [default: guessed from the extension, then from the content]' -r -f
complete -c copera-upload -l files-from -d 'Read more paths from a file, one per line, or from standard input (-)' -r -F
complete -c copera-upload -l include -d 'Upload matching files; repeatable, the last match wins' -r -f
complete -c copera-upload -l exclude -d 'Exclude matching files and directories; repeatable, the last match wins' -r -f
complete -c copera-upload -l if-exists -d 'What to do if the folder already has a file of that name' -r -f -a "upload\t'Upload anyway, which creates a second item of that name'
skip\t'Skip if a file with the same name and size exists, otherwise upload'
newer\t'Skip if the newest file of that name has the same size and was created after the file was modified, otherwise upload'
fail\t'Fail with exit code 5'"
complete -c copera-upload -s j -l concurrency -d 'Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]' -r -f
complete -c copera-upload -l part-size -d 'Size of a part, 5MiB to 5GiB [default: chosen from the file\'s size]' -r -f
complete -c copera-upload -l limit-rate -d 'Total upload rate in bytes per second, for example 2MiB [default: unlimited]' -r -f
complete -c copera-upload -l retry-for -d 'Give up after this long without progress; 0 disables retries [default: 5m]' -r -f
complete -c copera-upload -l max-retries -d 'Give up after this many consecutive retries without progress [default: no limit]' -r -f
complete -c copera-upload -l connect-timeout -d 'Connection timeout [default: 10s]' -r -f
complete -c copera-upload -l stall-timeout -d 'Abort and retry a transfer that has stalled for this long [default: 30s]' -r -f
complete -c copera-upload -l verify -d 'Prove after each upload that the drive\'s object is the file' -r -f -a "auto\t'Compare the object\'s size and multipart ETag; if the ETag proves nothing, download and compare'
full\t'Download the object and compare it'
off\t'Do not verify, whatever a configuration file says'"
complete -c copera-upload -l profile -d 'Configuration profile [env: COPERA_PROFILE] [default: `default_profile`, else `default`]' -r -f
complete -c copera-upload -l config -d 'Read only this configuration file [env: COPERA_CONFIG]' -r -F
complete -c copera-upload -l api-url -d 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]' -r -f
complete -c copera-upload -l cacert -d 'Trust the certificates in this PEM file as well' -r -F
complete -c copera-upload -s o -l output -d 'What to print to stdout' -r -f -a "json\t'The created drive item, exactly as the service returned it'
id\t'The ID of the item, one per line'
url\t'The URL of the item\'s page, one per line'
report\t'One JSON line per input file, including failed ones'
none\t'Nothing'"
complete -c copera-upload -l progress -d 'How to show progress' -r -f -a "auto\t'Bars on a terminal, otherwise a line every 10 s'
bar\t'Bars'
plain\t'A line every 10 s'
none\t'Nothing'"
complete -c copera-upload -l log-format -d 'Format of the lines on stderr' -r -f -a "human\t'Text for people'
json\t'One JSON object per line'"
complete -c copera-upload -l color -d 'When to use colors' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Always, even when stderr is a file'
never\t'Never'"
complete -c copera-upload -l generate -d 'Print a completion script or the man page' -r -f -a "complete-bash\t'Completions for bash'
complete-zsh\t'Completions for zsh'
complete-fish\t'Completions for fish'
complete-powershell\t'Completions for PowerShell'
complete-elvish\t'Completions for elvish'
man\t'The man page'"
complete -c copera-upload -s r -l recursive -d 'Upload directories and their contents'
complete -c copera-upload -s R -l relative -d 'Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`'
complete -c copera-upload -s 0 -l null -d 'Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them'
complete -c copera-upload -s L -l follow-symlinks -d 'Follow symbolic links in directories [default: skip them with a warning]'
complete -c copera-upload -l no-resume -d 'Do not resume an earlier upload or keep records for a later one'
complete -c copera-upload -l no-checksum -d 'Do not compare the MD5 of each part with the ETag that storage returns'
complete -c copera-upload -l allow-http -d 'Allow plain http:// to hosts other than this machine'
complete -c copera-upload -l login -d 'Ask for a token, check it and save it in the configuration'
complete -c copera-upload -s q -l quiet -d 'Print only errors to stderr'
complete -c copera-upload -s v -l verbose -d 'Print more to stderr: decisions, and with -vv every request, with secrets masked'
complete -c copera-upload -l dry-run -d 'Print what would be uploaded, one JSON line per file, and exit'
complete -c copera-upload -s h -l help -d 'Print help; --help prints more than -h'
complete -c copera-upload -s V -l version -d 'Print the version; with -v also commit, target and features, for bug reports'
