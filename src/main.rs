//! Parse, run, print, end.

use std::process::ExitCode;

use copera_upload::cli::Cli;
use copera_upload::environment::Environment;
use copera_upload::run::run;
use copera_upload::{login, output, platform, progress, settings};

fn main() -> ExitCode {
    platform::write_undisturbed();
    let cli = Cli::of_process();
    if let Some(what) = cli.generate {
        return ExitCode::from(output::generated(what));
    }
    if cli.login {
        return ExitCode::from(login::run(&cli, &Environment::of_process()));
    }
    let display = settings::display(&cli);
    let mut warnings = Vec::new();
    let code = match settings::resolve(cli, &Environment::of_process(), &mut warnings) {
        Ok(settings) => run(settings),
        Err(error) => {
            let reporter = progress::choose(&display);
            warnings
                .iter()
                .for_each(|message| reporter.event(&progress::Event::Warning { path: None, message }));
            reporter.event(&progress::Event::Error { path: None, error: &error });
            error.exit_code()
        }
    };
    ExitCode::from(code)
}
