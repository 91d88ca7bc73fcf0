//! Parse, run, print, end.

use std::process::ExitCode;

use clap::Parser;
use copera_upload::cli::Cli;
use copera_upload::environment::Environment;
use copera_upload::{output, report, run, settings};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let display = settings::display(&cli);
    let code = match cli.generate {
        Some(what) => output::generated(what).map(|()| 0),
        None => settings::resolve(cli, &Environment::of_process()).map(run),
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        report::choose(&display).event(&report::Event::Error { path: None, error: &error });
        error.exit_code()
    }))
}
