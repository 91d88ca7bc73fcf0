
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
            [CompletionResult]::new('-p', '-p', [CompletionResultType]::ParameterName, 'Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive''s root]')
            [CompletionResult]::new('--parent', '--parent', [CompletionResultType]::ParameterName, 'Folder to upload into, by its id [env: COPERA_PARENT_ID] [default: the drive''s root]')
            [CompletionResult]::new('-n', '-n', [CompletionResultType]::ParameterName, 'Name in the drive, for one file; standard input needs one [default: the file''s own name]')
            [CompletionResult]::new('--name', '--name', [CompletionResultType]::ParameterName, 'Name in the drive, for one file; standard input needs one [default: the file''s own name]')
            [CompletionResult]::new('--mime-type', '--mime-type', [CompletionResultType]::ParameterName, 'MIME type [default: by extension, then by content]')
            [CompletionResult]::new('--include', '--include', [CompletionResultType]::ParameterName, 'Of directories, send only what matches; may be given again, the last match wins')
            [CompletionResult]::new('--exclude', '--exclude', [CompletionResultType]::ParameterName, 'Of directories, leave out what matches; may be given again, the last match wins')
            [CompletionResult]::new('--if-exists', '--if-exists', [CompletionResultType]::ParameterName, 'When the folder has a file of that name already')
            [CompletionResult]::new('-j', '-j', [CompletionResultType]::ParameterName, 'Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]')
            [CompletionResult]::new('--concurrency', '--concurrency', [CompletionResultType]::ParameterName, 'Parts in flight, 1 to 64 [default: 1 to 32, as the line gives]')
            [CompletionResult]::new('--part-size', '--part-size', [CompletionResultType]::ParameterName, 'Bytes a part, 5MiB to 5GiB [default: planned from the file''s size]')
            [CompletionResult]::new('--limit-rate', '--limit-rate', [CompletionResultType]::ParameterName, 'Bytes a second over all parts, such as 2MiB [default: no limit]')
            [CompletionResult]::new('--retry-for', '--retry-for', [CompletionResultType]::ParameterName, 'How long to keep trying what gets no further; 0: not at all [default: 5m]')
            [CompletionResult]::new('--max-retries', '--max-retries', [CompletionResultType]::ParameterName, 'The same as a count of retries in a row; whichever comes first [default: no limit]')
            [CompletionResult]::new('--connect-timeout', '--connect-timeout', [CompletionResultType]::ParameterName, 'How long a connection may take to come about [default: 10s]')
            [CompletionResult]::new('--stall-timeout', '--stall-timeout', [CompletionResultType]::ParameterName, 'How long the network may take no byte, or storage give no answer [default: 30s]')
            [CompletionResult]::new('--profile', '--profile', [CompletionResultType]::ParameterName, 'Profile of the configuration [env: COPERA_PROFILE] [default: `default_profile`, else `default`]')
            [CompletionResult]::new('--config', '--config', [CompletionResultType]::ParameterName, 'Read this configuration file and no other [env: COPERA_CONFIG]')
            [CompletionResult]::new('--api-url', '--api-url', [CompletionResultType]::ParameterName, 'Base URL of the API [env: COPERA_API_URL] [default: https://api.copera.ai/public/v1]')
            [CompletionResult]::new('--cacert', '--cacert', [CompletionResultType]::ParameterName, 'Trust these certificates too (PEM)')
            [CompletionResult]::new('-o', '-o', [CompletionResultType]::ParameterName, 'What goes to stdout')
            [CompletionResult]::new('--output', '--output', [CompletionResultType]::ParameterName, 'What goes to stdout')
            [CompletionResult]::new('--progress', '--progress', [CompletionResultType]::ParameterName, 'How progress is shown')
            [CompletionResult]::new('--log-format', '--log-format', [CompletionResultType]::ParameterName, 'The form of the lines on stderr')
            [CompletionResult]::new('--color', '--color', [CompletionResultType]::ParameterName, 'Colours')
            [CompletionResult]::new('--generate', '--generate', [CompletionResultType]::ParameterName, 'Print a completion script or the man page')
            [CompletionResult]::new('-r', '-r', [CompletionResultType]::ParameterName, 'Upload directories with all that is in them')
            [CompletionResult]::new('--recursive', '--recursive', [CompletionResultType]::ParameterName, 'Upload directories with all that is in them')
            [CompletionResult]::new('-L', '-L ', [CompletionResultType]::ParameterName, 'Follow links in directories [default: they are skipped with a warning]')
            [CompletionResult]::new('--follow-symlinks', '--follow-symlinks', [CompletionResultType]::ParameterName, 'Follow links in directories [default: they are skipped with a warning]')
            [CompletionResult]::new('--no-resume', '--no-resume', [CompletionResultType]::ParameterName, 'Neither continue an earlier upload nor keep records for a later one')
            [CompletionResult]::new('--no-checksum', '--no-checksum', [CompletionResultType]::ParameterName, 'Do not compare each part''s MD5 with what storage returns')
            [CompletionResult]::new('--allow-http', '--allow-http', [CompletionResultType]::ParameterName, 'Accept plain http:// for hosts other than this machine')
            [CompletionResult]::new('--login', '--login', [CompletionResultType]::ParameterName, 'Ask for a token, check it, and save it in the configuration')
            [CompletionResult]::new('-q', '-q', [CompletionResultType]::ParameterName, 'Only errors on stderr')
            [CompletionResult]::new('--quiet', '--quiet', [CompletionResultType]::ParameterName, 'Only errors on stderr')
            [CompletionResult]::new('-v', '-v', [CompletionResultType]::ParameterName, 'More on stderr: what is done, and with -vv every request, secrets masked')
            [CompletionResult]::new('--verbose', '--verbose', [CompletionResultType]::ParameterName, 'More on stderr: what is done, and with -vv every request, secrets masked')
            [CompletionResult]::new('--dry-run', '--dry-run', [CompletionResultType]::ParameterName, 'Print the plan, one JSON line a file, and do nothing')
            [CompletionResult]::new('-h', '-h', [CompletionResultType]::ParameterName, 'Print help (with --help more of it)')
            [CompletionResult]::new('--help', '--help', [CompletionResultType]::ParameterName, 'Print help (with --help more of it)')
            [CompletionResult]::new('-V', '-V ', [CompletionResultType]::ParameterName, 'Print the version')
            [CompletionResult]::new('--version', '--version', [CompletionResultType]::ParameterName, 'Print the version')
            break
        }
    })

    $completions.Where{ $_.CompletionText -like "$wordToComplete*" } |
        Sort-Object -Property ListItemText
}
