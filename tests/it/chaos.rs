//! Random faults on all requests and kills at random moments, until each command succeeds.
//!
//! `COPERA_CHAOS_UPLOADS=1000` sets the number of uploads, `COPERA_CHAOS_SEED=n` the seed, which failures print. Sizes,
//! faults and kills depend on the seed, their timing does not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use local_drive::{Action, Fault, Op, Options, Record, RequestRecord};

use crate::halfway::{parts_on_record, records};
use crate::support::{MIB, World};

/// Default number of uploads.
const UPLOADS: u64 = 25;
/// Concurrent drives. Most of the time is spent waiting.
const WORLDS: u64 = 5;
/// Consecutive uploads to one drive.
const UPLOADS_A_WORLD: u64 = 5;
/// A command that has not succeeded after this many runs never will.
const RUNS_MOST: u32 = 60;

/// Totals of all uploads.
#[derive(Debug, Default)]
struct Figures {
    uploads: u64,
    bytes: u64,
    runs: u64,
    kills: u64,
    failed_runs: BTreeMap<i32, u64>,
    requests: u64,
    part_requests: u64,
    received: u64,
    resumed_parts: u64,
}

#[test]
#[expect(clippy::print_stdout, reason = "a long run is started for its totals")]
fn random_faults_and_kills_leave_one_correct_item_per_command() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let uploads = number("COPERA_CHAOS_UPLOADS").unwrap_or(UPLOADS);
    let seed = number("COPERA_CHAOS_SEED").unwrap_or(1);
    let figures = Mutex::new(Figures::default());
    let next = Mutex::new(0..uploads.div_ceil(UPLOADS_A_WORLD));
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..WORLDS {
            scope.spawn(|| {
                loop {
                    let Some(world) = next.lock().unwrap().next() else { return };
                    let many = UPLOADS_A_WORLD.min(uploads - world * UPLOADS_A_WORLD);
                    let seed = seed.wrapping_mul(1_000_003).wrapping_add(world);
                    one_world(seed, many, &figures);
                }
            });
        }
    });
    println!("{:#?} in {:?}", figures.lock().unwrap(), begun.elapsed());
}

/// If a test panics, prints the current upload and the requests of each of its runs.
struct Trail {
    seed: u64,
    upload: u64,
    runs: Vec<String>,
}

impl Trail {
    fn run(&mut self, code: Option<i32>, requests: &[RequestRecord]) {
        let mut line = format!("exit {code:?}:");
        for request in requests {
            let (op, part) = (request.op, request.part.map(|part| part.to_string()).unwrap_or_default());
            let status = request.status.map_or("lost".to_owned(), |status| status.to_string());
            let done = if request.worked.is_some() { "+" } else { "-" };
            line.push_str(&format!(" {op:?}{part} {done}{status}"));
        }
        self.runs.push(line);
    }
}

impl Drop for Trail {
    #[expect(clippy::print_stderr, reason = "a second panic would hide the first")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("chaos: world seed {}, upload {}\n{}", self.seed, self.upload, self.runs.join("\n"));
        }
    }
}

fn one_world(seed: u64, uploads: u64, figures: &Mutex<Figures>) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = World::with(Options { seed, receive_buffer: Some(256 * 1024), ..Options::default() });
    let mut trail = Trail { seed, upload: 0, runs: Vec::new() };
    for upload in 0..uploads {
        trail.upload = upload;
        trail.runs.clear();
        set_faults(&world, &mut rng);
        let size = match rng.u8(..8) {
            0 => 0,
            1 => rng.u64(..1000),
            2 => 5 * MIB * rng.u64(1..5) + rng.u64(..3) - 1,
            _ => rng.u64(..40 * MIB),
        };
        one_upload(&world, &format!("file {upload}.bin"), size, &mut rng, figures, &mut trail);
    }
    let record = world.drive.record();
    let mut figures = figures.lock().unwrap();
    figures.requests += record.requests.len() as u64;
    figures.part_requests += record.count(Op::PutPart) as u64;
    figures.received += record.bytes_received_on_storage();
}

