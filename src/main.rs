//! Parse, run, print, end.

use std::process::ExitCode;

use clap::Parser;
use copera_upload::cli::Cli;
use copera_upload::environment::Environment;
use copera_upload::{generate, report, run, settings};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(what) = cli.generate {
        return generate::print(what);
    }
    let plain = report::before_settings(&cli);
    let settings = match settings::resolve(cli, &Environment::of_process()) {
        Ok(settings) => settings,
        Err(error) => {
            plain.event(&report::Event::Error { error: &error });
            return ExitCode::from(error.exit_code());
        }
    };
    ExitCode::from(run(settings))
}
