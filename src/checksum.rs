//! MD5 of all parts in flight, computed together.
//!
//! MD5 of one stream cannot use SIMD, because each block depends on the one before. But the parts in flight are
//! independent streams, and `md5-many` hashes up to 16 of them in parallel in SIMD lanes (chosen at run time, with a
//! scalar fallback). So chunks wait until every stream has one, and the task that pushes the last one hashes them all. A
//! part that needs its checksum does not wait. There is no extra thread, and the limit on waiting chunks bounds memory.

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, TryLockError};

use bytes::Bytes;
use md5_many::{Md5Many, Md5State};

use crate::mutex::lock;

/// Streams hashed at a time: the number of lanes in AVX-512.
const LANES: usize = 16;
/// The number of lanes in AVX2, and half of AVX-512's.
const LANES_NARROW: usize = 8;
/// Waiting chunks at which hashing starts even if lanes stay empty. Sockets accept bytes in bursts, so with few streams
/// waiting fills more lanes. 64 × 64 KiB are 4 MiB; more would cost memory and saves no measurable time.
const MAX_WAITING: usize = 64;
/// The same for many streams. They fill the lanes sooner, and use more buffers elsewhere.
const MAX_WAITING_OF_MANY: usize = 32;

/// Hashes many streams at once. Clones share the state.
#[derive(Clone, Default)]
pub struct Checksums(Arc<Inner>);

#[derive(Default)]
struct Inner {
    streams: Mutex<Streams>,
    /// Held while hashing, so that the chunks of a stream stay in order.
    hasher: Mutex<Md5Many>,
}

#[derive(Default)]
struct Streams {
    next_id: u64,
    by_id: HashMap<u64, StreamState>,
    /// Number of chunks that wait.
    waiting: usize,
}

#[derive(Default)]
struct StreamState {
    md5: Md5State,
    /// The chunks that wait.
    chunks: VecDeque<Bytes>,
    /// No more chunks will come.
    ended: bool,
}

/// One stream of bytes to hash.
pub struct Stream {
    sums: Checksums,
    id: u64,
}

/// The next chunk of a stream, to be hashed.
struct Lane {
    id: u64,
    md5: Md5State,
    chunk: Bytes,
}

impl Streams {
    /// Whether to hash: all lanes that can be filled are filled, or too many chunks wait.
    fn is_due(&self) -> bool {
        let ready = self.by_id.values().filter(|stream| !stream.chunks.is_empty()).count();
        let missing = || self.by_id.values().any(|stream| stream.chunks.is_empty() && !stream.ended);
        ready >= LANES || ready > 0 && !missing() || self.has_too_many()
    }

    fn has_too_many(&self) -> bool {
        self.waiting >= if self.by_id.len() > LANES { MAX_WAITING_OF_MANY } else { MAX_WAITING }
    }

    /// Takes the first chunk of up to [`LANES`] streams: of `wanted`, and of those with the most chunks.
    fn take_lanes(&mut self, wanted: Option<u64>) -> Vec<Lane> {
        let mut streams: Vec<_> = self.by_id.iter_mut().collect();
        streams.sort_unstable_by_key(|(id, stream)| Reverse((Some(**id) == wanted, stream.chunks.len())));
        let lanes = streams.into_iter().take(LANES).filter_map(|(id, stream)| {
            Some(Lane { id: *id, md5: stream.md5, chunk: stream.chunks.pop_front()? })
        });
        let lanes: Vec<_> = lanes.collect();
        self.waiting -= lanes.len();
        lanes
    }
}

/// Hashes the chunk of each lane.
fn hash(hasher: Md5Many, lanes: &mut [Lane]) {
    // Lanes run in lockstep: chunks of the same length go together, a part's shorter last one alone.
    let length = lanes.iter().map(|lane| lane.chunk.len()).max().unwrap_or(0);
    let (mut states, mut inputs) = (Vec::with_capacity(LANES), Vec::with_capacity(LANES));
    for Lane { md5, chunk, .. } in lanes.iter_mut() {
        if chunk.len() < length {
            md5.update(chunk);
        } else {
            states.push(*md5);
            inputs.push(&chunk[..]);
        }
    }
    // Fills empty lanes with any data: a full set is several times faster than one that is nearly full.
    if let (2.., Some(first)) = (inputs.len(), inputs.first().copied()) {
        let full = inputs.len().next_multiple_of(LANES_NARROW);
        states.resize(full, Md5State::new());
        inputs.resize(full, first);
    }
    hasher.update_many(&mut states, &inputs);
    let equal = lanes.iter_mut().filter(|lane| lane.chunk.len() == length);
    equal.zip(states).for_each(|(lane, md5)| lane.md5 = md5);
}

impl Checksums {
    /// Starts a stream.
    pub fn stream(&self) -> Stream {
        let mut streams = lock(&self.0.streams);
        streams.next_id += 1;
        let id = streams.next_id;
        streams.by_id.insert(id, StreamState::default());
        Stream { sums: self.clone(), id }
    }

    /// Hashes a chunk of as many streams as possible, `wanted` among them.
    fn hash_round(&self, hasher: Md5Many, wanted: Option<u64>) {
        let mut lanes = lock(&self.0.streams).take_lanes(wanted);
        hash(hasher, &mut lanes);
        let mut streams = lock(&self.0.streams);
        for Lane { id, md5, .. } in lanes {
            // It is gone if the attempt was aborted meanwhile.
            if let Some(stream) = streams.by_id.get_mut(&id) {
                stream.md5 = md5;
            }
        }
    }
}

impl Stream {
    /// Adds the next bytes. They are hashed now or a little later.
    pub fn push(&self, chunk: Bytes) {
        let Inner { streams, hasher } = &*self.sums.0;
        let too_many = {
            let mut streams = lock(streams);
            if let Some(stream) = streams.by_id.get_mut(&self.id) {
                stream.chunks.push_back(chunk);
                streams.waiting += 1;
            }
            if !streams.is_due() {
                return;
            }
            streams.has_too_many()
        };
        // Another thread may be hashing. This one waits for it only if too many chunks wait.
        let hasher = match hasher.try_lock() {
            Err(TryLockError::WouldBlock) if !too_many => return,
            Err(TryLockError::WouldBlock) => lock(hasher),
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Ok(hasher) => hasher,
        };
        while lock(streams).is_due() {
            self.sums.hash_round(*hasher, None);
        }
    }

    /// Marks the end of the stream: other streams no longer wait for its chunks.
    pub fn end(&self) {
        if let Some(stream) = lock(&self.sums.0.streams).by_id.get_mut(&self.id) {
            stream.ended = true;
        }
    }

    /// Returns the MD5 of everything pushed, in hexadecimal.
    pub fn finish(self) -> String {
        let hasher = lock(&self.sums.0.hasher);
        loop {
            if let Some(stream) = lock(&self.sums.0.streams).by_id.get(&self.id)
                && stream.chunks.is_empty()
            {
                return hex(&stream.md5.finalize());
            }
            // Other streams' chunks use the lanes that would be empty.
            self.sums.hash_round(*hasher, Some(self.id));
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // An aborted attempt leaves nothing behind.
        let mut streams = lock(&self.sums.0.streams);
        let dropped = streams.by_id.remove(&self.id).map_or(0, |stream| stream.chunks.len());
        streams.waiting -= dropped;
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
        let streams = lock(&sums.0.streams);
        assert_eq!((streams.waiting, streams.by_id.len()), (0, 1));
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
