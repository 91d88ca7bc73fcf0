//! Completion scripts and the man page, made out of the definition of the command line, so that they cannot
//! say anything else than it does.

use std::io::{self, Write};

use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use crate::cli::{Cli, Generate};

/// The files in `completions/`, by name, and what is in each.
pub const FILES: [(&str, Generate); 6] = [
    ("copera-upload.bash", Generate::CompleteBash),
    ("_copera-upload", Generate::CompleteZsh),
    ("copera-upload.fish", Generate::CompleteFish),
    ("_copera-upload.ps1", Generate::CompletePowershell),
    ("copera-upload.elv", Generate::CompleteElvish),
    ("copera-upload.1", Generate::Man),
];

/// Writes one of them.
pub fn generate(what: Generate, out: &mut dyn Write) -> io::Result<()> {
    let shell = match what {
        Generate::CompleteBash => Shell::Bash,
        Generate::CompleteZsh => Shell::Zsh,
        Generate::CompleteFish => Shell::Fish,
        Generate::CompletePowershell => Shell::PowerShell,
        Generate::CompleteElvish => Shell::Elvish,
        Generate::Man => return man(out),
    };
    let mut command = Cli::command();
    // Into memory first: clap_complete panics when it cannot write, and a reader may well close the pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "copera-upload", &mut script);
    out.write_all(&script)
}

fn man(out: &mut dyn Write) -> io::Result<()> {
    let command = Cli::command();
    let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command);
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    // What stands at the end of the help is laid out in lines; as running text it would be unreadable.
    for section in end.split("\n\n") {
        let (heading, lines) = section.split_once(":\n").unwrap_or(("Notes", section));
        let mut roff = Roff::default();
        roff.control("SH", [heading.to_uppercase().as_str()]).control("nf", []);
        roff.text([roman(
            lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n"),
        )]);
        roff.control("fi", []);
        roff.to_writer(out)?;
    }
    man.render_version_section(out)
}
