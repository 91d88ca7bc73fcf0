//! The program: runs a command against a drive, or serves.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_local-drive"))
}

#[test]
#[cfg(unix)]
fn exit_status_is_the_commands_own() {
    let code = |script: &str| program().args(["sh", "-c", script]).status().unwrap().code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -TERM $$"), Some(143));
    assert_eq!(code("test -n \"$COPERA_API_URL\" && test -n \"$COPERA_TOKEN\""), Some(0));
}

#[test]
fn options_after_the_command_are_the_commands() {
    let output = program().args(["--seed", "3", "echo", "--seed", "-x"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--seed -x\n");
}

#[test]
#[cfg(unix)]
fn serving_prints_the_exports_and_ends_with_term() {
    let mut child =
        program().args(["--fault", "workspace:status=503"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut export = |name: &str| {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix(&format!("export {name}=")).unwrap().to_owned()
    };
    let (url, token) = (export("COPERA_API_URL"), export("COPERA_TOKEN"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        http.get(format!("{url}/workspace/info")).bearer_auth(token).send().await.unwrap().status()
    });
    assert_eq!(status, 503);
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn fault_that_makes_no_sense_is_a_usage_error() {
    let output = program().args(["--fault", "finalize:nonsense", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("no condition or action is called nonsense"));
}
