//! The prompt of `--login` on a terminal.
#![cfg(unix)]

use std::path::PathBuf;

use local_drive::Op;

use crate::login::{assert_nothing_saved, config, text, world};
use crate::terminal::Terminal;

#[test]
fn a_terminal_prompts_without_echo_and_the_next_upload_works() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    let mut terminal = Terminal::start(world.command(&["--login"]), &token);
    terminal.shows("it is not shown");
    assert!(!terminal.echoes());
    terminal.press("wrong\x15");
    terminal.press(&format!("{token}\rls\r"));
    let ran = terminal.wait();
    ran.ok().says("ACCESS_DRIVE").says("Personal Tokens").says("token saved in").says("config.toml");
    ran.says_nothing_of(&token).says_nothing_of("wrong").says_nothing_of("ls\r");
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(config(&world)), mode(world.config_dir())), (0o600, 0o700));
    }
    assert_eq!(world.drive.record().count(Op::Any), 1, "the check makes one cheap call");
    assert_eq!(world.drive.record().count(Op::Tree), 1);
    // The API that checked the token is saved too.
    world.unset("COPERA_API_URL");
    world.run(&["f"]).ok();
}

#[test]
fn special_keys_are_not_part_of_the_token() {
    for keys in
        ["\x1a", "\x16", "\x1c", "\x1b[A", "\x1bOD", "\x1b[1;5C", "\x1b[3~", "\x0f", "wrong\x17", "wrong\x15"]
    {
        let world = world();
        let token = world.drive.token().to_owned();
        let mut terminal = Terminal::start(world.command(&["--login"]), &token);
        terminal.shows("it is not shown");
        // Ctrl-W deletes a word. Text typed before the special keys would be part of it.
        let (head, tail) = if keys.starts_with('w') { ("", &token[..]) } else { token.split_at(6) };
        terminal.press(&format!("{head}{keys}{tail}{}\r", if keys.starts_with('w') { "" } else { keys }));
        terminal.wait().ok().says("token saved in").says_nothing_of(&token);
    }
    let world = world();
    let token = world.drive.token().to_owned();
    let mut terminal = Terminal::start(world.command(&["--login"]), &token);
    terminal.shows("it is not shown");
    terminal.press(&format!("\x1b[200~{token}\x1b[201~\r"));
    terminal.wait().ok().says("token saved in");
    assert!(text(&world).contains(&token));
}

#[test]
fn a_signal_at_the_prompt_restores_the_terminal() {
    for (signal, code) in [("keys", 130), ("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let world = world();
        let mut terminal = Terminal::start(world.command(&["--login"]), world.drive.token());
        terminal.shows("it is not shown");
        assert!(!terminal.echoes());
        terminal.press_and_wait("cp_pat_half");
        if signal == "keys" {
            terminal.press("\x03")
        } else {
            terminal.running().signal(signal)
        }
        terminal.shows("interrupted");
        assert!(terminal.echoes(), "{signal}");
        let ran = terminal.wait();
        ran.ends(code).says("no token was saved").says_nothing_of("cp_pat_half");
        assert_nothing_saved(&world);
    }
}

#[test]
fn quiet_and_json_prompt_too() {
    for (args, asks) in [(&["-q"][..], "it is not shown"), (&["--log-format", "json"], "\"asks\":true")] {
        let world = world();
        let token = world.drive.token().to_owned();
        let mut terminal = Terminal::start(world.command(&[&["--login"], args].concat()), &token);
        terminal.shows(asks);
        terminal.press(&format!("{token}\r"));
        let ran = terminal.wait();
        ran.ok().says_nothing_of(&token);
        assert_eq!(ran.stderr.contains("token saved"), args[0] != "-q", "{ran:#?}");
    }
}

#[test]
fn an_empty_input_is_an_error() {
    for keys in ["\r", "\x04", "   \r"] {
        let world = world();
        let mut terminal = Terminal::start(world.command(&["--login"]), world.drive.token());
        terminal.shows("it is not shown");
        terminal.press(keys);
        terminal.wait().ends(4).says("error: no token was given").says("hint: ");
        assert_nothing_saved(&world);
    }
}

#[test]
fn ctrl_z_and_ctrl_backslash_do_nothing_at_the_prompt() {
    let world = world();
    let token = world.drive.token().to_owned();
    let mut terminal = Terminal::start(world.command(&["--login"]), &token);
    terminal.shows("it is not shown");
    terminal.press("\x1a\x1c\x15");
    terminal.press(&format!("{token}\r"));
    terminal.wait().ok().says("token saved in");
}
