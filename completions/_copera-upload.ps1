
using namespace System.Management.Automation
using namespace System.Management.Automation.Language

Register-ArgumentCompleter -Native -CommandName 'copera-upload' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)

    $commandElements = $commandAst.CommandElements
    $command = @(
        'copera-upload'
        for ($i = 1; $i -lt $commandElements.Count; $i++) {
            $element = $commandElements[$i]
            if ($element -isnot [StringConstantExpressionAst] -or
                $element.StringConstantType -ne [StringConstantType]::BareWord -or
                $element.Value.StartsWith('-') -or
                $element.Value -eq $wordToComplete) {
                break
        }
        $element.Value
    }) -join ';'

    $completions = @(switch ($command) {
        'copera-upload' {
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]')
            [CompletionResult]::new('--parent', '--parent', [CompletionResultType]::ParameterName, 'Folder to upload into, by its ID or its address in the browser [env: COPERA_PARENT_ID] [default: root of the drive]')
            [CompletionResult]::new('-t', '-t', [CompletionResultType]::ParameterName, 'Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]')
            [CompletionResult]::new('--to', '--to', [CompletionResultType]::ParameterName, 'Folder to upload into, by its path below --parent, for example Reports/2026 [env: COPERA_TO]')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Name in the drive, for a single file; required for standard input [default: the file''s name]')
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'Name in the drive, for a single file; required for standard input [default: the file''s name]')
            [CompletionResult]::new('--mime-type', '--mime-type', [CompletionResultType]::ParameterName, 'MIME type [default: guessed from the extension, then from the content]')
            [CompletionResult]::new('--files-from', '--files-from', [CompletionResultType]::ParameterName, 'Read more paths from a file, one per line, or from standard input (-)')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Upload matching files; repeatable, the last match wins')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Exclude matching files and directories; repeatable, the last match wins')
            [CompletionResult]::new('--if-exists', '--if-exists', [CompletionResultType]::ParameterName, 'What to do if the folder already has a file of that name')
            [CompletionResult]::new('-j', '-j', [CompletionResultType]::ParameterName, 'Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]')
            [CompletionResult]::new('--concurrency', '--concurrency', [CompletionResultType]::ParameterName, 'Concurrent part uploads, 1 to 64 [default: adaptive, up to 32]')
            [CompletionResult]::new('--part-size', '--part-size', [CompletionResultType]::ParameterName, 'Size of a part, 5MiB to 5GiB [default: chosen from the file''s size]')
            [CompletionResult]::new('--limit-rate', '--limit-rate', [CompletionResultType]::ParameterName, 'Total upload rate in bytes per second, for example 2MiB [default: unlimited]')
            [CompletionResult]::new('--retry-for', '--retry-for', [CompletionResultType]::ParameterName, 'Give up after this long without progress; 0 disables retries [default: 5m]')
            [CompletionResult]::new('--max-retries', '--max-retries', [CompletionResultType]::ParameterName, 'Give up after this many consecutive retries without progress [default: no limit]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'Connection timeout [default: 10s]')
            [CompletionResult]::new('--stall-timeout', '--stall-timeout', [CompletionResultType]::ParameterName, 'Abort and retry a transfer that has stalled for this long [default: 30s]')
            [CompletionResult]::new('--verify', '--verify', [CompletionResultType]::ParameterName, 'Prove after each upload that the drive''s object is the file')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'Configuration profile [env: COPERA_PROFILE] [default: `default_profile`, else `default`]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read only this configuration file [env: COPERA_CONFIG]')
            [CompletionResult]::new('--api-url', '--api-url', [CompletionResultType]::ParameterName, 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust the certificates in this PEM file as well')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'What to print to stdout')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'What to print to stdout')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'How to show progress')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'Format of the lines on stderr')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'When to use colors')
            [CompletionResult]::new('--generate', '--generate', [CompletionResultType]::ParameterName, 'Print a completion script or the man page')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Upload directories and their contents')
            [CompletionResult]::new('--recursive', '--recursive', [CompletionResultType]::ParameterName, 'Upload directories and their contents')
            [CompletionResult]::new('-R', '-R ', [CompletionResultType]::ParameterName, 'Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`')
            [CompletionResult]::new('--relative', '--relative', [CompletionResultType]::ParameterName, 'Keep the directories of each relative PATH: `2026/may/a.jpg` goes into the folders `2026/may`')
            [CompletionResult]::new('-0', '-0', [CompletionResultType]::ParameterName, 'Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them')
            [CompletionResult]::new('--null', '--null', [CompletionResultType]::ParameterName, 'Paths in --files-from end with NUL bytes, as `find -print0` and `git ls-files -z` print them')
            [CompletionResult]::new('-L', '-L ', [CompletionResultType]::ParameterName, 'Follow symbolic links in directories [default: skip them with a warning]')
            [CompletionResult]::new('--follow-symlinks', '--follow-symlinks', [CompletionResultType]::ParameterName, 'Follow symbolic links in directories [default: skip them with a warning]')
            [CompletionResult]::new('--no-resume', '--no-resume', [CompletionResultType]::ParameterName, 'Do not resume an earlier upload or keep records for a later one')
            [CompletionResult]::new('--no-checksum', '--no-checksum', [CompletionResultType]::ParameterName, 'Do not compare the MD5 of each part with the ETag that storage returns')
            [CompletionResult]::new('--allow-http', '--allow-http', [CompletionResultType]::ParameterName, 'Allow plain http:// to hosts other than this machine')
            [CompletionResult]::new('--login', '--login', [CompletionResultType]::ParameterName, 'Ask for a token, check it and save it in the configuration')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Print only errors to stderr')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Print only errors to stderr')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'Print more to stderr: decisions, and with -vv every request, with secrets masked')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'Print more to stderr: decisions, and with -vv every request, with secrets masked')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print what would be uploaded, one JSON line per file, and exit')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help; --help prints more than -h')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help; --help prints more than -h')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version; with -v also commit, target and features, for bug reports')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version; with -v also commit, target and features, for bug reports')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
