//! Decides which parts in flight send.
//!
//! When the limit drops, parts in flight are not aborted. The gate holds the bodies of the youngest ones until others end
//! or the limit rises again. A held body still sends a few bytes now and then, because S3 closes a connection on which it
//! receives nothing for about 20 s.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Sleep;

use crate::mutex::lock;

/// Bytes that a held body sends every [`KEEP_ALIVE_INTERVAL`].
pub const KEEP_ALIVE_BYTES: usize = 1024;
/// See [`KEEP_ALIVE_BYTES`].
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// Clones share one gate.
#[derive(Clone)]
pub struct Gate {
    state: Arc<Mutex<State>>,
    keep_alive_interval: Duration,
}

impl Default for Gate {
    fn default() -> Self {
        Self { state: Arc::default(), keep_alive_interval: KEEP_ALIVE_INTERVAL }
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
    /// Lets this many bodies send.
    pub fn set_limit(&self, limit: usize) {
        let mut state = lock(&self.state);
        let grows = limit > state.limit;
        state.limit = limit;
        if grows {
            state.wake_open();
        }
    }

    /// Registers a body until the pass is dropped.
    pub fn enter(&self) -> Pass {
        let mut state = lock(&self.state);
        state.next += 1;
        let id = state.next;
        state.bodies.push((id, None));
        Pass { gate: self.clone(), id, keep_alive: None }
    }
}

/// What a body may do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Permission {
    /// Send.
    Open,
    /// Send [`KEEP_ALIVE_BYTES`], and wait again.
    KeepAlive,
}

/// A body's place in the gate, from the oldest to the youngest.
pub struct Pass {
    gate: Gate,
    id: u64,
    keep_alive: Option<Pin<Box<Sleep>>>,
}

impl Pass {
    /// Waits until the body may send.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Permission> {
        {
            let mut state = lock(&self.gate.state);
            let index = state.bodies.iter().position(|(id, _)| *id == self.id);
            match index {
                Some(index) if index >= state.limit => state.bodies[index].1 = Some(cx.waker().clone()),
                _ => {
                    self.keep_alive = None;
                    return Poll::Ready(Permission::Open);
                }
            }
        }
        let timer = self
            .keep_alive
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(self.gate.keep_alive_interval)));
        if timer.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.keep_alive = None;
        Poll::Ready(Permission::KeepAlive)
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.bodies.retain(|(id, _)| *id != self.id);
        state.wake_open();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now(pass: &mut Pass) -> Option<Permission> {
        match pass.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(permission) => Some(permission),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn the_oldest_send_and_the_others_are_held() {
        let gate = Gate::default();
        let mut passes = [gate.enter(), gate.enter(), gate.enter()];
        assert!(passes.iter_mut().all(|pass| now(pass) == Some(Permission::Open)));
        gate.set_limit(1);
        assert_eq!(passes.each_mut().map(now), [Some(Permission::Open), None, None]);
        gate.set_limit(2);
        assert_eq!(passes.each_mut().map(now), [Some(Permission::Open), Some(Permission::Open), None]);
        let [first, _second, mut third] = passes;
        drop(first);
        assert_eq!(now(&mut third), Some(Permission::Open));
    }

    #[tokio::test]
    async fn a_held_body_sends_keep_alive_bytes_again_and_again() {
        let gate = Gate { keep_alive_interval: Duration::from_millis(1), ..Gate::default() };
        gate.set_limit(1);
        let (_first, mut second) = (gate.enter(), gate.enter());
        for _ in 0..2 {
            assert_eq!(now(&mut second), None);
            assert_eq!(std::future::poll_fn(|cx| second.poll(cx)).await, Permission::KeepAlive);
        }
    }

    #[tokio::test]
    async fn a_held_body_is_woken_when_it_may_send() {
        let gate = Gate::default();
        gate.set_limit(1);
        let first = gate.enter();
        let mut second = gate.enter();
        let waits = tokio::spawn(async move { std::future::poll_fn(|cx| second.poll(cx)).await });
        tokio::task::yield_now().await;
        drop(first);
        assert_eq!(waits.await.ok(), Some(Permission::Open));
    }
}
