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
    if shell == Shell::Bash {
        script = String::from_utf8_lossy(&script)
            .replace("${cur} == -* || ${COMP_CWORD} -eq 1", "${cur} == -*")
            .replace(BASH_OPTIONS_FOR_ANY_WORD, BASH_NOTHING)
            .into_bytes();
    }
    out.write_all(&script)
}

/// What clap_complete offers for a word that is no option: all options, so that bash, which would offer files
/// where a function has nothing, offers none. A test in a real bash sees to it that this is still so.
const BASH_OPTIONS_FOR_ANY_WORD: &str =
    "            esac\n            COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n";
/// See [`BASH_OPTIONS_FOR_ANY_WORD`].
const BASH_NOTHING: &str = "            esac\n            COMPREPLY=()\n";

/// The page's date: that of the last change of the command line, since the page has to come out the same on any day.
const MAN_DATE: &str = "2026-11-24";

fn man(out: &mut dyn Write) -> io::Result<()> {
    let command = Cli::command();
    let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command).date(MAN_DATE);
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    let mut options = Vec::new();
    man.render_options_section(&mut options)?;
    // An empty line between two breaks, which `mandoc -T lint` warns of, for one space.
    out.write_all(String::from_utf8_lossy(&options).replace(".br\n\n.br\n", ".sp\n").as_bytes())?;
    // What stands at the end of the help is laid out in lines; as running text it would be unreadable.
    for section in end.split("\n\n") {
        let (heading, lines) = section.split_once(":\n").unwrap_or(("Notes", section));
        // The names that man-pages(7) has for them.
        let heading = match heading {
            "Exit codes" => "Exit status",
            "Configuration" => "Files",
            heading => heading,
        };
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
