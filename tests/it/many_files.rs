//! Many files: they run concurrently within the limits and arrive exactly once, with faults and rate limits too.

use std::collections::BTreeSet;
use std::time::Duration;

use local_drive::{Action, Fault, Op, Options};

use crate::program::not_under_wine;
use crate::support::{PART, World};

/// Creates `count` files `d/<n mod 20>/<n>` whose content is their number.
fn plant(world: &World, count: u32) {
    for n in 0..count {
        let folder = world.work().join(format!("d/{}", n % 20));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(n.to_string()), n.to_string()).unwrap();
    }
}

#[track_caller]
fn assert_each_once(world: &World, count: u32) {
    let mut seen = BTreeSet::new();
    for item in world.drive.items().iter().filter(|item| item["type"] == "file") {
        let bytes = world.drive.object(item["_id"].as_str().unwrap()).unwrap();
        assert_eq!(item["name"].as_str().unwrap().as_bytes(), bytes);
        assert!(seen.insert(bytes), "twice: {item}");
    }
    assert_eq!(seen.len(), count as usize);
    let folders = world.drive.items().iter().filter(|item| item["type"] == "folder").count();
    assert_eq!(folders, 21);
}

#[test]
fn two_thousand_small_files_arrive_once_despite_faults_and_rate_limits() {
    not_under_wine!("it would take minutes");
    let world = World::new();
    plant(&world, 2000);
    let fault = |op, action, probability| world.drive.fault(Fault::new(op, action).probability(probability));
    fault(Op::AnyApi, Action::rate_limited(0), 0.05);
    fault(Op::AnyApi, Action::status(503, ""), 0.01);
    fault(Op::AnyApi, Action::ResetAfterWork, 0.002);
    fault(Op::Folders, Action::ResetAfterWork, 0.2);
    fault(Op::PutPart, Action::slow_down(), 0.01);
    fault(Op::PutPart, Action::Reset, 0.01);
    let ran = world.run(&["-r", "d", "-o", "id"]);
    let ids: BTreeSet<_> = ran.ok().stdout.lines().collect();
    assert_eq!(ids.len(), 2000);
    assert_each_once(&world, 2000);
}

#[test]
fn all_files_wait_for_a_rate_limit_together() {
    not_under_wine!("it is too slow to respond within a fraction of a second");
    let world = World::new();
    plant(&world, 200);
    let limit = world.drive.fault(Fault::new(Op::Start, Action::rate_limited(1)).skip(60).times(10));
    let ran = world.run(&["-r", "d"]);
    ran.ok();
    assert_each_once(&world, 200);
    assert_eq!(world.drive.fault_used(limit), 10);
    let record = world.drive.record();
    let refused: Vec<_> = record.requests.iter().filter(|call| call.status == Some(429)).collect();
    let first = refused.iter().filter_map(|call| call.end).min().unwrap();
    // Requests in flight when the limit came are completed. No new ones are sent during its second.
    let meanwhile = |call: &&local_drive::RequestRecord| {
        call.op.is_api()
            && call.start > first + Duration::from_millis(500)
            && call.start < first + Duration::from_millis(900)
    };
    assert_eq!(record.requests.iter().filter(meanwhile).count(), 0);
}

#[test]
fn parts_of_all_files_share_one_limit_and_calls_have_another() {
    not_under_wine!("its threads are too slow for many concurrent calls");
    let world = World::with(Options { latency: Duration::from_millis(5), ..Options::default() });
    plant(&world, 200);
    world.run(&["-r", "d", "-j3"]).ok();
    assert!(world.drive.record().max_parts_in_flight() <= 3);
    let record = world.drive.record();
    let mut moments: Vec<_> = record
        .requests
        .iter()
        .filter(|call| call.op.is_api())
        .flat_map(|call| [(call.start, 1), (call.end.unwrap(), -1)])
        .collect();
    moments.sort_by_key(|(at, step)| (*at, *step));
    let mut most = 0;
    moments.iter().fold(0, |now, (_, step)| {
        most = most.max(now + step);
        now + step
    });
    assert!(most <= 30, "{most} concurrent calls");
    assert!(most > 8, "only {most} concurrent calls");
}

#[test]
fn a_small_file_needs_four_requests_and_reuses_connections() {
    let world = World::new();
    plant(&world, 200);
    world.run(&["-r", "d"]).ok();
    let record = world.drive.record();
    for op in [Op::Start, Op::Urls, Op::PutPart, Op::Finalize] {
        assert_eq!(record.count(op), 200, "{op:?}");
    }
    let opened = record.connections_accepted_on_storage();
    assert!(opened <= 64, "{opened} connections");
}

