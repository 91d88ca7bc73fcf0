
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
            cand -p 'Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive''s root]'
            cand --parent 'Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive''s root]'
            cand -n 'Name in the drive, for one file; standard input needs one [default: the file''s own name]'
            cand --name 'Name in the drive, for one file; standard input needs one [default: the file''s own name]'
            cand --mime-type 'MIME type [default: by extension, then by content]'
            cand --include 'Of directories, send only what matches; may be given again, the last match wins'
            cand --exclude 'Of directories, leave out what matches; may be given again, the last match wins'
            cand --if-exists 'When the folder has a file of that name already'
            cand -j 'Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]'
            cand --concurrency 'Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]'
            cand --part-size 'Bytes a part, 5MiB to 5GiB [default: planned from the file''s size]'
            cand --limit-rate 'Bytes a second over all parts, such as 2MiB [default: no limit]'
            cand --retry-for 'How long to keep trying what gets no further; 0: not at all [default: 5m]'
            cand --max-retries 'The same as a count of retries in a row; whichever comes first [default: no limit]'
            cand --connect-timeout 'How long a connection may take to come about [default: 10s]'
            cand --stall-timeout 'How long the network may take no byte, or storage give no answer [default: 30s]'
            cand --profile 'Profile of the configuration [env: COPERA_PROFILE] [default: `default_profile`, else `default`]'
            cand --config 'Read this configuration file and no other [env: COPERA_CONFIG]'
            cand --api-url 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]'
            cand --cacert 'Trust these certificates too (PEM)'
            cand -o 'What goes to stdout'
            cand --output 'What goes to stdout'
            cand --progress 'How progress is shown'
            cand --log-format 'The form of the lines on stderr'
            cand --color 'Colours'
            cand --generate 'Print a completion script or the man page'
            cand -r 'Upload directories with all that is in them'
            cand --recursive 'Upload directories with all that is in them'
            cand -L 'Follow links in directories [default: they are skipped with a warning]'
            cand --follow-symlinks 'Follow links in directories [default: they are skipped with a warning]'
            cand --no-resume 'Neither continue an earlier upload nor keep records for a later one'
            cand --no-checksum 'Do not compare each part''s MD5 with what storage returns'
            cand --allow-http 'Accept plain http:// for hosts other than this machine'
            cand --login 'Ask for a token, check it, and save it in the configuration'
            cand -q 'Only errors on stderr'
            cand --quiet 'Only errors on stderr'
            cand -v 'More on stderr: what is done, and with -vv every request, secrets masked'
            cand --verbose 'More on stderr: what is done, and with -vv every request, secrets masked'
            cand --dry-run 'Print the plan, one JSON line a file, and do nothing'
            cand -h 'Print help (with --help more of it)'
            cand --help 'Print help (with --help more of it)'
            cand -V 'Print the version'
            cand --version 'Print the version'
        }
    ]
    $completions[$command]
}
