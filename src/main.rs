//! The program: parses the command line and runs what it asks for.

use std::process::ExitCode;

use copera_upload::cli::Cli;
use copera_upload::environment::Environment;
use copera_upload::{generate, login, platform, run};

fn main() -> ExitCode {
    platform::write_undisturbed();
    let cli = Cli::of_process();
    ExitCode::from(match cli.generate {
        Some(what) => generate::run(what),
        None if cli.login => login::run(&cli, &Environment::of_process()),
        None => run::run(cli, &Environment::of_process()),
    })
}
