//! Records of uploads: which upload a record belongs to, who can read it, and that an unusable one only causes a
//! warning.

use std::path::{Path, PathBuf};

use local_drive::{Action, Fault, Op};

use crate::halfway::{
    Halfway, assert_one_item, assert_warns, later, only_record, parts_on_record, records, wait_for,
    wait_for_finalize,
};
use crate::program::{displayed, not_under_wine, unix_only};
use crate::support::{CAP, PART, World};

fn killed_halfway() -> (World, PathBuf) {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    Halfway::of(&world, &path, 2, &[]).killed(&world);
    (world, path)
}

/// Requires that a run with a damaged record warns and starts over.
fn assert_starts_over(world: &World, path: &Path) {
    let again = later(world, &["file.bin"]);
    assert_one_item(world, &again.ran, path);
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![1, 2, 3, 4], 1));
    assert_warns(&again.ran, "starting over");
}

#[test]
fn an_invalid_record_causes_a_warning() {
    for nonsense in ["nonsense\n", "\0\0\0\0", "{}", "0000000000000000 {\"head\":{}}\n"] {
        let (world, path) = killed_halfway();
        std::fs::write(only_record(&world), nonsense).unwrap();
        assert_starts_over(&world, &path);
    }
}

#[test]
fn a_record_of_a_newer_version_causes_a_warning() {
    let (world, path) = killed_halfway();
    let record = only_record(&world);
    let text = std::fs::read_to_string(&record).unwrap();
    let newer = text.replacen("\"format\":2", "\"format\":3", 1);
    assert_ne!(text, newer, "the format number has moved");
    std::fs::write(&record, newer).unwrap();
    assert_starts_over(&world, &path);
}

#[test]
fn a_torn_last_line_loses_only_its_part() {
    let (world, path) = killed_halfway();
    let record = only_record(&world);
    let text = std::fs::read(&record).unwrap();
    std::fs::write(&record, &text[..text.len() - 9]).unwrap();
    let again = later(&world, &["file.bin"]);
    assert_one_item(&world, &again.ran, &path);
    assert_eq!((again.parts().len(), again.count(Op::Start)), (3, 0));
}

#[test]
fn a_record_that_cannot_be_written_causes_a_warning() {
    // First a file is in the place of the state directory, then a folder in the place of the record.
    let world = World::new();
    let path = world.file("file.bin", 2 * PART);
    std::fs::write(world.state_dir(), "in the way").unwrap();
    let ran = world.run(&["file.bin"]);
    assert_warns(ran.ok(), &displayed(&world.state_dir()));
    world.assert_stored(&ran.id(), &path);

    let (world, path) = killed_halfway();
    let record = only_record(&world);
    std::fs::remove_file(&record).unwrap();
    std::fs::create_dir(&record).unwrap();
    let ran = world.run(&["file.bin"]);
    assert_warns(ran.ok(), &displayed(&record));
    world.assert_stored(&ran.id(), &path);
}

