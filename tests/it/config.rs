//! Precedence of tokens and settings, and the rules for files in the working directory.

use local_drive::Op;

use crate::mock_server::MockServer;
use crate::program::unix_only;
use crate::support::World;

/// A world without token and URL in the environment.
pub fn bare() -> World {
    let mut world = World::new();
    world.unset("COPERA_TOKEN");
    world.unset("COPERA_API_URL");
    world.file("f", 10);
    world
}

/// Writes a configuration file.
pub fn write(path: std::path::PathBuf, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
}

#[test]
fn the_error_for_a_missing_token_names_all_origins_in_order() {
    let world = bare();
    let ran = world.run(&["f"]);
    ran.fails(4);
    let ways = ["COPERA_TOKEN", "COPERA_CLI_AUTH_TOKEN", "--login", "`token`", "`token_command`"];
    let mut at = 0;
    for way in ways {
        let found = ran.stderr.find(way);
        assert!(found.is_some_and(|found| found >= at), "{way}: {ran:#?}");
        at = found.unwrap();
    }
    // Empty and blank variables count as unset.
    for blank in ["", "  "] {
        let mut world = bare();
        world.set("COPERA_TOKEN", blank);
        world.set("COPERA_CLI_AUTH_TOKEN", blank);
        world.run(&["f"]).fails(4).says("COPERA_TOKEN");
    }
}

#[test]
fn the_first_origin_with_a_token_is_used() {
    unix_only!("token_command needs sh");
    let mut world = bare();
    let token = world.drive.token().to_owned();
    world.set("COPERA_API_URL", world.drive.api_url());
    let config = world.config_dir().join("config.toml");
    let works = |world: &World| {
        world.run(&["f"]).ok();
    };

    write(config.clone(), &format!("[profiles.default]\ntoken_command = 'echo {token}; echo more'\n"));
    works(&world);
    write(config.clone(), &format!("[profiles.default]\ntoken_command = 'exit 1'\ntoken = \"{token}\"\n"));
    works(&world);
    write(config, "[profiles.default]\ntoken = \"cp_pat_wrong\"\n");
    world.set("COPERA_CLI_AUTH_TOKEN", &token);
    works(&world);
    world.set("COPERA_CLI_AUTH_TOKEN", "cp_pat_wrong");
    world.set("COPERA_TOKEN", format!(" {token}\n"));
    works(&world);
    world.set("COPERA_TOKEN", "cp_pat_wrong");
    world.run(&["f"]).fails(4).says("401");
}

#[test]
fn a_failed_token_command_is_exit_code_4() {
    unix_only!("token_command needs sh");
    let mut world = bare();
    world.set("COPERA_API_URL", world.drive.api_url());
    let config = world.config_dir().join("config.toml");
    for command in ["exit 3", "true", "no-such-command-here", "echo; echo late", "kill $$", "printf 'a b'"] {
        write(config.clone(), &format!("[profiles.default]\ntoken_command = \"{command}\"\n"));
        world.run(&["f"]).fails(4).says("token_command").says("hint: ");
    }
    assert_eq!(world.drive.record().count(Op::Any), 0);
    // The user sees its stderr.
    write(config, "[profiles.default]\ntoken_command = 'echo the vault is locked >&2; exit 1'\n");
    world.run(&["-q", "f"]).fails(4).says("the vault is locked").says("exit code 1");
}

#[test]
fn files_override_each_other_from_home_to_the_working_directory() {
    let world = bare();
    let folders: Vec<_> = (0..4).map(|n| world.drive.make_folder(&format!("{n}"), None)).collect();
    let (token, url) = (world.drive.token(), world.drive.api_url());
    let parent = |world: &World| world.run(&["f"]).ok().json()["parent"].as_str().map(str::to_owned);
    let own = format!("token = \"{token}\"\napi_url = \"{url}\"\n");
    write(
        world.home().join(".copera.toml"),
        &format!("[profiles.default]\n{own}parent = \"{}\"\n", folders[0]),
    );
    assert_eq!(parent(&world).as_ref(), Some(&folders[0]));
    for (path, folder) in [
        (world.config_dir().join("config.toml"), &folders[1]),
        (world.work().join(".copera.toml"), &folders[2]),
        (world.work().join(".copera.local.toml"), &folders[3]),
    ] {
        write(path, &format!("[profiles.default]\nparent = \"{folder}\"\n"));
        assert_eq!(parent(&world).as_ref(), Some(folder));
    }
}

#[test]
fn the_official_clis_file_works_and_its_own_keys_are_ignored() {
    let world = bare();
    let text = format!(
        "default_profile = \"work\"\noutput = \"table\"\n[profiles.work]\ntoken = \"{}\"\nboard_id = \"x\"\n\
         [profiles.home]\ntoken = \"cp_pat_wrong\"\n[api]\nbase_url = \"{}\"\ntimeout = 30\n[cache]\nttl = 5\n",
        world.drive.token(),
        world.drive.api_url()
    );
    write(world.home().join(".copera.toml"), &text);
    world.run(&["f"]).ok();
    world.run(&["f", "--profile", "home"]).fails(4).says("401");
    world.run(&["f", "--profile", "none"]).fails(2).says("none").says("home, work");
}

