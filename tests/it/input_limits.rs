//! Limits on input: no file of any size or type can exhaust memory or block the program.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use local_drive::Op;

use crate::config::{bare, write};
use crate::halfway::state_files;
use crate::program::unix_only;
use crate::support::{Ran, World};

/// Longer means that something was read or awaited without a limit. Debug builds on busy machines need far less.
const SOON: Duration = Duration::from_secs(20);

#[track_caller]
fn soon(world: &World, args: &[&str]) -> Ran {
    let begun = Instant::now();
    let ran = world.run(args);
    assert!(begun.elapsed() < SOON, "{ran:#?}");
    ran
}

/// Configuration files that are read by default, and their names in messages.
fn files(world: &World) -> [(PathBuf, &'static str); 4] {
    [
        (world.home().join(".copera.toml"), "~/.copera.toml"),
        (world.config_dir().join("config.toml"), "config.toml"),
        (world.work().join(".copera.toml"), ".copera.toml"),
        (world.work().join(".copera.local.toml"), ".copera.local.toml"),
    ]
}

#[test]
fn a_configuration_file_of_1_gib_is_an_error_that_names_it() {
    let world = World::new();
    world.file("f", 1);
    for (path, shown) in files(&world) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::File::create(&path).unwrap().set_len(1 << 30).unwrap();
        for args in [&["f"][..], &["f", "--dry-run"], &["--login"]] {
            soon(&world, args).fails(2).says(shown).says("more than 1048576 bytes");
        }
        let named = path.to_str().unwrap();
        soon(&world, &["f", "--config", named]).fails(2).says(named).says("more than");
        std::fs::remove_file(path).unwrap();
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
    // 1 MiB is accepted.
    let comment = format!("[profiles.default]\n{}\n", "#".repeat(1024 * 1024 - 20));
    write(world.work().join(".copera.toml"), &comment);
    world.run(&["f"]).ok();
}

#[cfg(unix)]
#[test]
fn a_device_or_fifo_as_configuration_does_not_block() {
    unix_only!("Windows has no such files");
    let world = World::new();
    world.file("f", 1);
    let fifo = world.fifo("fifo");
    for (path, shown) in files(&world) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for odd in ["/dev/zero", "/dev/tty", fifo.to_str().unwrap()] {
            std::os::unix::fs::symlink(odd, &path).unwrap();
            soon(&world, &["f"]).fails(2).says(shown).says("regular file");
            std::fs::remove_file(&path).unwrap();
        }
        // The usual way to disable a configuration file.
        std::os::unix::fs::symlink("/dev/null", &path).unwrap();
        soon(&world, &["f"]).ok();
        std::fs::remove_file(&path).unwrap();
    }
    for (option, code) in [("--config", 0), ("--cacert", 2)] {
        soon(&world, &["f", option, "/dev/null"]).ends(code);
        soon(&world, &["f", option, "/dev/zero"]).fails(2).says("/dev/zero").says("a device");
        soon(&world, &["f", option, "fifo"]).fails(2).says("fifo").says("without a writer");
        soon(&world, &["f", option, "."]).fails(2);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn ssl_cert_file_does_not_block() {
    unix_only!("Windows has no FIFOs");
    let mut world = World::new();
    world.file("f", 1);
    world.set("COPERA_API_URL", "https://127.0.0.1:9");
    world.fifo("fifo");
    world.sparse("large", 1 << 30);
    for (path, reason) in [("/dev/zero", "regular file"), ("fifo", "regular file"), ("large", "more than")] {
        world.set("SSL_CERT_FILE", path);
        soon(&world, &["f"]).fails(2).says("SSL_CERT_FILE").says(path).says(reason);
    }
    world.unset("SSL_CERT_FILE");
    soon(&world, &["f", "--cacert", "large"]).fails(2).says("--cacert large").says("more than");
}

#[cfg(unix)]
#[test]
fn a_configuration_from_a_pipe_is_read_completely() {
    unix_only!("Windows has no /dev/fd");
    let world = bare();
    let text = format!(
        "[profiles.default]\ntoken = \"{}\"\napi_url = \"{}\"\n",
        world.drive.token(),
        world.drive.api_url()
    );
    // The program opens the pipe before anything is written to it.
    let script = "\"$0\" \"$@\" <(sleep 0.3; printf %s \"$CONFIG\")";
    let mut command = world.bash(script, &["f", "--config"]);
    command.env("CONFIG", text);
    world.spawn_command(command).wait().ok();
}

#[test]
fn a_configuration_that_is_not_utf_8_is_an_error_with_a_remedy() {
    let world = World::new();
    world.file("f", 1);
    let text = "[profiles.default]\nretry_for = \"9s\"\n";
    let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
    let path = world.config_dir().join("config.toml");
    write(path.clone(), "");
    for (content, reason) in [
        ([&[0xff, 0xfe], &little[..]].concat(), "UTF-16"),
        ([&[0xfe, 0xff], &big[..]].concat(), "UTF-16"),
        (little, "UTF-16"),
        (big, "UTF-16"),
        (b"[profiles.default]\nparent = \"\xe9\"\n".to_vec(), "not UTF-8"),
    ] {
        std::fs::write(&path, content).unwrap();
        for args in [&["f"][..], &["--login"]] {
            world.run(args).fails(2).says("config.toml").says(reason).says("save it as UTF-8");
        }
    }
    // A byte order mark is accepted.
    write(path, &format!("\u{feff}{text}"));
    world.run(&["f"]).ok();
}

#[test]
fn an_oversized_record_of_the_storage_host_is_replaced() {
    let world = World::new();
    world.file("f", 1);
    world.run(&["f"]).ok();
    let hosts = state_files(&world, "storage");
    assert_eq!(hosts.len(), 1, "{hosts:?}");
    std::fs::File::create(&hosts[0]).unwrap().set_len(1 << 30).unwrap();
    soon(&world, &["f"]).ok();
    assert!(std::fs::metadata(&hosts[0]).unwrap().len() < 300, "the file was not replaced");
}
