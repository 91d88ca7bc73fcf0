//! Completion scripts in their shells. A shell that is not installed is skipped with a message.

use std::path::PathBuf;
use std::process::Command;

fn script(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("completions").join(name).display().to_string()
}

/// The output of a shell, or `None` if it is not installed.
#[expect(clippy::print_stderr, reason = "skipped shells must be visible in the output of the test")]
fn run(shell: &str, args: &[&str]) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("directory")).unwrap();
    std::fs::write(folder.path().join("data file"), "").unwrap();
    let mut command = Command::new(shell);
    command.args(args).current_dir(folder.path()).env("HOME", folder.path()).env_remove("XDG_CONFIG_HOME");
    match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{shell} is not installed: skipped");
            None
        }
        output => {
            let output = output.unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            Some(String::from_utf8(output.stdout).unwrap())
        }
    }
}

#[test]
fn bash_completes_options_and_values_and_leaves_paths_to_bash() {
    // Bash passes the command, the word and the previous word to the function.
    let ask = r#"
        source "$1"
        function=$(complete -p copera-upload | sed 's/.* -F \([^ ]*\).*/\1/')
        shift
        COMP_WORDS=(copera-upload "$@") COMP_CWORD=$#
        "$function" copera-upload "${COMP_WORDS[$#]}" "${COMP_WORDS[$#-1]}" 2>/dev/null
        printf '%s\n' "${COMPREPLY[@]}""#;
    let complete = |words: &[&str]| {
        let script = script("copera-upload.bash");
        run("bash", &[&["--norc", "-c", ask, "-", &script], words].concat())
    };
    if complete(&[""]).is_none() {
        return;
    }
    let lines = |words: &[&str]| complete(words).unwrap().lines().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&["--if-exists", ""]), ["upload", "skip", "newer", "fail"]);
    assert_eq!(lines(&["-o", "re"]), ["report"]);
    assert_eq!(lines(&["--output", "=", "re"]), ["report"]);
    assert_eq!(lines(&["--log"]), ["--login", "--log-format"]);
    // No result, so that bash itself completes files and directories.
    for words in [[""].as_slice(), &["-r", ""], &["-r", "da"]] {
        assert_eq!(lines(words), [""], "{words:?}");
    }
    assert_eq!(lines(&["--cacert", "da"]), ["data file"]);
}

#[test]
fn fish_completes_options_values_and_paths() {
    let complete = |words: &str| {
        let code = format!("source {}; complete -C 'copera-upload {words}'", script("copera-upload.fish"));
        let said = run("fish", &["--no-config", "-c", &code])?;
        let mut words: Vec<String> =
            said.lines().filter_map(|line| Some(line.split('\t').next()?.to_owned())).collect();
        words.sort();
        Some(words)
    };
    let Some(values) = complete("--if-exists ") else { return };
    assert_eq!(values, ["fail", "newer", "skip", "upload"]);
    assert_eq!(complete("--config d").unwrap(), ["data file", "directory/"]);
    assert_eq!(complete("d").unwrap(), ["data file", "directory/"]);
    assert!(complete("--parent ").unwrap().is_empty());
}

#[test]
fn zsh_loads_the_script_as_a_completion() {
    let folder = script("");
    let code = "fpath=($1 $fpath); autoload -Uz compinit; compinit -u -D; autoload +X _copera-upload; \
                print -- ${_comps[copera-upload]}; functions _copera-upload";
    let Some(said) = run("zsh", &["-f", "-c", code, "-", &folder]) else { return };
    assert!(said.starts_with("_copera-upload\n"), "{said}");
    // `*::` would hide the words before it, and so the options after the first path.
    assert!(said.contains("*:paths") && !said.contains("*::paths"), "{said}");
}