#[test]
fn the_profile_is_chosen_by_option_then_variable_then_file() {
    let mut world = bare();
    let names = ["a", "b", "c"];
    let mut text = String::from("default_profile = \"a\"\n");
    for name in names {
        let folder = world.drive.make_folder(name, None);
        text += &format!("[profiles.{name}]\ntoken = \"{}\"\nparent = \"{folder}\"\n", world.drive.token());
    }
    write(world.config_dir().join("config.toml"), &text);
    world.set("COPERA_API_URL", world.drive.api_url());
    let landed = |world: &World, args: &[&str]| {
        let parent = world.run(&[&["f"], args].concat()).ok().json()["parent"].clone();
        let folder = world.drive.items().into_iter().find(|item| item["_id"] == parent).unwrap();
        folder["name"].as_str().unwrap().to_owned()
    };
    assert_eq!(landed(&world, &[]), "a");
    world.set("COPERA_PROFILE", "b");
    assert_eq!(landed(&world, &[]), "b");
    assert_eq!(landed(&world, &["--profile", "c"]), "c");
}

#[test]
fn a_profile_may_set_transfer_options_and_the_command_line_overrides_them() {
    let world = World::new();
    world.sparse("f", 64 << 20);
    write(world.config_dir().join("config.toml"), "[profiles.default]\npart_size = \"16MiB\"\n");
    assert_eq!(world.run(&["--dry-run", "f"]).ok().json()["part_size"], 16 << 20);
    assert_eq!(world.run(&["--dry-run", "f", "--part-size", "8MiB"]).ok().json()["part_size"], 8 << 20);
}

#[test]
fn errors_in_config_toml_name_key_file_and_line() {
    let world = World::new();
    world.file("f", 10);
    let config = world.config_dir().join("config.toml");
    write(config.clone(), "[profiles.default]\nparent = \"x\"\n\nparrent = \"y\"\n");
    world.run(&["f"]).fails(2).says("parrent").says("config.toml:4");
    write(config, "[profiles.default]\npart_size = \"1\"\n");
    world.run(&["f"]).fails(2).says("part_size").says("config.toml:2");
    assert_eq!(world.drive.record().count(Op::Any), 0);
}

#[test]
fn config_reads_only_the_named_file() {
    let mut world = bare();
    write(world.home().join(".copera.toml"), "this is not TOML");
    let text = format!(
        "[profiles.default]\ntoken = \"{}\"\napi_url = \"{}\"\n",
        world.drive.token(),
        world.drive.api_url()
    );
    write(world.work().join("mine.toml"), &text);
    world.run(&["f"]).fails(2).says(".copera.toml");
    world.run(&["f", "--config", "mine.toml"]).ok();
    world.set("COPERA_CONFIG", "mine.toml");
    world.run(&["f"]).ok();
    world.run(&["f", "--config", "missing.toml"]).fails(2).says("missing.toml");
}

#[test]
fn a_project_url_is_not_used_with_a_token_from_another_source() {
    for file in [".copera.toml", ".copera.local.toml"] {
        for key in ["[api]\nbase_url", "[profiles.default]\napi_url"] {
            let server = MockServer::new();
            let mut world = bare();
            write(world.work().join(file), &format!("{key} = \"{}\"\n", server.url()));
            let refused = |world: &World| {
                let ran = world.run(&["f"]);
                ran.fails(2).says(file).says("token").says("--api-url");
                assert_eq!(server.requests(), [""; 0], "{file} {key}");
            };
            let marker = world.work().join("ran");
            let config = world.config_dir().join("config.toml");
            write(
                config.clone(),
                &format!("[profiles.default]\ntoken_command = 'touch {}'\n", marker.display()),
            );
            refused(&world);
            assert!(!marker.exists(), "token_command ran although the URL is refused");
            write(config, "[profiles.default]\ntoken = \"cp_pat_mine\"\n");
            refused(&world);
            world.set("COPERA_CLI_AUTH_TOKEN", "cp_pat_mine");
            refused(&world);
            world.set("COPERA_TOKEN", "cp_pat_mine");
            refused(&world);
        }
    }
}

