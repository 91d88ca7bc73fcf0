//! What the network has accepted of all parts together, and what TCP measures. The sockets in flight are asked on
//! demand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::body::BodyState;
use super::connect::Probe;
use crate::platform::TcpInfo;

/// The parts in flight. Clones share them.
#[derive(Clone, Default)]
pub struct TransferStats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    flying: Vec<InFlight>,
    /// Totals of attempts that have ended.
    ended: Totals,
}

/// What connections have counted.
#[derive(Debug, Clone, Copy, Default)]
struct Totals {
    /// Bytes accepted.
    taken: u64,
    /// The same as in [`TcpInfo`].
    retransmits: u64,
    busy: Duration,
    receiver_limited: Duration,
}

impl Totals {
    fn of(probe: &Probe) -> Self {
        let tcp = probe.measured();
        Self {
            taken: probe.wire().taken,
            retransmits: tcp.map_or(0, |tcp| tcp.retransmits),
            busy: tcp.map_or(Duration::ZERO, |tcp| tcp.busy),
            receiver_limited: tcp.map_or(Duration::ZERO, |tcp| tcp.receiver_limited),
        }
    }

    /// A socket that has been closed meanwhile counts nothing.
    fn since(self, before: Self) -> Self {
        Self {
            taken: self.taken.saturating_sub(before.taken),
            retransmits: self.retransmits.saturating_sub(before.retransmits),
            busy: self.busy.saturating_sub(before.busy),
            receiver_limited: self.receiver_limited.saturating_sub(before.receiver_limited),
        }
    }
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.taken += other.taken;
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
    /// Its socket's counts at the start of the attempt.
    before: Totals,
    /// When its rate was last measured, and the bytes accepted by then.
    measured: (Instant, u64),
}

/// How often the rate of each attempt is measured.
const RATE_OVER: Duration = Duration::from_millis(250);

impl InFlight {
    /// Measures the rate, and lets the send buffer fit it.
    fn fit_send_buffer(&mut self, at: Instant) {
        let lasted = at.duration_since(self.measured.0);
        if lasted >= RATE_OVER {
            let taken = self.probe.wire().taken;
            self.probe.fit_send_buffer(taken.saturating_sub(self.measured.1) as f64 / lasted.as_secs_f64());
            self.measured = (at, taken);
        }
    }

    fn since(&self) -> Totals {
        Totals::of(&self.probe).since(self.before)
    }
}

/// Registers an attempt until it is dropped.
pub struct Entry {
    id: u64,
    traffic: TransferStats,
}

/// A sample of all sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NetworkSample {
    /// Bytes accepted by the network so far, including those sent again.
    pub taken: u64,
    /// The mean of the recent round trips, the shortest of all, and the sums of what was counted so far; `None` if the
    /// system does not tell.
    pub measured: Option<TcpInfo>,
    /// At least half of the parts in flight wait for the disk or for `--limit-rate`.
    pub waits_for_us: bool,
}

impl TransferStats {
    /// Registers an attempt on this connection.
    pub fn begin(&self, probe: Probe, body: Arc<BodyState>) -> Entry {
        let before = Totals::of(&probe);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.flying.push(InFlight { id, probe, body, before, measured: (Instant::now(), before.taken) });
        Entry { id, traffic: self.clone() }
    }

    /// Samples all sockets.
    pub fn sample(&self) -> NetworkSample {
        let mut state = self.state();
        let now = Instant::now();
        state.flying.iter_mut().for_each(|one| one.fit_send_buffer(now));
        let mut total = state.ended;
        let waiting =
            state.flying.iter().filter(|one| one.body.waits_for_us() && !one.body.is_held()).count();
        let (mut smoothed, mut least, mut told) = (Duration::ZERO, None, 0);
        for one in &state.flying {
            total += one.since();
            if let Some(measured) = one.probe.measured() {
                least = Some(least.map_or(measured.min_rtt, |least: Duration| least.min(measured.min_rtt)));
                (smoothed, told) = (smoothed + measured.smoothed_rtt, told + 1);
            }
        }
        let mean = smoothed.checked_div(told).unwrap_or_default();
        NetworkSample {
            taken: total.taken,
            waits_for_us: waiting > 0 && waiting * 2 >= state.flying.len(),
            measured: least.map(|least| TcpInfo {
                smoothed_rtt: mean,
                min_rtt: least,
                retransmits: total.retransmits,
                busy: total.busy,
                receiver_limited: total.receiver_limited,
            }),
        }
    }

    /// Changes the connections in flight to BBR, see [`Probe::use_bbr`].
    pub fn use_bbr(&self) {
        self.state().flying.iter().for_each(|one| one.probe.use_bbr());
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.traffic.state();
        if let Some(index) = state.flying.iter().position(|one| one.id == self.id) {
            let total = state.flying.swap_remove(index).since();
            state.ended += total;
        }
    }
}
