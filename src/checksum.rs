//! MD5 of the parts in flight, nearly for free.
//!
//! One MD5 stream cannot use a wide processor: each block waits for the one before it. Parts in flight are
//! many independent streams, and `md5-many` hashes up to 16 of them side by side in SIMD lanes (chosen at run
//! time, with a scalar way for every machine). So chunks are queued as they are read, and whoever fills the
//! queue hashes all of it in one go; a part that wants its sum flushes the queue. No thread of its own, no
//! hand-over, and the queue's bound is the bound on memory.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::Bytes;
use md5_many::{Md5Many, Md5State};

/// Chunks that make a batch: enough to fill 16 lanes when 16 parts are in flight.
const BATCH: usize = 16;
/// Chunks that may wait while another thread hashes; then the pusher waits too. 48 × 64 KiB are 3 MiB.
const MOST_QUEUED: usize = 48;

/// Hashes many streams at once. Cheap to clone.
#[derive(Clone, Default)]
pub struct Checksums(Arc<Inner>);

#[derive(Default)]
struct Inner {
    next: AtomicU64,
    queue: Mutex<Vec<(u64, Bytes)>>,
    states: Mutex<States>,
}

#[derive(Default)]
struct States {
    many: Option<Md5Many>,
    streams: HashMap<u64, Md5State>,
}

/// One stream of bytes whose sum is wanted.
pub struct Stream {
    sums: Checksums,
    id: u64,
}

impl Checksums {
    /// Begins a stream.
    pub fn stream(&self) -> Stream {
        Stream { sums: self.clone(), id: self.0.next.fetch_add(1, Ordering::Relaxed) }
    }

    fn queue(&self) -> MutexGuard<'_, Vec<(u64, Bytes)>> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn states(&self) -> MutexGuard<'_, States> {
        self.0.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hashes all that is queued. Each round takes the first chunk of every stream, so that a stream's
    /// chunks stay in order and different streams share the lanes.
    fn flush(&self, states: &mut States) {
        // Taken while `states` is held: a later chunk of a stream cannot overtake an earlier one.
        let mut waiting = std::mem::take(&mut *self.queue());
        let many = *states.many.get_or_insert_with(Md5Many::new);
        while !waiting.is_empty() {
            let mut ids = Vec::with_capacity(BATCH);
            let mut chunks = Vec::with_capacity(BATCH);
            let mut later = Vec::new();
            for (id, chunk) in waiting {
                if ids.contains(&id) {
                    later.push((id, chunk));
                } else {
                    ids.push(id);
                    chunks.push(chunk);
                }
            }
            let mut round: Vec<Md5State> =
                ids.iter().map(|id| states.streams.get(id).copied().unwrap_or_default()).collect();
            let inputs: Vec<&[u8]> = chunks.iter().map(Bytes::as_ref).collect();
            many.update_many(&mut round, &inputs);
            states.streams.extend(ids.into_iter().zip(round));
            waiting = later;
        }
    }
}

impl Stream {
    /// The stream's next bytes. They are hashed now or a little later.
    pub fn push(&self, chunk: Bytes) {
        let queued = {
            let mut queue = self.sums.queue();
            queue.push((self.id, chunk));
            queue.len()
        };
        if queued < BATCH {
            return;
        }
        match self.sums.0.states.try_lock() {
            Ok(mut states) => self.sums.flush(&mut states),
            Err(TryLockError::Poisoned(poisoned)) => self.sums.flush(&mut poisoned.into_inner()),
            // Someone is hashing already. What was queued meanwhile waits for the next pusher, up to a bound.
            Err(TryLockError::WouldBlock) if queued < MOST_QUEUED => {}
            Err(TryLockError::WouldBlock) => self.sums.flush(&mut self.sums.states()),
        }
    }

    /// The MD5 of all that was pushed, in hexadecimal.
    pub fn finish(self) -> String {
        let mut states = self.sums.states();
        self.sums.flush(&mut states);
        let state = states.streams.remove(&self.id).unwrap_or_default();
        drop(states);
        hex(&state.finalize())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // A given-up attempt leaves nothing behind.
        let mut states = self.sums.states();
        self.sums.queue().retain(|(id, _)| *id != self.id);
        states.streams.remove(&self.id);
    }
}

/// Bytes in hexadecimal, lower case.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use md5::{Digest as _, Md5};

    fn reference(bytes: &[u8]) -> String {
        hex(&Md5::digest(bytes))
    }

    #[test]
    fn an_empty_stream_has_the_md5_of_nothing() {
        assert_eq!(Checksums::default().stream().finish(), "d41d8cd98f00b204e9800998ecf8427e");
    }

    #[test]
    fn a_dropped_stream_leaves_nothing_behind() {
        let sums = Checksums::default();
        let stream = sums.stream();
        for _ in 0..BATCH + 3 {
            stream.push(Bytes::from_static(b"abc"));
        }
        drop(stream);
        assert!(sums.queue().is_empty() && sums.states().streams.is_empty());
    }

    proptest::proptest! {
        /// Every way through the lanes (1 to 40 streams, aligned chunks and odd ones, any order of pushes)
        /// agrees with the reference.
        #[test]
        fn many_streams_at_once_agree_with_md5_of_each(
            streams in 1usize..40,
            pushes in proptest::collection::vec((0usize..40, 0usize..700), 0..160),
            aligned: bool,
        ) {
            let sums = Checksums::default();
            let open: Vec<Stream> = (0..streams).map(|_| sums.stream()).collect();
            let mut expected = vec![Vec::new(); streams];
            for (turn, (stream, length)) in pushes.into_iter().enumerate() {
                let length = if aligned { length / 64 * 64 } else { length };
                let chunk: Vec<u8> = (0..length).map(|i| (i * 31 + turn * 7) as u8).collect();
                expected[stream % streams].extend_from_slice(&chunk);
                open[stream % streams].push(Bytes::from(chunk));
            }
            for (stream, bytes) in open.into_iter().zip(expected) {
                proptest::prop_assert_eq!(stream.finish(), reference(&bytes));
            }
        }
    }

    #[test]
    fn threads_that_push_side_by_side_get_their_own_sums() {
        let sums = Checksums::default();
        std::thread::scope(|scope| {
            for seed in 0u8..8 {
                let stream = sums.stream();
                scope.spawn(move || {
                    let mut all = Vec::new();
                    for turn in 0u8..100 {
                        let chunk = vec![seed ^ turn; 4096];
                        all.extend_from_slice(&chunk);
                        stream.push(Bytes::from(chunk));
                    }
                    assert_eq!(stream.finish(), reference(&all));
                });
            }
        });
    }
}
