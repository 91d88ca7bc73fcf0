//! What the network has accepted of all parts together, and what TCP measures. Sockets in flight are queried for each
//! sample.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::body::BodyState;
use super::socket::Probe;
use crate::mutex::lock;
use crate::platform::{self, TcpInfo};

/// The attempts in flight. Clones share them.
#[derive(Clone, Default)]
pub struct TransferStats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next_id: u64,
    in_flight: Vec<InFlight>,
    /// Totals of attempts that have ended.
    ended: Totals,
    /// The shortest since the last sample, see [`NetworkSample::connect_time`].
    connect_time: Option<Duration>,
}

/// Counters of connections: bytes accepted, and those of [`TcpInfo`].
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    acked: u64,
    retransmits: u64,
    busy: Duration,
    receiver_limited: Duration,
}

impl Totals {
    fn of(probe: &Probe) -> Self {
        let TcpInfo { retransmits, busy, receiver_limited, .. } = probe.tcp_info().unwrap_or_default();
        Self { acked: probe.sent_bytes().acked, retransmits, busy, receiver_limited }
    }

    /// Saturates, because a socket that was closed meanwhile counts nothing.
    fn since(self, before: Self) -> Self {
        Self {
            acked: self.acked.saturating_sub(before.acked),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            busy: self.busy.saturating_sub(before.busy),
            receiver_limited: self.receiver_limited.saturating_sub(before.receiver_limited),
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.acked += other.acked;
        self.retransmits += other.retransmits;
        self.busy += other.busy;
        self.receiver_limited += other.receiver_limited;
    }
}

/// One attempt.
struct InFlight {
    id: u64,
    probe: Probe,
    body: Arc<BodyState>,
    /// Of the part, in bytes.
    size: u64,
    /// Its socket's counters at the start of the attempt.
    before: Totals,
    /// When its rate was last measured, and the bytes accepted by then.
    measured: (Instant, u64),
}

/// How often the rate of each attempt is measured.
const RATE_INTERVAL: Duration = Duration::from_millis(250);

/// An attempt with fewer bytes left ends soon anyway.
const MIN_LEFT: u64 = 1024 * 1024;

impl InFlight {
    /// Measures the rate, and adapts the send buffer to it.
    fn fit_send_buffer(&mut self, at: Instant) {
        let elapsed = at.duration_since(self.measured.0);
        if elapsed >= RATE_INTERVAL {
            let acked = self.probe.sent_bytes().acked;
            self.probe.fit_send_buffer(acked.saturating_sub(self.measured.1) as f64 / elapsed.as_secs_f64());
            self.measured = (at, acked);
        }
    }

    fn totals(&self) -> Totals {
        Totals::of(&self.probe).since(self.before)
    }
}

/// Counts an attempt as in flight until it is dropped.
pub struct Registration {
    id: u64,
    stats: TransferStats,
}

/// A sample of all sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkSample {
    /// Bytes accepted by the network so far, including those sent again.
    pub acked: u64,
    /// The mean of the smoothed round-trip times, the shortest of all, and the sums of the counters so far. `None` if
    /// the system does not report them.
    pub tcp: Option<TcpInfo>,
    /// The shortest time in which a connection for a part was established since the last sample: a round trip. `None` also
    /// behind a proxy, and where `tcp` is better.
    pub connect_time: Option<Duration>,
    /// At least half of the parts in flight wait for the disk or for `--limit-rate`.
    pub locally_limited: bool,
}

impl TransferStats {
    /// Registers an attempt at a part of this size on this connection.
    pub fn register(&self, probe: Probe, body: Arc<BodyState>, size: u64) -> Registration {
        let before = Totals::of(&probe);
        let mut state = lock(&self.0);
        state.next_id += 1;
        let id = state.next_id;
        state.in_flight.push(InFlight {
            id,
            probe,
            body,
            size,
            before,
            measured: (Instant::now(), before.acked),
        });
        Registration { id, stats: self.clone() }
    }

