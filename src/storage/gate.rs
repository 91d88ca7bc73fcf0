//! Which parts in flight move.
//!
//! When fewer parts should move, those that are in flight already are not cut off: their bodies are held, the youngest
//! first, until others have ended or more may move again. A held body still sends a little now and then, because S3
//! closes a connection on which it sees no byte for about 20 s.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;

/// A held body sends so much …
pub const DRIP: usize = 1024;
/// … this often.
const DRIP_EVERY: Duration = Duration::from_secs(5);

/// The gate. Clones share it.
#[derive(Clone)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    drip_every: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: Arc::default(), drip_every: DRIP_EVERY }
    }
}

struct State {
    limit: usize,
    next: u64,
    /// The bodies that have bytes left, oldest first.
    bodies: Vec<(u64, Option<Waker>)>,
}

impl Default for State {
    fn default() -> Self {
        Self { limit: usize::MAX, next: 0, bodies: Vec::new() }
    }
}

impl State {
    fn wake_open(&mut self) {
        let open = self.bodies.len().min(self.limit);
        self.bodies[..open].iter_mut().filter_map(|(_, waker)| waker.take()).for_each(Waker::wake);
    }
}

impl Gate {
    /// Lets so many bodies move.
    pub fn set_limit(&self, limit: usize) {
        let mut state = self.state();
        let grows = limit > state.limit;
        state.limit = limit;
        if grows {
            state.wake_open();
        }
    }

    /// Registers a body until the pass is dropped.
    pub fn enter(&self) -> Pass {
        let mut state = self.state();
        state.next += 1;
        let id = state.next;
        state.bodies.push((id, None));
        Pass { gate: self.clone(), id, drip: None }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a body may do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send.
    Open,
    /// Send [`DRIP`] bytes, and wait again.
    Drip,
}

/// A body's place in the gate.
pub struct Pass {
    gate: Gate,
    id: u64,
    drip: Option<Pin<Box<Sleep>>>,
}

impl Pass {
    /// Waits until the body may send.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        {
            let mut state = self.gate.state();
            let place = state.bodies.iter().position(|(id, _)| *id == self.id);
            match place {
                Some(place) if place >= state.limit => state.bodies[place].1 = Some(cx.waker().clone()),
                _ => {
                    self.drip = None;
                    return Poll::Ready(Turn::Open);
                }
            }
        }
        let drip = self.drip.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.gate.drip_every)));
        if drip.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.drip = None;
        Poll::Ready(Turn::Drip)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.bodies.retain(|(id, _)| *id != self.id);
        state.wake_open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(pass: &mut Pass) -> Option<Turn> {
        match pass.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn the_oldest_move_and_the_others_wait_until_they_may() {
        let gate = Gate::default();
        let mut passes = [gate.enter(), gate.enter(), gate.enter()];
        assert!(passes.iter_mut().all(|pass| now(pass) == Some(Turn::Open)));
        gate.set_limit(1);
        assert_eq!(passes.each_mut().map(now), [Some(Turn::Open), None, None]);
        gate.set_limit(2);
        assert_eq!(passes.each_mut().map(now), [Some(Turn::Open), Some(Turn::Open), None]);
        let [first, _second, mut third] = passes;
        drop(first);
        assert_eq!(now(&mut third), Some(Turn::Open));
    }

    #[tokio::test]
    async fn a_held_body_drips_again_and_again() {
        let gate = Gate { drip_every: Duration::from_millis(1), ..Gate::default() };
        gate.set_limit(1);
        let (_first, mut second) = (gate.enter(), gate.enter());
        for _ in 0..2 {
            assert_eq!(now(&mut second), None);
            assert_eq!(std::future::poll_fn(|cx| second.poll(cx)).await, Turn::Drip);
        }
    }

    #[tokio::test]
    async fn a_held_body_is_woken_when_it_may_move() {
        let gate = Gate::default();
        gate.set_limit(1);
        let first = gate.enter();
        let mut second = gate.enter();
        let waits = tokio::spawn(async move { std::future::poll_fn(|cx| second.poll(cx)).await });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waits.await.ok(), Some(Turn::Open));
    }
}
