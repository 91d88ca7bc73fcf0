//! Results to stdout (stand-in).
use crate::{cli::Generate, error::Error, outcome::Outcome, settings::OutputMode};
use std::io::Write;
/// Results.
pub struct Output(OutputMode);
impl Output {
    /// To stdout.
    pub fn to_stdout(mode: OutputMode) -> Self {
        Self(mode)
    }
    /// One.
    pub fn outcome(&mut self, outcome: &Outcome) -> Result<(), Error> {
        if let Ok(done) = &outcome.result {
            let _ = writeln!(
                std::io::stdout(),
                "{}",
                if self.0 == OutputMode::Id { done.item.id() } else { done.item.json() }
            );
        }
        Ok(())
    }
    /// One.
    pub fn dry_run_line(&mut self, line: &str) -> Result<(), Error> {
        let _ = writeln!(std::io::stdout(), "{line}");
        Ok(())
    }
}
/// Prints.
pub fn generated(what: Generate) -> u8 {
    let _ = crate::generate::generate(what, &mut std::io::stdout());
    0
}