    /// A connection for a part was established in this time, if it is known.
    pub fn note_connected(&self, time: Option<Duration>) {
        if platform::opaque_send_buffer().is_some() {
            let mut state = lock(&self.0);
            state.connect_time = [state.connect_time, time].into_iter().flatten().min();
        }
    }

    /// Samples all sockets.
    pub fn sample(&self) -> NetworkSample {
        let mut state = lock(&self.0);
        let now = Instant::now();
        state.in_flight.iter_mut().for_each(|attempt| attempt.fit_send_buffer(now));
        let mut totals = state.ended;
        let is_waiting = |body: &BodyState| body.is_locally_limited() && !body.is_held();
        let waiting = state.in_flight.iter().filter(|attempt| is_waiting(&attempt.body)).count();
        let (mut rtt_sum, mut min_rtt, mut rtt_count) = (Duration::ZERO, None::<Duration>, 0);
        for attempt in &state.in_flight {
            totals += attempt.totals();
            if let Some(tcp) = attempt.probe.tcp_info() {
                min_rtt = Some(min_rtt.map_or(tcp.min_rtt, |min| min.min(tcp.min_rtt)));
                (rtt_sum, rtt_count) = (rtt_sum + tcp.smoothed_rtt, rtt_count + 1);
            }
        }
        NetworkSample {
            acked: totals.acked,
            connect_time: state.connect_time.take(),
            locally_limited: waiting > 0 && waiting * 2 >= state.in_flight.len(),
            tcp: min_rtt.map(|min_rtt| TcpInfo {
                smoothed_rtt: rtt_sum.checked_div(rtt_count).unwrap_or_default(),
                min_rtt,
                retransmits: totals.retransmits,
                busy: totals.busy,
                receiver_limited: totals.receiver_limited,
            }),
        }
    }

    /// Changes the connections in flight to BBR, see [`Probe::use_bbr`].
    pub fn use_bbr(&self) {
        lock(&self.0).in_flight.iter().for_each(|attempt| attempt.probe.use_bbr());
    }

    /// Restarts BBR for those that still have much to send, see [`Probe::restart_bbr`].
    pub fn restart_bbr(&self) {
        let state = lock(&self.0);
        let left = |attempt: &&InFlight| attempt.size.saturating_sub(attempt.body.handed());
        let attempts = state.in_flight.iter().filter(|attempt| left(attempt) >= MIN_LEFT);
        attempts.for_each(|attempt| attempt.probe.restart_bbr());
    }

    /// Changes them back, see [`Probe::end_bbr`].
    pub fn end_bbr(&self, used_for: Duration) {
        lock(&self.0).in_flight.iter().for_each(|attempt| attempt.probe.end_bbr(used_for));
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut state = lock(&self.stats.0);
        if let Some(index) = state.in_flight.iter().position(|attempt| attempt.id == self.id) {
            let totals = state.in_flight.swap_remove(index).totals();
            state.ended += totals;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::super::socket::Socket;
    use super::*;
    use crate::platform::{congestion_control, set_congestion_control};

    #[tokio::test]
    async fn only_attempts_with_many_bytes_left_use_free_capacity() -> std::io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        for size in [MIN_LEFT, MIN_LEFT - 1] {
            let stream = TcpStream::connect(listener.local_addr()?).await?.into_std()?;
            let same = TcpStream::from_std(stream.try_clone()?)?;
            let before = congestion_control(&same);
            set_congestion_control(&same, b"bbr");
            let has_bbr = congestion_control(&same) != before;
            before.iter().for_each(|name| set_congestion_control(&same, name));
            let (socket, stats) = (Socket::new(TcpStream::from_std(stream)?), TransferStats::default());
            let _registered = stats.register(socket.probe(), Arc::default(), size);
            for _ in 0..2 {
                stats.restart_bbr();
                let after = congestion_control(&same);
                assert_eq!(after != before, has_bbr && size == MIN_LEFT);
                assert_ne!(after.as_deref(), Some(b"reno".as_slice()));
            }
        }
        Ok(())
    }
}
