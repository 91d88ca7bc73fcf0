//! `--version`, and with `-v` what a bug report needs to know about the program.

use std::io::{self, Write};

use crate::platform;

/// Prints the version and returns the exit code. A closed pipe is not an error.
pub fn run(verbose: bool) -> u8 {
    let written = write(verbose, &mut io::stdout().lock());
    u8::from(written.is_err_and(|error| !platform::is_broken_pipe(&error)))
}

fn write(verbose: bool, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))?;
    if !verbose {
        return Ok(());
    }
    let commit = match env!("COPERA_UPLOAD_COMMIT") {
        "" => "unknown",
        commit => commit,
    };
    // What differs between systems in ways that matter: see `storage::connect` and `checksum`.
    let mut features = vec![format!("{} MD5 lanes", md5_many::Md5Many::new().lanes())];
    if cfg!(target_os = "linux") {
        features.push("TCP statistics".to_owned());
    }
    writeln!(out, "commit: {commit}")?;
    writeln!(out, "target: {}", env!("COPERA_UPLOAD_TARGET"))?;
    writeln!(out, "features: {}", features.join(", "))
}
