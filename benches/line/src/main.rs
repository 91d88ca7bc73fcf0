//! `line NEAR FAR ONE_WAY_MS MBIT LOSS_PERCENT QUEUE_BYTES [SETTLE_SECONDS]`
//!
//! Emulates a network link between two network namespaces, for kernels without netem. Its ends are two TUN devices,
//! 10.77.0.1 in NEAR and 10.77.0.2 in FAR. Packets are lost at random, dropped if the queue is full, paced to the rate,
//! and delayed. With real-time priority (`chrt -f 50`), it carries 600 Mbit/s on two cores. Needs Linux and root.
//!
//! Prints `up` when the link is up. At the end of standard input, prints one line of JSON about the direction from NEAR
//! to FAR and exits. The queue is measured from SETTLE_SECONDS after the first packet on, while packets flow. If
//! `LINE_TELL` is set, prints the current rate and queue to standard error four times a second.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// `TUNSETIFF` of linux/if_tun.h.
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
/// The longest packet, with all offloads of the kernel.
const LONGEST: usize = 65536;
/// How often the queue is measured.
const SAMPLE: Duration = Duration::from_millis(20);

#[derive(Clone, Copy)]
struct Line {
    delay: Duration,
    bytes_per_second: f64,
    loss: f64,
    queue: f64,
}

/// Counters of one direction.
#[derive(Default)]
struct Counters {
    bytes: AtomicU64,
    lost: AtomicU64,
    dropped: AtomicU64,
    /// When the bottleneck has sent all queued packets.
    free_at: Mutex<Option<Instant>>,
}

impl Counters {
    fn queue(&self, now: Instant) -> Duration {
        let free_at = *self.free_at.lock().unwrap();
        free_at.map_or(Duration::ZERO, |free_at| free_at.saturating_duration_since(now))
    }
}

fn tun(name: &str) -> File {
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun").expect("/dev/net/tun");
    // SAFETY: an ifreq of zeros is valid, its name stays terminated, and TUNSETIFF only reads it.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, byte) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = byte as libc::c_char;
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        assert_eq!(libc::ioctl(device.as_raw_fd(), TUNSETIFF, &request), 0, "TUNSETIFF");
    }
    device
}

fn sh(command: &str) {
    let status = Command::new("sh").args(["-ec", command]).status();
    assert!(status.is_ok_and(|status| status.success()), "{command}");
}

/// Carries packets in one direction, forever.
fn carry(mut from: File, mut to: File, line: Line, mut random: u64, counters: Arc<Counters>) {
    let (deliver, due) = mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (at, packet) in due {
            while let Some(left) = at.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                std::thread::sleep(left);
            }
            // The other device refuses packets when it goes down.
            let _ = to.write(&packet);
        }
    });
    std::thread::spawn(move || {
        let mut buffer = vec![0; LONGEST];
        while let Ok(length) = from.read(&mut buffer) {
            // xorshift64
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if (random >> 11) as f64 / (1_u64 << 53) as f64 <= line.loss {
                counters.lost.fetch_add(1, Relaxed);
                continue;
            }
            let now = Instant::now();
            if counters.queue(now).as_secs_f64() * line.bytes_per_second + length as f64 > line.queue {
                counters.dropped.fetch_add(1, Relaxed);
                continue;
            }
            let sent = now + counters.queue(now) + Duration::from_secs_f64(length as f64 / line.bytes_per_second);
            *counters.free_at.lock().unwrap() = Some(sent);
            counters.bytes.fetch_add(length as u64, Relaxed);
            if deliver.send((sent + line.delay, buffer[..length].to_vec())).is_err() {
                return;
            }
        }
    });
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    assert!(arguments.len() >= 7, "line NEAR FAR ONE_WAY_MS MBIT LOSS_PERCENT QUEUE_BYTES [SETTLE_SECONDS]");
    let number = |index: usize| arguments[index].parse::<f64>().expect("a number");
    let settle = Duration::from_secs_f64(arguments.get(7).map_or(0.0, |_| number(7)));
    let line = Line {
        delay: Duration::from_secs_f64(number(3) / 1e3),
        bytes_per_second: number(4) * 1e6 / 8.0,
        loss: number(5) / 100.0,
        queue: number(6),
    };
    // SAFETY: only changes the precision of timers of this process.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1000) };
    let mut ends = Vec::new();
    for (device, namespace, address) in
        [("near", &arguments[1], "10.77.0.1"), ("far", &arguments[2], "10.77.0.2")]
    {
        ends.push(tun(device));
        sh(&format!(
            "ip link set {device} netns {namespace}; ip -n {namespace} link set lo up; \
             ip -n {namespace} addr add {address}/24 dev {device}; \
             ip -n {namespace} link set {device} up mtu 1500 txqueuelen 10000"
        ));
    }
    let end = |index: usize| ends[index].try_clone().expect("a descriptor");
    let (up, down) = (Arc::new(Counters::default()), Arc::new(Counters::default()));
    carry(end(0), end(1), line, 88_172_645_463_325_252, Arc::clone(&up));
    carry(end(1), end(0), line, 7_046_029_254_386_353_131, Arc::clone(&down));
    println!("up");
    let measured = Arc::clone(&up);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let queues = QUEUES.lock().unwrap();
        let mean = queues.iter().sum::<f64>() / queues.len().max(1) as f64;
        let longest = queues.iter().copied().fold(0.0, f64::max);
        let get = |counter: &AtomicU64| counter.load(Relaxed);
        println!(
            "{{\"bytes\": {}, \"lost\": {}, \"dropped\": {}, \"queue_mean_ms\": {mean:.1}, \"queue_max_ms\": {longest:.1}}}",
            get(&measured.bytes),
            get(&measured.lost),
            get(&measured.dropped)
        );
        std::process::exit(0);
    });
    let tell = std::env::var_os("LINE_TELL").is_some();
    let (mut begin, mut before, mut told) = (None, 0, (Instant::now(), 0));
    loop {
        std::thread::sleep(SAMPLE);
        let bytes = up.bytes.load(Relaxed);
        if bytes != before && Instant::now() >= *begin.get_or_insert_with(|| Instant::now() + settle) {
            QUEUES.lock().unwrap().push(up.queue(Instant::now()).as_secs_f64() * 1e3);
        }
        if tell && told.0.elapsed() >= Duration::from_millis(250) {
            let share = (bytes - told.1) as f64 / told.0.elapsed().as_secs_f64() / line.bytes_per_second;
            let queue = up.queue(Instant::now()).as_millis();
            let lost = up.lost.load(Relaxed) + up.dropped.load(Relaxed);
            eprintln!("line: {:3.0} %, {queue} ms of queue, {lost} packets lost so far", share * 100.0);
            told = (Instant::now(), bytes);
        }
        before = bytes;
    }
}

/// Samples of the queue in milliseconds.
static QUEUES: Mutex<Vec<f64>> = Mutex::new(Vec::new());
