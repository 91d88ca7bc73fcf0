//! MD5 of all parts in flight, computed together.
//!
//! MD5 of one stream cannot use SIMD, because each block depends on the one before. But the parts in flight are
//! independent streams, and `md5-many` hashes up to 16 of them in parallel in SIMD lanes (chosen at run time, with a
//! scalar fallback). So chunks wait until every stream has one, and the task that pushes the last one hashes them all. A
//! part that needs its checksum does not wait. There is no extra thread, and the limit on waiting chunks bounds memory.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use bytes::Bytes;
use md5_many::{Md5Many, Md5State};

use crate::mutex::lock;

/// Streams hashed at a time: the number of lanes in AVX-512.
const LANES: usize = 16;
/// The number of lanes in AVX2, and half of AVX-512's.
const LANES_NARROW: usize = 8;
/// Waiting chunks at which hashing starts even if lanes stay empty. 64 × 64 KiB are 4 MiB. Sockets accept bytes in
/// bursts, so with few streams waiting helps: 32 gave rounds of 3.6 lanes, 64 of 4.5 (8 parts in flight, loopback).
const MAX_WAITING: usize = 64;
/// The same for many streams. They fill the lanes sooner, and use more buffers elsewhere.
const MAX_WAITING_OF_MANY: usize = 32;

/// Hashes many streams at once. Clones share the state.
#[derive(Clone, Default)]
pub struct Checksums(Arc<Inner>);

#[derive(Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// Held while hashing. Chunks are taken out of `waiting` only while it is held, so that they stay in order.
    states: Mutex<States>,
}

#[derive(Default)]
struct Waiting {
    next_id: u64,
    streams: HashMap<u64, Queue>,
    chunks: usize,
}

/// The chunks of one stream that wait.
#[derive(Default)]
struct Queue {
    chunks: VecDeque<Bytes>,
    ended: bool,
}

#[derive(Default)]
struct States {
    many: Option<Md5Many>,
    streams: HashMap<u64, Md5State>,
}

/// One stream of bytes to hash.
pub struct Stream {
    sums: Checksums,
    id: u64,
}

impl Waiting {
    /// Number of streams that have a waiting chunk.
    fn ready(&self) -> usize {
        self.streams.values().filter(|queue| !queue.chunks.is_empty()).count()
    }

    /// Whether all lanes that can be filled are filled. Streams that have ended push nothing more.
    fn is_full(&self) -> bool {
        let ready = self.ready();
        let missing = || self.streams.values().any(|queue| queue.chunks.is_empty() && !queue.ended);
        ready >= LANES || (ready > 0 && !missing())
    }

    /// Whether hashing has to start because of the number of waiting chunks.
    fn has_too_many(&self) -> bool {
        self.chunks >= if self.streams.len() > LANES { MAX_WAITING_OF_MANY } else { MAX_WAITING }
    }

    /// Takes the first chunk of up to [`LANES`] streams, `wanted` included.
    fn take_round(&mut self, wanted: Option<u64>) -> (Vec<u64>, Vec<Bytes>) {
        let first = wanted.and_then(|id| Some((id, self.streams.get_mut(&id)?.chunks.pop_front()?)));
        let others = self.streams.iter_mut().filter(|(id, _)| Some(**id) != wanted);
        let others = others.filter_map(|(id, queue)| Some((*id, queue.chunks.pop_front()?)));
        let round: (Vec<u64>, Vec<Bytes>) = first.into_iter().chain(others.take(LANES - 1)).unzip();
        self.chunks -= round.0.len();
        round
    }
}