/// Runs the program with a limit on file size, which acts like a full disk.
#[cfg(target_os = "linux")]
fn with_room_for(world: &World, bytes: u64, args: &[&str]) -> std::process::Command {
    world.shell(&format!("exec prlimit --fsize={bytes} \"$0\" \"$@\""), args)
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_causes_one_warning_and_leaves_no_files() {
    unix_only!("file size limits exist only on Unix");
    for room in [0, 100, 700, 1024] {
        let world = World::new();
        let path = world.file("file.bin", 12 * PART);
        let ran = world.spawn_command(with_room_for(&world, room, &["file.bin"])).wait();
        let warnings = ran.ok().stderr.lines().filter(|line| line.starts_with("warning: ")).count();
        assert_eq!(warnings, 1, "{room}: {ran:#?}");
        assert_warns(&ran, "record");
        assert_one_item(&world, &ran, &path);
        let left: Vec<_> =
            std::fs::read_dir(world.state_dir()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let stays = |path: &PathBuf| path.extension().is_some_and(|end| end == "storage" || end == "items");
        assert!(left.iter().all(stays), "{left:?}");
        if room == 0 {
            assert_eq!(left, Vec::<PathBuf>::new());
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_user_without_a_home_gets_a_warning() {
    not_under_wine!("a Wine prefix belongs to one user");
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;
    let world = World::new();
    let path = world.file("file.bin", 20);
    if std::fs::metadata(&path).unwrap().uid() != 0 {
        // Only the superuser can become a user without a home.
        return;
    }
    for folder in [world.work().parent().unwrap(), &world.work()] {
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = world.command(&["file.bin"]);
    command.env_remove("HOME").uid(54_321).gid(54_321);
    let ran = world.spawn_command(command).wait();
    assert_warns(ran.ok(), "no record");
    world.assert_stored(&ran.id(), &path);
}

#[cfg(target_os = "linux")]
#[test]
fn a_lost_response_and_a_kill_on_a_full_disk_do_not_duplicate_the_item() {
    unix_only!("file size limits exist only on Unix");
    // The first line has about 500 bytes, and a part 110. The disk becomes full in each of them.
    for room in (800..1200).step_by(45) {
        let world = World::new();
        let path = world.file("file.bin", 6 * PART);
        world.drive.fault(Fault::new(Op::Finalize, Action::HangAfterBody));
        let running = world.spawn_command(with_room_for(&world, room, &["file.bin"]));
        wait_for_finalize(&world);
        running.kill();
        world.drive.clear_faults();
        let again = later(&world, &["file.bin"]);
        assert_one_item(&world, &again.ran, &path);
        assert_eq!(again.count(Op::Start), 0, "{room}: {:#?}", again.ran);
    }
}

#[test]
fn a_record_belongs_to_one_token_folder_name_and_api() {
    let (world, _path) = killed_halfway();
    let folder = world.drive.make_folder("folder", None);
    let by_name = world.drive.api_url().replace("127.0.0.1", "localhost");
    let assert_starts = |args: &[&str], var: Option<(&str, &str)>| {
        let before = world.drive.record().requests.len();
        let mut command = world.command(args);
        command.envs(var);
        let ran = world.spawn_command(command).wait();
        let requests = world.drive.record().requests.split_off(before);
        assert_eq!(requests.first().map(|first| first.op), Some(Op::Start), "{args:?} {var:?}: {ran:#?}");
        assert_eq!(parts_on_record(&world), 2, "the record of the first upload has changed");
    };
    assert_starts(&["file.bin"], Some(("COPERA_TOKEN", "cp_pat_somebody0elses")));
    assert_starts(&["file.bin", "--parent", &folder], None);
    assert_starts(&["file.bin", "--name", "other.bin"], None);
    assert_starts(&["file.bin"], Some(("COPERA_API_URL", &by_name)));
    let again = later(&world, &["file.bin"]);
    again.ran.ok();
    assert_eq!((again.parts(), again.count(Op::Start)), (vec![3, 4], 0));
}

#[test]
fn a_record_in_use_by_another_run_is_exit_code_5() {
    let world = World::new();
    let path = world.file("file.bin", 4 * PART);
    let first = Halfway::of(&world, &path, 2, &[]);
    let second = later(&world, &["file.bin"]);
    second.ran.fails(5).says("another").says("hint:");
    // The first run may send its stalled part on a second connection meanwhile.
    let asked = second.requests.iter().filter(|request| request.op != Op::PutPart).count();
    assert_eq!(asked, 0, "unexpected requests: {:?}", second.requests);
    world.drive.clear_fault(first.stall);
    assert_one_item(&world, &first.running.wait(), &path);
}

#[cfg(unix)]
#[test]
fn records_are_readable_only_by_the_user() {
    unix_only!("Windows files have no mode");
    use std::os::unix::fs::PermissionsExt as _;
    let (world, _path) = killed_halfway();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&only_record(&world)), 0o600);
    assert_eq!(mode(&world.state_dir()), 0o700);
    let text = std::fs::read_to_string(only_record(&world)).unwrap();
    assert!(!text.contains(world.drive.token()) && !text.contains("X-Amz"), "{text}");
}

#[test]
fn a_file_of_one_part_has_a_record_only_during_finalize() {
    let world = World::new();
    let path = world.file("file.bin", 20);
    let put = world.drive.fault(Fault::once(Op::PutPart, Action::HangAfterBody));
    let finalize = world.drive.fault(Fault::once(Op::Finalize, Action::HangAfterBody));
    let running = world.spawn(&["file.bin"]);
    world.drive.wait_until(CAP, |record| record.stored_count() == 1).unwrap();
    let written = || records(&world).iter().any(|path| std::fs::metadata(path).unwrap().len() > 0);
    assert!(!written(), "the part of a small file is on record");
    world.drive.clear_fault(put);
    world.drive.wait_until(CAP, |record| record.count(Op::Finalize) == 1).unwrap();
    wait_for("a record", written);
    world.drive.clear_fault(finalize);
    assert_one_item(&world, &running.wait(), &path);
}

#[test]
fn old_records_are_deleted() {
    let (world, _path) = killed_halfway();
    let record = only_record(&world);
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(60 * 86_400);
    std::fs::File::options().write(true).open(&record).unwrap().set_modified(long_ago).unwrap();
    let young = world.state_dir().join("0000.upload");
    std::fs::write(&young, "young").unwrap();
    world.file("other.bin", 20);
    world.drive.fault(Fault::once(Op::Start, Action::Delay(std::time::Duration::from_millis(300))));
    world.run(&["other.bin"]).ok();
    assert_eq!(records(&world), [young]);
}
