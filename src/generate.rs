//! Completion scripts and the man page, made out of the definition of the command line, so that they cannot
//! say anything else than it does.

use std::io::{self, Write};

use clap::{Command, CommandFactory, ValueHint};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

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

/// The man page's date: that of the last change of the command line, since the page comes out the same on any day.
const DATE: &str = "2026-11-24";

/// The man page's FILES; what counts before what is in the help already.
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

/// What clap_complete gets wrong in bash, as it is and as it has to be.
const BASH: [(&str, &str); 5] = [
    // `--option=value` is three words to bash: the option is the one before the `=`.
    (
        "    prev=\"$3\"\n",
        "    prev=\"$3\"\n    if [[ \"${prev}\" == \"=\" ]]; then\n        \
         prev=\"${COMP_WORDS[COMP_CWORD-2]}\"\n    fi\n",
    ),
    // Options only where a dash was typed: everywhere else a path is wanted, which `-o default` completes.
    (r"[[ ${cur} == -* || ${COMP_CWORD} -eq 1 ]]", "[[ ${cur} == -* ]]"),
    (
        "            esac\n            COMPREPLY=( $(compgen -W \"${opts}\" -- \"${cur}\") )\n",
        "            esac\n",
    ),
    // A value that cannot be guessed: no candidates, and no files instead of them.
    ("COMPREPLY=(\"${cur}\")\n", "COMPREPLY=()\n"),
    ("compopt -o nospace\n", "compopt +o default +o bashdefault\n"),
];

/// The same for zsh: after `*::` the words before are gone, and with them the options.
const ZSH: [(&str, &str); 1] = [("'*::paths", "'*:paths")];

/// Writes one of them.
pub fn generate(what: Generate, out: &mut dyn Write) -> io::Result<()> {
    let (shell, repairs) = match what {
        Generate::CompleteBash => (Shell::Bash, &BASH[..]),
        Generate::CompleteZsh => (Shell::Zsh, &ZSH[..]),
        Generate::CompleteFish => (Shell::Fish, &[][..]),
        Generate::CompletePowershell => (Shell::PowerShell, &[][..]),
        Generate::CompleteElvish => (Shell::Elvish, &[][..]),
        Generate::Man => return out.write_all(man()?.as_bytes()),
    };
    // Ids, sizes and durations are no files, which is what shells offer where nothing is said.
    let mut command = Cli::command().mut_args(|arg| match arg.get_value_hint() {
        ValueHint::Unknown if arg.get_action().takes_values() => arg.value_hint(ValueHint::Other),
        _ => arg,
    });
    // Into memory first: clap_complete panics when it cannot write, and a reader may well close the pipe.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "copera-upload", &mut script);
    let script = String::from_utf8(script).map_err(io::Error::other)?;
    let mended = repairs.iter().fold(script, |script, (wrong, right)| script.replace(wrong, right));
    out.write_all(mended.as_bytes())
}

/// The man page, in the order of man-pages(7).
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
            "Examples" => as_it_stands("EXAMPLES", lines).to_writer(&mut examples)?,
            "Exit codes" => as_it_stands("EXIT STATUS", lines).to_writer(&mut page)?,
            other => as_it_stands(&other.to_uppercase(), lines).to_writer(&mut page)?,
        }
    }
    files().to_writer(&mut page)?;
    page.append(&mut examples);
    let page = String::from_utf8(page).map_err(io::Error::other)?;
    // Each section comes with the definition of the apostrophe: once is enough.
    let Some((apostrophe, _)) = page.split_once(".TH ") else { return Ok(page) };
    Ok(format!("{apostrophe}{}", page.replace(apostrophe, "")))
}

/// The options, their groups as parts of that section and not as sections of their own.
fn options(command: &Command, man: &Man) -> io::Result<String> {
    let mut section = Vec::new();
    man.render_options_section(&mut section)?;
    let mut section = String::from_utf8(section).map_err(io::Error::other)?;
    for heading in command.get_arguments().filter_map(|arg| arg.get_help_heading()) {
        section =
            section.replace(&format!(".SH {}\n", heading.to_uppercase()), &format!(".SS \"{heading}\"\n"));
    }
    // Paths are asked for unless something is generated, which to clap_mangen is not asked for. A blank line
    // between two breaks: mandoc warns of it, and one break does the same.
    Ok(section.replace(r"[\fIPATH\fR]", r"\fIPATH\fR...").replace(".br\n\n.br\n", ".sp\n"))
}

/// A section of the help: it is laid out in lines, as running text it would be unreadable.
fn as_it_stands(heading: &str, lines: &str) -> Roff {
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

/// Prints what `--generate` asks for and returns the exit code. A closed pipe is not an error.
pub fn run(what: Generate) -> u8 {
    let written = generate(what, &mut std::io::stdout().lock());
    u8::from(written.is_err_and(|error| !crate::platform::is_broken_pipe(&error)))
}
