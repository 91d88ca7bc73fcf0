//! What the network has accepted of all parts together, and what TCP measures. The sockets in flight are asked on
//! demand.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connect::Probe;
use crate::platform::TcpInfo;

/// The parts in flight. Clones share them.
#[derive(Clone, Default)]
pub struct TransferStats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    flying: Vec<InFlight>,
    /// Totals of attempts that have ended: bytes accepted, packets resent.
    ended: (u64, u64),
}

/// One attempt.
struct InFlight {
    id: u64,
    probe: Probe,
    /// Its socket's counts at the start of the attempt: bytes accepted, packets resent.
    before: (u64, u64),
}

impl InFlight {
    fn account(probe: &Probe) -> (u64, u64) {
        (probe.wire().taken, probe.measured().map_or(0, |measured| measured.retransmits))
    }

    fn since(&self) -> (u64, u64) {
        let (taken, resent) = Self::account(&self.probe);
        (taken.saturating_sub(self.before.0), resent.saturating_sub(self.before.1))
    }
}

/// Registers an attempt until it is dropped.
pub struct Entry {
    id: u64,
    traffic: TransferStats,
}

/// A sample of all sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSample {
    /// Bytes accepted by the network so far, including those sent again.
    pub taken: u64,
    /// The mean of the recent round trips, the shortest of all, and packets resent so far; `None` if the system does
    /// not tell.
    pub measured: Option<TcpInfo>,
}

impl TransferStats {
    /// Registers an attempt on this connection.
    pub fn begin(&self, probe: Probe) -> Entry {
        let before = InFlight::account(&probe);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.flying.push(InFlight { id, probe, before });
        Entry { id, traffic: self.clone() }
    }

    /// Samples all sockets.
    pub fn sample(&self) -> NetworkSample {
        let state = self.state();
        let (mut taken, mut resent) = state.ended;
        let (mut smoothed, mut least, mut told) = (Duration::ZERO, None, 0);
        for one in &state.flying {
            let since = one.since();
            (taken, resent) = (taken + since.0, resent + since.1);
            if let Some(measured) = one.probe.measured() {
                least = Some(least.map_or(measured.min_rtt, |least: Duration| least.min(measured.min_rtt)));
                (smoothed, told) = (smoothed + measured.smoothed_rtt, told + 1);
            }
        }
        let mean = smoothed.checked_div(told).unwrap_or_default();
        NetworkSample {
            taken,
            measured: least.map(|least| TcpInfo { smoothed_rtt: mean, min_rtt: least, retransmits: resent }),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut state = self.traffic.state();
        if let Some(index) = state.flying.iter().position(|one| one.id == self.id) {
            let (taken, resent) = state.flying.swap_remove(index).since();
            state.ended = (state.ended.0 + taken, state.ended.1 + resent);
        }
    }
}
