//! What the network has taken of all parts together, and how the way is: asked of the sockets in
//! flight whenever somebody wants to know.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::connect::Probe;
use crate::platform::TcpInfo;

/// The parts in flight. Cheap to clone.
#[derive(Clone, Default)]
pub struct TransferStats(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    flying: Vec<InFlight>,
    /// Of attempts that have ended: bytes taken, packets resent.
    ended: (u64, u64),
}

/// One attempt.
struct InFlight {
    id: u64,
    probe: Probe,
    /// Its socket's account when the attempt began: bytes taken, packets resent.
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

/// An attempt's entry, which ends when it is dropped.
pub struct Entry {
    id: u64,
    traffic: TransferStats,
}

/// What the sockets say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NetworkSample {
    /// Bytes taken by the network so far, repeats included.
    pub taken: u64,
    /// The mean of the round trips of late, the shortest of all, and the packets resent so far; `None` where the
    /// system does not say.
    pub measured: Option<TcpInfo>,
}

impl TransferStats {
    /// An attempt begins on this connection.
    pub fn begin(&self, probe: Probe) -> Entry {
        let before = InFlight::account(&probe);
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.flying.push(InFlight { id, probe, before });
        Entry { id, traffic: self.clone() }
    }

    /// Asks all sockets.
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
