
use builtin;
use str;

set edit:completion:arg-completer[copera-upload] = {|@words|
    fn spaces {|n|
        builtin:repeat $n ' ' | str:join ''
    }
    fn cand {|text desc|
        edit:complex-candidate $text &display=$text' '(spaces (- 14 (wcswidth $text)))$desc
    }
    var command = 'copera-upload'
    for word $words[1..-1] {
        if (str:has-prefix $word '-') {
            break
        }
        set command = $command';'$word
    }
    var completions = [
        &'copera-upload'= {
            cand -p 'Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]'
            cand --parent 'Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]'
            cand -t 'Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]'
            cand --to 'Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]'
            cand -n 'Name in the drive, for a single file; required for standard input [default: the file''s name]'
            cand --name 'Name in the drive, for a single file; required for standard input [default: the file''s name]'
            cand --mime-type 'MIME type [default: guessed from the extension, then from the content]'
            cand --files-from 'Read more paths from a file, one per line, or from standard input (-)'
            cand --include 'Upload matching files; repeatable, the last match wins'
            cand --exclude 'Exclude matching files and directories; repeatable, the last match wins'
            cand --if-exists 'What to do if the folder already has a file of that name'
            cand -j 'Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]'
            cand --concurrency 'Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]'
            cand --part-size 'Size of a part, 5MiB to 5GiB [default: chosen from the file''s size]'
            cand --limit-rate 'Total upload rate in bytes per second, for example 2MiB [default: unlimited]'
            cand --retry-for 'Give up after this long without progress; 0 disables retries [default: 5m]'
            cand --max-retries 'Give up after this many consecutive retries without progress [default: no limit]'
            cand --connect-timeout 'Connection timeout [default: 10s]'
            cand --stall-timeout 'Abort and retry a transfer that has stalled for this long [default: 30s]'
            cand --verify 'Prove after each upload that the drive''s object is the file'
            cand --profile 'Configuration profile [env: COPERA_PROFILE] [default: `default_profile`, else `default`]'
            cand --config 'Read only this configuration file [env: COPERA_CONFIG]'
            cand --api-url 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]'
            cand --cacert 'Trust the certificates in this PEM file as well'
            cand -o 'What to print to stdout'
            cand --output 'What to print to stdout'
            cand --progress 'How to show progress'
            cand --log-format 'Format of the lines on stderr'
            cand --color 'When to use colors'
            cand --generate 'Print a completion script or the man page'
            cand -r 'Upload directories and their contents'
            cand --recursive 'Upload directories and their contents'
            cand -R 'Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`'
            cand --relative 'Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`'
            cand -0 'Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them'
            cand --null 'Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them'
            cand -L 'Follow symbolic links in directories [default: skip them with a warning]'
            cand --follow-symlinks 'Follow symbolic links in directories [default: skip them with a warning]'
            cand --no-resume 'Do not resume an earlier upload or keep records for a later one'
            cand --no-checksum 'Do not compare the MD5 of each part with the ETag that storage returns'
            cand --allow-http 'Allow plain http:// to hosts other than this machine'
            cand --login 'Ask for a token, check it and save it in the configuration'
            cand -q 'Print only errors to stderr'
            cand --quiet 'Print only errors to stderr'
            cand -v 'Print more to stderr: decisions, and with -vv every request, with secrets masked'
            cand --verbose 'Print more to stderr: decisions, and with -vv every request, with secrets masked'
            cand --dry-run 'Print what would be uploaded, one JSON line per file, and exit'
            cand -h 'Print help; --help prints more than -h'
            cand --help 'Print help; --help prints more than -h'
            cand -V 'Print the version; with -v also commit, target and features, for bug reports'
            cand --version 'Print the version; with -v also commit, target and features, for bug reports'
        }
    ]
    $completions[$command]
}