#[test]
fn a_project_file_given_with_config_is_still_untrusted() {
    let server = MockServer::new();
    let mut world = bare();
    write(world.work().join(".copera.toml"), &format!("[api]\nbase_url = \"{}\"\n", server.url()));
    world.set("COPERA_TOKEN", "cp_pat_mine");
    world.run(&["f", "--config", ".copera.toml"]).fails(2);
    world.run(&["f", "--config", "./../work/.copera.toml"]).fails(2);
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn a_project_url_is_used_with_a_token_of_the_same_file() {
    let world = bare();
    let (token, url) = (world.drive.token(), world.drive.api_url());
    let text = format!("[api]\nbase_url = \"{url}\"\n[profiles.default]\ntoken = \"{token}\"\n");
    write(world.work().join(".copera.toml"), &text);
    world.run(&["f"]).ok();
    // A token in the other project file does not count.
    write(world.work().join(".copera.toml"), &format!("[api]\nbase_url = \"{url}\"\n"));
    write(world.work().join(".copera.local.toml"), &format!("[profiles.default]\ntoken = \"{token}\"\n"));
    world.run(&["f"]).fails(2);
}

#[test]
fn a_project_url_is_ignored_if_the_user_sets_one() {
    let mut world = World::new();
    world.file("f", 10);
    write(world.work().join(".copera.toml"), "[api]\nbase_url = \"http://evil.example\"\n");
    world.run(&["f"]).ok();
    world.unset("COPERA_API_URL");
    world.run(&["f"]).fails(2);
    world.run(&["f", "--api-url", &world.drive.api_url()]).ok();
}

#[test]
fn a_token_command_in_a_project_file_is_ignored_with_a_warning() {
    let mut world = bare();
    world.set("COPERA_API_URL", world.drive.api_url());
    let marker = world.work().join("ran");
    let text = format!("[profiles.default]\ntoken_command = 'touch {}; echo x'\n", marker.display());
    write(world.work().join(".copera.toml"), &text);
    world.run(&["f"]).fails(4).says("token_command").says(".copera.toml");
    world.set("COPERA_TOKEN", world.drive.token().to_owned());
    world.run(&["f"]).ok().says("token_command");
    assert!(!marker.exists());
}

#[test]
fn plain_http_to_another_host_needs_allow_http_on_the_command_line() {
    let mut world = World::new();
    world.file("f", 10);
    world.set("COPERA_API_URL", "http://api.example/public/v1");
    world.run(&["f"]).fails(2).says("http://").says("--allow-http");
    world.run(&["f", "--api-url", "http://192.0.2.1"]).fails(2).says("--allow-http");
    write(world.work().join(".copera.toml"), "[profiles.default]\nallow_http = true\n");
    world.run(&["f"]).fails(2).says("--allow-http");
    for local in ["localhost", "127.0.0.1", "[::1]"] {
        world.set("COPERA_API_URL", format!("http://{local}:9"));
        world.run(&["f", "--retry-for", "0"]).fails(7);
    }
}

#[cfg(unix)]
#[test]
fn a_token_in_a_file_that_others_can_read_causes_a_warning() {
    unix_only!("Windows files have no mode");
    use std::os::unix::fs::PermissionsExt as _;

    let world = World::new();
    world.file("f", 10);
    let path = world.config_dir().join("config.toml");
    write(path.clone(), "[profiles.default]\ntoken = \"cp_pat_x\"\n");
    world.run(&["f"]).ok().says_nothing_of("config.toml");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.run(&["f"]).ok().says("config.toml").says("chmod 600").says_nothing_of("cp_pat_x");
}

#[test]
fn a_profile_sets_other_options_too_and_the_command_line_overrides_them() {
    let world = World::new();
    crate::directories::plant(&world, &["d/a.jpg", "d/b.tmp", "d/c.txt"]);
    let profile = "[profiles.default]\nif_exists = 'skip'\noutput = 'id'\nprogress = 'none'\nto = 'T'\nexclude = ['*.tmp']";
    world.file_of(".copera.toml", profile);
    let first = world.run(&["-r", "d/"]);
    let mut ids: Vec<_> = first.ok().stdout.lines().map(str::to_owned).collect();
    ids.sort();
    assert_eq!((ids.len(), ids[0].len()), (2, 24), "{first:#?}");
    crate::directories::assert_there_once(&world, &["T/", "T/a.jpg", "T/c.txt"]);
    // Existing files are skipped.
    world.run(&["-r", "d/"]).ok().says("skipped 2");
    let second = world.run(&["-r", "d/", "--if-exists", "upload", "-o", "report", "--include", "*.jpg"]);
    let rows = second.ok().json_lines();
    assert_eq!((rows.len(), &rows[0]["status"]), (1, &"uploaded".into()));
    world
        .run(&["-r", "d/", "-v", "--exclude", "*.txt"])
        .ok()
        .says("exclude from .copera.toml:6")
        .says("exclude from --exclude");
    for (line, why) in [
        ("if_exists = 'sometimes'", "must be one of upload, skip, newer, fail"),
        ("output = 1", "must be one of json, id, url, report, none"),
        ("progress = ''", "must be one of auto, bar, plain, none"),
        ("include = [1]", "must be a string or a list of strings"),
        ("exclude = ['[']", "profiles.default.exclude"),
    ] {
        world.file_of(".copera.toml", format!("[profiles.default]\n{line}"));
        world.run(&["-r", "d/"]).fails(2).says(".copera.toml:2").says(why);
    }
}
