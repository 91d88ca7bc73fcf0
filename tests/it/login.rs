//! `--login`: asked for or piped in, checked before it is saved, and saved without harm to what is there.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use local_drive::{Fault, Op};

use crate::support::{Ran, World, refusal};

/// A world whose environment has no token.
fn world() -> World {
    let mut world = World::new();
    world.unset("COPERA_TOKEN");
    world
}

fn config(world: &World) -> PathBuf {
    world.config_dir().join("config.toml")
}

/// Runs with this on standard input.
fn piped(world: &World, args: &[&str], input: &str) -> Ran {
    let mut command = world.command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = world.spawn_with(command);
    // Dropped at once, so that the pipe ends.
    let given = running.child.stdin.take().unwrap().write_all(input.as_bytes());
    let ran = running.wait();
    // One that ends without reading closes the pipe.
    drop(given);
    ran
}

fn write(path: &std::path::Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

#[test]
fn a_token_from_a_pipe_is_saved_for_the_user_alone_and_the_next_upload_uses_it() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    let ran = piped(&world, &["--login"], &format!("{token}\n"));
    ran.ok().says("saved in profile `default`").says(config(&world).to_str().unwrap());
    assert_eq!(ran.stdout, "");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&config(&world)), mode(&world.config_dir())), (0o600, 0o700));
    }
    // The API that it was checked on goes with it: without the variable too.
    world.unset("COPERA_API_URL");
    world.file("f", 10);
    world.run(&["f"]).ok();
}

#[test]
fn what_is_in_the_file_stays_and_a_link_stays_a_link() {
    let world = world();
    let token = world.drive.token().to_owned();
    let before = "# mine\ndefault_profile = \"work\"\n\n[profiles.work] # at the office\nparent = \"x\"\n";
    let real = world.home().join("dotfiles/copera.toml");
    write(&real, before);
    std::fs::create_dir_all(world.config_dir()).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&real, config(&world)).unwrap();
    #[cfg(not(unix))]
    std::fs::copy(&real, config(&world)).unwrap();
    piped(&world, &["--login", "--profile", "home"], &token).ok().says("--profile home");
    let after = std::fs::read_to_string(config(&world)).unwrap();
    assert!(after.starts_with(before) && after.contains("[profiles.home]"), "{after}");
    #[cfg(unix)]
    assert!(config(&world).is_symlink());
    piped(&world, &["--login"], &token).ok().says("profile `work`");
}

#[test]
fn a_token_that_is_refused_is_not_saved() {
    let world = world();
    piped(&world, &["--login"], "cp_pat_wrong\n").fails(4).says("401");
    world.drive.fault(Fault::once(Op::Tree, refusal(403, "missing scope ACCESS_DRIVE")));
    let token = world.drive.token().to_owned();
    piped(&world, &["--login"], &token).fails(4).says("missing scope");
    world.drive.stop_listening().unwrap();
    piped(&world, &["--login", "--retry-for", "0"], &token).fails(7);
    assert!(!config(&world).exists());
}

#[test]
fn what_can_be_no_token_is_refused_without_a_call() {
    let world = world();
    for (given, why) in [
        ("", "no token was given"),
        ("\n", "no token was given"),
        ("cp_key_abc\n", "integration key"),
        ("cp_pat a b\n", "spaces"),
        ("cp_pat_\u{1}\n", "control"),
    ] {
        piped(&world, &["--login"], given).fails(4).says(why).says("hint: ");
    }
    assert!(world.drive.record().requests.is_empty());
    assert!(!config(&world).exists());
}

#[test]
fn a_file_that_cannot_be_understood_is_told_by_line_and_left_as_it_is() {
    let world = world();
    let token = world.drive.token().to_owned();
    let broken = "default_profile = 'a'\n[profiles.a\n";
    write(&config(&world), broken);
    piped(&world, &["--login"], &token).fails(2).says("config.toml:2:");
    assert_eq!(std::fs::read_to_string(config(&world)).unwrap(), broken);
    assert!(world.drive.record().requests.is_empty());
}

