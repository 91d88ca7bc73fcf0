//! The program `local-drive`.

use std::process::Command;

fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_local-drive"))
}

#[test]
#[cfg(unix)]
fn exit_status_is_that_of_the_command() {
    let code = |script: &str| program().args(["sh", "-c", script]).status().unwrap().code();
    assert_eq!(code("exit 0"), Some(0));
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("kill -TERM $$"), Some(143));
    assert_eq!(code("test -n \"$COPERA_API_URL\" && test -n \"$COPERA_TOKEN\""), Some(0));
}

#[test]
fn options_after_the_command_belong_to_the_command() {
    let output = program().args(["--seed", "3", "echo", "--seed", "-x"]).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "--seed -x\n");
}

#[test]
#[cfg(unix)]
fn server_prints_exports_and_ends_on_sigterm() {
    use std::io::{BufRead as _, BufReader};
    use std::process::Stdio;

    let fault = "workspace:status=503:body={\"message\":\"later: in an hour\"}";
    let mut child = program().args(["--fault", fault]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut export = |name: &str| {
        let line = lines.next().unwrap().unwrap();
        line.strip_prefix(&format!("export {name}=")).unwrap().to_owned()
    };
    let (url, token) = (export("COPERA_API_URL"), export("COPERA_TOKEN"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (status, body) = runtime.block_on(async {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let response = http.get(format!("{url}/workspace/info")).bearer_auth(token).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    });
    assert_eq!((status.as_u16(), &*body), (503, r#"{"message":"later: in an hour"}"#));
    Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn invalid_fault_is_a_usage_error() {
    let output = program().args(["--fault", "finalize:nonsense", "true"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("unknown condition or action nonsense"));
}

/// Status and stderr of the program when it fails before its command runs.
fn complaint(arguments: &[&str]) -> (Option<i32>, String) {
    let output = program().args(arguments).env("RUST_BACKTRACE", "1").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn errors_are_one_line_without_a_backtrace() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_file = file.path().join("below").display().to_string();
    let keys = ["--s3-access-key", "k", "--s3-secret-key", "s", "true"];
    let unreachable = [&["--s3", "http://127.0.0.1:1"], &keys[..]].concat();
    for (arguments, code, said) in [
        (&["--port", &taken, "true"][..], 1, taken.as_str()),
        (&["--data", &below_file, "true"], 1, "cannot create"),
        (&["--tls", "--tls-ca", &below_file, "true"], 1, "cannot write"),
        (&["--address", "192.0.2.1", "true"], 1, "192.0.2.1"),
        (&unreachable, 1, "http://127.0.0.1:1"),
        (&["no-such-command"], 127, "no-such-command"),
        (&["/"], 126, "cannot run /"),
    ] {
        let (status, stderr) = complaint(arguments);
        assert_eq!(status, Some(code), "{stderr}");
        assert!(stderr.starts_with("error: ") && stderr.contains(said), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
    }
}

#[test]
fn invalid_options_are_usage_errors() {
    let far = "http://127.0.0.1:1";
    for (arguments, said) in [
        (&["--s3", far, "true"][..], "--s3-access-key"),
        (&["--s3", far, "--s3-access-key", "k", "true"], "--s3-secret-key"),
        (&["--s3", "127.0.0.1:9000", "--s3-access-key", "k", "--s3-secret-key", "s"], "--s3"),
        (
            &["--s3", "http://a/b", "--s3-access-key", "k", "--s3-secret-key", "s"],
            "only scheme, host and port",
        ),
        (&["--quota", "much", "true"], "--quota"),
        (&["--port", "70000", "true"], "--port"),
        (&["--address", "::1", "true"], "--address"),
    ] {
        let (status, stderr) = complaint(arguments);
        assert_eq!(status, Some(2), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

#[test]
fn aws_variables_do_not_require_an_s3_server() {
    let mut command = program();
    command.env("AWS_ACCESS_KEY_ID", "k").env("AWS_SECRET_ACCESS_KEY", "s").env("AWS_REGION", "eu-central-1");
    assert_eq!(command.arg("true").status().unwrap().code(), Some(0));
}

#[test]
fn summary_says_that_no_file_was_uploaded() {
    let output = program().arg("true").output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "local-drive: no file was uploaded\n");
}