impl States {
    /// Hashes one chunk of each of these streams.
    fn hash(&mut self, (ids, chunks): (Vec<u64>, Vec<Bytes>)) {
        let many = *self.many.get_or_insert_with(Md5Many::new);
        let state = |id: &u64| self.streams.get(id).copied().unwrap_or_default();
        let mut round: Vec<(u64, Md5State, Bytes)> =
            ids.into_iter().zip(chunks).map(|(id, chunk)| (id, state(&id), chunk)).collect();
        // Lanes run in lockstep: chunks of the same length go together, a part's shorter last one alone.
        let length = round.iter().map(|(_, _, chunk)| chunk.len()).max().unwrap_or(0);
        let (equal, shorter): (Vec<_>, Vec<_>) =
            round.drain(..).partition(|(_, _, chunk)| chunk.len() == length);
        for (id, mut state, chunk) in shorter {
            state.update(&chunk);
            self.streams.insert(id, state);
        }
        let mut states: Vec<Md5State> = equal.iter().map(|(_, state, _)| *state).collect();
        let mut inputs: Vec<&[u8]> = equal.iter().map(|(_, _, chunk)| chunk.as_ref()).collect();
        // Fills empty lanes with any data: a full set is several times faster than one that is nearly full (AVX-512: 7
        // streams 0.6 GB/s, 8 3.2, 9 1.1, 16 5.4).
        if let (2.., Some(first)) = (inputs.len(), inputs.first().copied()) {
            let lanes = inputs.len().next_multiple_of(LANES_NARROW);
            states.resize(lanes, Md5State::new());
            inputs.resize(lanes, first);
        }
        many.update_many(&mut states, &inputs);
        self.streams.extend(equal.iter().map(|(id, _, _)| *id).zip(states));
    }
}

impl Checksums {
    /// Starts a stream.
    pub fn stream(&self) -> Stream {
        let mut waiting = lock(&self.0.waiting);
        waiting.next_id += 1;
        let id = waiting.next_id;
        waiting.streams.insert(id, Queue::default());
        Stream { sums: self.clone(), id }
    }

    fn try_states(&self) -> Option<MutexGuard<'_, States>> {
        match self.0.states.try_lock() {
            Ok(states) => Some(states),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl Stream {
    /// Adds the next bytes. They are hashed now or a little later.
    pub fn push(&self, chunk: Bytes) {
        let too_many = {
            let mut waiting = lock(&self.sums.0.waiting);
            if let Some(queue) = waiting.streams.get_mut(&self.id) {
                queue.chunks.push_back(chunk);
                waiting.chunks += 1;
            }
            if !waiting.is_full() && !waiting.has_too_many() {
                return;
            }
            waiting.has_too_many()
        };
        // Another thread may be hashing. This one waits for it only if too many chunks wait.
        let states = if too_many { Some(lock(&self.sums.0.states)) } else { self.sums.try_states() };
        let Some(mut states) = states else { return };
        loop {
            let round = {
                let mut waiting = lock(&self.sums.0.waiting);
                if !waiting.is_full() && !waiting.has_too_many() {
                    return;
                }
                waiting.take_round(None)
            };
            states.hash(round);
        }
    }

    /// Marks the end of the stream: other streams no longer wait for its chunks.
    pub fn end(&self) {
        if let Some(queue) = lock(&self.sums.0.waiting).streams.get_mut(&self.id) {
            queue.ended = true;
        }
    }

    /// Returns the MD5 of everything pushed, in hexadecimal.
    pub fn finish(self) -> String {
        let mut states = lock(&self.sums.0.states);
        loop {
            let round = {
                let mut waiting = lock(&self.sums.0.waiting);
                if waiting.streams.get(&self.id).is_none_or(|queue| queue.chunks.is_empty()) {
                    break;
                }
                // Other streams' chunks use the lanes that would be empty.
                waiting.take_round(Some(self.id))
            };
            states.hash(round);
        }
        let state = states.streams.get(&self.id).copied().unwrap_or_default();
        drop(states);
        hex(&state.finalize())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An aborted attempt leaves nothing behind.
        let mut states = lock(&self.sums.0.states);
        let mut waiting = lock(&self.sums.0.waiting);
        let dropped = waiting.streams.remove(&self.id).map_or(0, |queue| queue.chunks.len());
        waiting.chunks -= dropped;
        states.streams.remove(&self.id);
    }
}

/// Bytes in lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
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
        let _other = sums.stream();
        for _ in 0..MAX_WAITING + 3 {
            stream.push(Bytes::from_static(b"abc"));
        }
        drop(stream);
        let waiting = lock(&sums.0.waiting);
        assert_eq!((waiting.chunks, waiting.streams.len()), (0, 1));
        assert!(lock(&sums.0.states).streams.is_empty());
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
