//! The program: parses the command line, runs it, and exits.

use std::process::ExitCode;

use copera_upload::cli::{Cli, generate, version};
use copera_upload::environment::Environment;
use copera_upload::{platform, run};

fn main() -> ExitCode {
    platform::block_signals();
    let cli = Cli::parse_or_exit();
    ExitCode::from(match cli.generate {
        Some(what) => generate::run(what),
        None if cli.version => version::run(cli.display.verbose > 0),
        None => run::run(cli, &Environment::from_process()),
    })
}
