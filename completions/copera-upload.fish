complete -c copera-upload -s p -l parent -d 'Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive\'s root]' -r -f
complete -c copera-upload -s n -l name -d 'Name in the drive, for one file; standard input needs one [default: the file\'s own name]' -r -f
complete -c copera-upload -l mime-type -d 'MIME type [default: by extension, then by content]' -r -f
complete -c copera-upload -l include -d 'Of directories, send only what matches; may be given again, the last match wins' -r -f
complete -c copera-upload -l exclude -d 'Of directories, leave out what matches; may be given again, the last match wins' -r -f
complete -c copera-upload -l if-exists -d 'When the folder has a file of that name already' -r -f -a "upload\t'Upload it all the same: a second item of that name'
skip\t'Take the one that is there if it has the same size; else upload'
fail\t'Fail'"
complete -c copera-upload -s j -l concurrency -d 'Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]' -r -f
complete -c copera-upload -l part-size -d 'Bytes a part, 5MiB to 5GiB [default: planned from the file\'s size]' -r -f
complete -c copera-upload -l limit-rate -d 'Bytes a second over all parts, such as 2MiB [default: no limit]' -r -f
complete -c copera-upload -l retry-for -d 'How long to keep trying what gets no further; 0: not at all [default: 5m]' -r -f
complete -c copera-upload -l max-retries -d 'The same as a count of retries in a row; whichever comes first [default: no limit]' -r -f
complete -c copera-upload -l connect-timeout -d 'How long a connection may take to come about [default: 10s]' -r -f
complete -c copera-upload -l stall-timeout -d 'How long the network may take no byte, or storage give no answer [default: 30s]' -r -f
complete -c copera-upload -l profile -d 'Profile of the configuration [env: COPERA_PROFILE] [default: `default_profile`, else `default`]' -r -f
complete -c copera-upload -l config -d 'Read this configuration file and no other [env: COPERA_CONFIG]' -r -F
complete -c copera-upload -l api-url -d 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]' -r -f
complete -c copera-upload -l cacert -d 'Trust these certificates too (PEM)' -r -F
complete -c copera-upload -s o -l output -d 'What goes to stdout' -r -f -a "json\t'The created drive item, exactly as the service answered'
id\t'Its id, one a line'
url\t'The address of its page, one a line'
report\t'One JSON line for every input file, whatever became of it'
none\t'Nothing'"
complete -c copera-upload -l progress -d 'How progress is shown' -r -f -a "auto\t'Bars on a terminal, else a line every 10 s'
bar\t'Bars'
plain\t'A line every 10 s'
none\t'Nothing'"
complete -c copera-upload -l log-format -d 'The form of the lines on stderr' -r -f -a "human\t'For people'
json\t'One JSON object a line'"
complete -c copera-upload -l color -d 'Colours' -r -f -a "auto\t'On a terminal, unless NO_COLOR is set'
always\t'Even into a file'
never\t'Never'"
complete -c copera-upload -l generate -d 'Print a completion script or the man page' -r -f -a "complete-bash\t'Completions for bash'
complete-zsh\t'Completions for zsh'
complete-fish\t'Completions for fish'
complete-powershell\t'Completions for PowerShell'
complete-elvish\t'Completions for elvish'
man\t'The man page'"
complete -c copera-upload -s r -l recursive -d 'Upload directories with all that is in them'
complete -c copera-upload -s L -l follow-symlinks -d 'Follow links in directories [default: they are skipped with a warning]'
complete -c copera-upload -l no-resume -d 'Neither continue an earlier upload nor keep records for a later one'
complete -c copera-upload -l no-checksum -d 'Do not compare each part\'s MD5 with what storage returns'
complete -c copera-upload -l allow-http -d 'Accept plain http:// for hosts other than this machine'
complete -c copera-upload -l login -d 'Ask for a token, check it, and save it in the configuration'
complete -c copera-upload -s q -l quiet -d 'Only errors on stderr'
complete -c copera-upload -s v -l verbose -d 'More on stderr: what is done, and with -vv every request, secrets masked'
complete -c copera-upload -l dry-run -d 'Print the plan, one JSON line a file, and do nothing'
complete -c copera-upload -s h -l help -d 'Print help (with --help more of it)'
complete -c copera-upload -s V -l version -d 'Print the version'