#[test]
fn whatever_comes_before_the_saved_token_is_warned_of() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    world.set("COPERA_CLI_AUTH_TOKEN", "cp_pat_other");
    piped(&world, &["--login"], &token)
        .ok()
        .says("warning: COPERA_CLI_AUTH_TOKEN has a token that comes before");
}

#[test]
fn a_projects_api_is_never_sent_the_token_that_is_typed() {
    let mut world = world();
    let token = world.drive.token().to_owned();
    let url = world.drive.api_url();
    world.unset("COPERA_API_URL");
    write(&world.work().join(".copera.toml"), &format!("[api]\nbase_url = \"{url}\"\n"));
    piped(&world, &["--login"], &token).fails(2).says("not from that file");
    assert!(world.drive.record().requests.is_empty());
}

#[test]
fn a_named_file_is_made_and_login_goes_with_no_paths() {
    let world = world();
    let token = world.drive.token().to_owned();
    piped(&world, &["--login", "--config", "own.toml"], &token).ok().says("own.toml");
    world.file("f", 10);
    world.run(&["--config", "own.toml", "f"]).ok();
    world.run(&["--login", "f"]).fails(2);
    world.run(&["--login", "--dry-run"]).fails(2);
}

#[test]
fn machines_get_json_lines() {
    let world = world();
    let token = world.drive.token().to_owned();
    let ran = piped(&world, &["--login", "--log-format", "json"], &token);
    let lines: Vec<serde_json::Value> =
        ran.ok().stderr.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line["event"] == "note"), "{lines:?}");
}

/// On a terminal of its own. `setsid --ctty` is util-linux's.
#[cfg(target_os = "linux")]
mod terminal {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::Command;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};

    use super::*;
    use crate::support::Running;

    struct Terminal {
        ours: File,
        theirs: File,
    }

    impl Terminal {
        fn new() -> Self {
            let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
            grantpt(&ours).unwrap();
            unlockpt(&ours).unwrap();
            let name = ptsname(&ours, Vec::new()).unwrap();
            let theirs = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
            Self { ours: ours.into(), theirs }
        }

        fn start(&self, world: &World) -> Running {
            let program = world.command(&["--login"]);
            let mut command = Command::new("setsid");
            command.args(["--wait", "--ctty"]).arg(program.get_program()).args(program.get_args());
            command.env_clear().current_dir(world.work());
            command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.stdin(self.theirs.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
            world.spawn_with(command)
        }

        /// Reads until this was shown.
        fn read_until(&mut self, words: &str) -> String {
            let mut shown = Vec::new();
            let mut byte = [0];
            while !String::from_utf8_lossy(&shown).contains(words) {
                self.ours.read_exact(&mut byte).unwrap();
                shown.push(byte[0]);
            }
            String::from_utf8(shown).unwrap()
        }

        fn echoes(&self) -> bool {
            tcgetattr(&self.theirs).unwrap().local_modes.contains(LocalModes::ECHO)
        }
    }

    #[test]
    fn what_is_typed_is_not_shown_and_the_terminal_is_as_before() {
        let world = world();
        let mut terminal = Terminal::new();
        let running = terminal.start(&world);
        terminal.read_until("not shown): ");
        assert!(!terminal.echoes());
        let token = world.drive.token().to_owned();
        terminal.ours.write_all(format!("{token}\n").as_bytes()).unwrap();
        running.wait().ok().says("ACCESS_DRIVE").says("saved in profile");
        assert!(terminal.echoes());
        terminal.theirs.write_all(b"the end").unwrap();
        let shown = terminal.read_until("the end");
        assert!(!shown.contains(&token), "{shown}");
    }

    #[test]
    fn ctrl_c_at_the_prompt_ends_with_130_and_the_terminal_is_as_before() {
        let world = world();
        let mut terminal = Terminal::new();
        let running = terminal.start(&world);
        terminal.read_until("not shown): ");
        terminal.ours.write_all(b"\x03").unwrap();
        running.wait().ends(130);
        assert!(terminal.echoes() && !config(&world).exists());
    }
}