#[test]
fn only_some_large_files_are_started_before_the_first_is_done() {
    let world = World::new();
    std::fs::create_dir(world.work().join("d")).unwrap();
    for n in 0..12 {
        world.file(format!("d/{n}"), PART + 1);
    }
    world.drive.fault(Fault::new(Op::PutPart, Action::Stall { after: 0 }).part(2).times(1));
    world.run(&["-r", "d", "--stall-timeout", "2s"]).ok();
    let record = world.drive.record();
    let first_done = record.requests_of(Op::Finalize).map(|call| call.start).min().unwrap();
    let begun = record.requests_of(Op::Start).filter(|call| call.start < first_done).count();
    assert!(begun <= 8, "{begun} of 12 were started before the first was finalized");
    assert_eq!(world.drive.items().len(), 13);
}

#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_number_of_files() {
    not_under_wine!("Wine's own memory would be counted");
    let world = World::with(Options { mode: local_drive::Mode::Discard, ..Options::default() });
    plant(&world, 3000);
    let running = world.spawn(&["-r", "d", "-q", "-o", "none"]);
    world.drive.wait_until(Duration::from_secs(100), |record| record.count(Op::Finalize) >= 2900).unwrap();
    let peak = running.peak_memory();
    running.wait().ok();
    assert!(peak < 40 << 20, "{} MiB", peak >> 20);
}

#[test]
fn an_outage_is_waited_for_once_for_all_files() {
    for (op, action) in [(Op::Start, Action::status(503, "")), (Op::PutPart, Action::internal_error())] {
        let world = World::new();
        plant(&world, 300);
        let limit = world.drive.fault(Fault::new(op, action));
        let ran = world.run(&["-r", "d", "--retry-for", "2s", "-o", "report"]);
        ran.ends(7).says("more (-v names them): not tried, because the service is unreachable");
        assert_eq!(ran.stdout.lines().count(), 300, "every file needs a row");
        let record = world.drive.record();
        let asked: BTreeSet<_> = record
            .requests_of(Op::Start)
            .filter_map(|call| call.json.as_ref()?["fileName"].as_str().map(str::to_owned))
            .collect();
        assert!(asked.len() < 150, "{op:?}: {} files were tried", asked.len());
        // Nothing is remembered after the outage.
        world.drive.clear_fault(limit);
        world.run(&["-r", "d"]).ok();
        assert_each_once(&world, 300);
    }
}

#[test]
fn each_file_is_tried_once_more_after_the_service_was_given_up() {
    let world = World::new();
    let names: Vec<_> = (0..60).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| drop(world.file_of(name, vec![b'x'; 2000])));
    world.drive.fault(Fault::new(Op::PutPart, Action::status(503, "")));
    let mut args = vec!["-j1", "--retry-for", "1s", "-o", "report"];
    args.extend(names.iter().map(String::as_str));
    let ran = world.run(&args);
    ran.ends(7);
    let again = ran.stdout.lines().filter(|row| !row.contains("\"retries\":0,")).count();
    assert!(again <= 3, "{again} files were retried");
}

