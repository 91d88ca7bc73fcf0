//! Completion scripts and the man page, generated from the definition of the command line.

use std::io::{self, Write};

use clap::{Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;
use super::args::Generate;
use crate::platform;

/// The files in `completions/`, and what is in each.
pub const FILES: [(&str, Generate); 6] = [
    ("copera-upload.bash", Generate::CompleteBash),
    ("_copera-upload", Generate::CompleteZsh),
    ("copera-upload.fish", Generate::CompleteFish),
    ("_copera-upload.ps1", Generate::CompletePowershell),
    ("copera-upload.elv", Generate::CompleteElvish),
    ("copera-upload.1", Generate::Man),
];

/// The date of the man page: the last change of the command line. Today's would change the page every day.
const DATE: &str = "2026-11-24";

/// FILES in the man page. The help has their precedence.
const PLACES: [(&str, &str); 3] = [
    (
        "~/.copera.toml, .copera.toml, .copera.local.toml",
        "Configuration shared with the official CLI; the last two are read from the working directory.",
    ),
    (
        "~/.config/copera-upload/config.toml",
        "This program's own configuration; under $XDG_CONFIG_HOME if that is set. On macOS: \
         ~/Library/Application Support/copera-upload/config.toml.",
    ),
    (
        "~/.local/state/copera-upload/",
        "Records of unfinished uploads; under $XDG_STATE_HOME if that is set. On macOS: \
         ~/Library/Application Support/copera-upload/. A record is deleted when its upload is complete, or after \
         30 days without a change.",
    ),
];

/// Fixes for the bash script of clap_complete: pairs of wrong and right text.
const BASH: [(&str, &str); 5] = [
    // bash splits `--option=value` into three words. The option is the one before the `=`.
    (
        "    prev=\"$3\"\n",
        "    prev=\"$3\"\n    if [[ \"${prev}\" == \"=\" ]]; then\n        \
         prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n    fi\n",
    ),
    // Complete options only after a dash. Elsewhere `-o default` completes paths.
    (r"[[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]]", "[[ ${cur} == -* ]]"),
    (
        "            esac\n            COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n",
        "            esac\n",
    ),
    // Offer neither candidates nor files for a value that cannot be guessed.
    ("COMPREPLY=(\"${cur}\")\n", "COMPREPLY=()\n"),
    ("compopt -o nospace\n", "compopt +o default +o bashdefault\n"),
];

/// The same for zsh. `*::` hides the words before it, and so the options.
const ZSH: [(&str, &str); 1] = [("'*::paths", "'*:paths")];

/// Prints what `--generate` asks for and returns the exit code. A closed pipe is not an error.
pub fn run(what: Generate) -> u8 {
    let written = generate(what, &mut io::stdout().lock());
    u8::from(written.is_err_and(|error| !platform::is_broken_pipe(&error)))
}

/// Writes a completion script or the man page.
pub fn generate(what: Generate, out: &mut dyn Write) -> io::Result<()> {
    let (shell, fixes) = match what {
        Generate::CompleteBash => (Shell::Bash, &BASH[..]),
        Generate::CompleteZsh => (Shell::Zsh, &ZSH[..]),
        Generate::CompleteFish => (Shell::Fish, &[][..]),
        Generate::CompletePowershell => (Shell::PowerShell, &[][..]),
        Generate::CompleteElvish => (Shell::Elvish, &[][..]),
        Generate::Man => return out.write_all(man()?.as_bytes()),
    };
    // Without a hint, shells offer files, also for IDs, sizes and durations.
    let mut command = Cli::command().mut_args(|arg| match arg.get_value_hint() {
        ValueHint::Unknown if arg.get_action().takes_values() => arg.value_hint(ValueHint::Other),
        _ => arg,
    });
    // Goes to memory first: clap_complete panics if it cannot write, for example to a closed pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "copera-upload", &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    let fixed = fixes.iter().fold(script, |script, (wrong, right)| script.replace(wrong, right));
    out.write_all(fixed.as_bytes())
}

/// The man page, with sections in the order of man-pages(7).
fn man() -> io::Result<String> {
    let command = Cli::command();
    let end = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone()).date(DATE).manual("User Commands");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    page.extend_from_slice(options(&command, &man)?.as_bytes());
    let mut examples = Vec::new();
    for section in end.split("\n\n") {
        let (heading, lines) = section.split_once(":\n").unwrap_or(("Notes", section));
        match heading {
            "Examples" => preformatted("EXAMPLES", lines).to_writer(&mut examples)?,
            "Exit codes" => preformatted("EXIT STATUS", lines).to_writer(&mut page)?,
            other => preformatted(&other.to_uppercase(), lines).to_writer(&mut page)?,
        }
    }
    files().to_writer(&mut page)?;
    page.append(&mut examples);
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // clap_mangen defines the apostrophe before each section. Keep only the first definition.
    let Some((apostrophe, _)) = page.split_once(".TH ") else { return Ok(page) };
    Ok(format!("{apostrophe}{}", page.replace(apostrophe, "")))
}

/// The OPTIONS section, with groups of options as subsections.
fn options(command: &Command, man: &Man) -> io::Result<String> {
    let mut section = Vec::new();
    man.render_options_section(&mut section)?;
    let mut section = String::from_utf8(section).map_err(io::Error::other)?;
    for heading in command.get_arguments().filter_map(|arg| arg.get_help_heading()) {
        section =
            section.replace(&format!(".SH {}\n", heading.to_uppercase()), &format!(".SS \"{heading}\"\n"));
    }
    // clap_mangen shows the path as optional, because --generate needs none. mandoc warns about a blank line between
    // two breaks, which one space request replaces.
    Ok(section.replace(r"[\fIPATH\fR]", r"\fIPATH\fR...").replace(".br\n\n.br\n", ".sp\n"))
}

/// A section of the help, with its line breaks.
fn preformatted(heading: &str, lines: &str) -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", [heading]).control("nf", []);
    roff.text([roman(
        lines.lines().map(|line| line.strip_prefix("  ").unwrap_or(line)).collect::<Vec<_>>().join("\n"),
    )]);
    roff.control("fi", []);
    roff
}

fn files() -> Roff {
    let mut roff = Roff::default();
    roff.control("SH", ["FILES"]);
    for (place, what) in PLACES {
        roff.control("TP", []).text([bold(place)]).text([roman(what)]);
    }
    roff
}