/// Sets faults of all kinds with different probabilities.
fn set_faults(world: &World, rng: &mut fastrand::Rng) {
    world.drive.clear_faults();
    let text = |code| Action::status(code, "<html>no</html>");
    let after_work =
        |code| Action::StatusAfterWork { code, headers: Vec::new(), body: "<html>no</html>".into() };
    let slow = Action::SlowRead { bytes_per_second: rng.u64(2 * MIB..20 * MIB) };
    let parts = [
        (0.04, Action::internal_error()),
        (0.03, Action::slow_down()),
        (0.02, text(502)),
        (0.03, Action::Reset),
        (0.04, Action::ResetAfter(rng.u64(..6 * MIB))),
        (0.02, Action::CloseAfterWork),
        (0.02, Action::ResetAfterWork),
        (0.02, after_work(504)),
        (0.01, Action::TruncateResponse),
        (0.02, Action::WrongEtag),
        (0.02, Action::CorruptStored),
        (0.02, Action::ExpiredUrl),
        (0.003, Action::NoSuchUpload),
        (0.02, Action::Stall { after: rng.u64(..6 * MIB) }),
        (0.01, Action::HangAfterBody),
        (0.05, Action::Delay(Duration::from_millis(rng.u64(..80)))),
        (0.05, slow),
    ];
    let calls = [
        (0.04, text(500)),
        (0.03, text(503)),
        (0.02, Action::rate_limited(0)),
        (0.03, Action::Reset),
        (0.03, Action::ResetAfter(rng.u64(..100))),
        (0.04, Action::CloseAfterWork),
        (0.04, Action::ResetAfterWork),
        (0.04, after_work(502)),
        (0.03, Action::TruncateResponse),
        (0.06, Action::Delay(Duration::from_millis(rng.u64(..80)))),
    ];
    for (op, actions) in [(Op::PutPart, parts.to_vec()), (Op::AnyApi, calls.to_vec())] {
        for (probability, action) in actions {
            world.drive.fault(Fault::new(op, action).probability(probability));
        }
    }
}

/// Runs one command until it succeeds, and kills some of its runs.
fn one_upload(
    world: &World,
    name: &str,
    size: u64,
    rng: &mut fastrand::Rng,
    figures: &Mutex<Figures>,
    trail: &mut Trail,
) {
    let path = world.file(name, size);
    let mut kept = Kept::default();
    let mut printed = None;
    for run in 0.. {
        assert!(run < RUNS_MOST, "{name}: not done after {run} runs");
        let from = world.drive.record().requests.len();
        let mut running = world.spawn(&[name, "--stall-timeout", "1s", "--retry-for", "20s"]);
        let kill = rng.u8(..10) < 6;
        if kill {
            // Kills at a random request or number of bytes, plus a short delay.
            let at = (rng.usize(..20), rng.u64(..size + 1));
            let bytes = world.drive.record().bytes_received_on_storage() + at.1;
            let by_bytes = rng.bool();
            let due = |record: &Record| {
                if by_bytes {
                    record.bytes_received_on_storage() >= bytes
                } else {
                    record.requests.len() >= from + at.0
                }
            };
            while running.is_running() && world.drive.wait_until(Duration::from_millis(20), due).is_err() {}
            std::thread::sleep(Duration::from_micros(rng.u64(..5000)));
        }
        let ran = if kill { running.kill() } else { running.wait() };
        let requests = world.drive.record().requests.split_off(from);
        trail.run(ran.code, &requests);
        kept.assert_not_sent_again(&requests, name);
        kept.look(world);

        let mut figures = figures.lock().unwrap();
        figures.runs += 1;
        match ran.code {
            Some(0) => printed = Some(ran.id()),
            None => {
                figures.kills += 1;
                // Killed after it printed the result, which counts as success.
                printed = (!ran.stdout.is_empty()).then(|| ran.id());
            }
            Some(code) => {
                // A run may fail if it had too many faults in a row.
                assert!([1, 7].contains(&code), "{name}: {ran:#?}");
                *figures.failed_runs.entry(code).or_default() += 1;
            }
        }
        if printed.is_some() {
            figures.uploads += 1;
            figures.bytes += size;
            figures.resumed_parts += kept.parts.values().map(|parts| parts.len() as u64).sum::<u64>();
            break;
        }
    }
    let items: Vec<_> = world.drive.items().into_iter().filter(|item| item["name"] == name).collect();
    assert_eq!(items.len(), 1, "{name}: {items:#?}");
    let id = printed.unwrap();
    assert_eq!(items[0]["_id"], id);
    world.assert_stored(&id, &path);
}

/// Parts on record after each run.
#[derive(Default)]
struct Kept {
    parts: BTreeMap<String, BTreeSet<u64>>,
}

impl Kept {
    fn look(&mut self, world: &World) {
        if parts_on_record(world) == 0 {
            return;
        }
        for record in records(world) {
            let text = std::fs::read_to_string(record).unwrap();
            let entries: Vec<serde_json::Value> =
                text.lines().filter_map(|line| serde_json::from_str(line.split_once(' ')?.1).ok()).collect();
            let Some(upload) = entries.first().and_then(|head| head["head"]["upload"]["uploadId"].as_str())
            else {
                continue;
            };
            let parts = entries.iter().filter_map(|entry| entry["part"]["number"].as_u64());
            self.parts.entry(upload.to_owned()).or_default().extend(parts);
        }
    }

    fn assert_not_sent_again(&self, requests: &[RequestRecord], name: &str) {
        for put in requests.iter().filter(|request| request.op == Op::PutPart) {
            let (Some(upload), Some(part)) = (&put.upload_id, put.part) else { continue };
            let again = self.parts.get(upload).is_some_and(|parts| parts.contains(&u64::from(part)));
            assert!(!again, "{name}: part {part} was on record and was sent again");
        }
    }
}