#[test]
fn an_outage_of_folder_creation_is_waited_for_once() {
    let world = World::new();
    for n in 0..60 {
        let folder = world.work().join(format!("top/{n}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("f"), "f").unwrap();
    }
    world.run(&["-r", "top/0"]).ok();
    let broken = world.drive.fault(Fault::new(Op::Folders, Action::status(503, "")));
    let ran = world.run(&["-r", "top/", "--retry-for", "1s"]);
    ran.ends(9).says("more (-v names them): could not create the folder: 503");
    assert!(ran.stderr.lines().count() < 20, "{}", ran.stderr);
    let made = world.drive.record().count(Op::Folders);
    assert!(made < 300, "{made} calls");
    world.drive.clear_fault(broken);
    world.run(&["-r", "top/", "--if-exists", "skip"]).ok();
}

#[test]
fn existing_files_are_skipped_while_storage_is_unavailable() {
    let world = World::new();
    plant(&world, 100);
    world.run(&["-r", "d"]).ok();
    (0..100).for_each(|n| drop(world.file_of(format!("d/0/a{n}"), "new")));
    world.drive.fault(Fault::new(Op::PutPart, Action::internal_error()));
    let ran = world.run(&["-r", "d", "--if-exists", "skip", "--retry-for", "1s", "-o", "report"]);
    ran.ends(9);
    assert_eq!(ran.stdout.matches("\"status\":\"skipped\"").count(), 100);
}

#[test]
fn an_outage_of_finalize_is_waited_for_once_for_all_files() {
    let world = World::new();
    plant(&world, 300);
    let broken = world.drive.fault(Fault::new(Op::Finalize, Action::status(503, "")));
    world.run(&["-r", "d", "--retry-for", "1s"]).ends(7);
    assert!(world.drive.record().count(Op::Start) < 200, "too many files were sent");
    world.drive.clear_fault(broken);
    world.run(&["-r", "d", "--if-exists", "skip"]).ok();
    assert_each_once(&world, 300);
}

#[test]
fn a_missing_parent_is_not_requested_for_every_file() {
    let world = World::new();
    let names: Vec<_> = (0..300).map(|n| n.to_string()).collect();
    names.iter().for_each(|name| drop(world.file_of(name, name)));
    let mut args = vec!["-p", "665f1c2ab3d4e5f60718293a"];
    args.extend(names.iter().map(String::as_str));
    let ran = world.run(&args);
    ran.fails(3).says("more (-v names them): could not start the upload: 404");
    assert!(ran.stderr.lines().count() < 10, "{}", ran.stderr);
    assert!(world.drive.record().count(Op::Start) < 100);
}

#[test]
fn storage_that_is_down_is_given_up_soon_with_any_retry_limit() {
    for (action, limits) in [
        (Action::Reset, &["--max-retries", "0"][..]),
        (Action::Reset, &["--max-retries", "2"]),
        (Action::Reset, &["--retry-for", "0"]),
        (Action::HangAfterBody, &["--max-retries", "0", "--stall-timeout", "500ms"]),
        (Action::HangAfterBody, &["--max-retries", "1", "--stall-timeout", "500ms"]),
        (Action::HangAfterBody, &["--retry-for", "0", "--stall-timeout", "500ms"]),
    ] {
        let world = World::new();
        plant(&world, 1000);
        world.drive.fault(Fault::new(Op::PutPart, action.clone()));
        let mut args = vec!["-r", "d", "-q"];
        args.extend(limits);
        world.run(&args).ends(7);
        let record = world.drive.record();
        assert!(record.count(Op::PutPart) < 200, "{limits:?}: {} parts", record.count(Op::PutPart));
        assert!(record.count(Op::Start) < 300, "{limits:?}: {} files", record.count(Op::Start));
    }
}

#[test]
fn an_outage_of_one_endpoint_does_not_block_others() {
    for action in [Action::status(503, ""), Action::HangAfterBody] {
        let world = World::new();
        world.file_of("a", "a");
        plant(&world, 60);
        // The first file starts before the outage and is finalized during it.
        world.drive.fault(Fault::new(Op::Start, action).skip(1));
        world.drive.fault(Fault::once(Op::PutPart, Action::Delay(Duration::from_secs(2))));
        let running = world.spawn(&["-r", "a", "d"]);
        let finalized =
            world.drive.wait_until(Duration::from_secs(40), |record| record.count(Op::Finalize) > 0);
        running.kill();
        finalized.unwrap();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn files_on_a_hung_disk_do_not_block_others() {
    let world = World::new();
    let hung: Vec<_> = (0..60).map(|n| world.file_of(format!("a-hung-{n}"), "x")).collect();
    let _leases: Vec<_> = hung.iter().map(|path| hang_when_opened(path)).collect();
    for n in 0..30 {
        world.file_of(format!("b-{n}"), n.to_string());
    }
    let running = world.spawn(&["-r", "."]);
    let done = world.drive.wait_until(Duration::from_secs(30), |record| record.count(Op::Finalize) >= 30);
    running.kill();
    done.unwrap();
}

/// Opening this file elsewhere blocks until it is closed here, or for `/proc/sys/fs/lease-break-time` (45 s), see
/// F_SETLEASE in fcntl(2). Otherwise only a special file system could block the opening of a regular file.
#[cfg(target_os = "linux")]
fn hang_when_opened(path: &std::path::Path) -> std::fs::File {
    use std::os::fd::AsRawFd as _;
    // The holder of a lease gets SIGIO when another process opens the file. By default, this signal kills it.
    // SAFETY: both calls take integers and touch no memory of ours.
    #[expect(unsafe_code, reason = "rustix has no leases")]
    let taken = unsafe {
        libc::signal(libc::SIGIO, libc::SIG_IGN);
        let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
        (libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK), file)
    };
    assert_eq!(taken.0, 0, "{}", std::io::Error::last_os_error());
    taken.1
}
