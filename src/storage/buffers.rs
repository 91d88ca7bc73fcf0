//! A pool of small buffers. Memory depends on the number of parts in flight, and never on their size.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Size of a buffer in bytes. From 64 KiB on, system calls no longer matter (64 to 256 KiB measured the same); 64 parts
/// with two buffers each take 8 MiB.
pub const BUFFER: usize = 64 * 1024;
/// Buffers to keep. There are only more when very many parts are in flight.
const KEPT: usize = 64;

/// A pool of buffers. Clones share it.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer from the pool. It returns when the last of its bytes is dropped.
pub struct PooledBuffer {
    bytes: Box<[u8]>,
    used: usize,
    home: Buffers,
}

impl Buffers {
    /// Takes a buffer of [`BUFFER`] bytes.
    pub fn take(&self) -> PooledBuffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        PooledBuffer {
            bytes: kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()),
            used: 0,
            home: self.clone(),
        }
    }
}

impl PooledBuffer {
    /// The first `most` bytes, to be filled.
    pub fn room(&mut self, most: usize) -> &mut [u8] {
        let most = most.min(self.bytes.len());
        &mut self.bytes[..most]
    }

    /// The first `used` bytes, without copying.
    pub fn share(mut self, used: usize) -> Bytes {
        self.used = used.min(self.bytes.len());
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for PooledBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.used]
    }
}

impl Drop for PooledBuffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_home_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::default();
        let mut loan = buffers.take();
        loan.room(3).copy_from_slice(b"abc");
        let (bytes, more) = {
            let b = loan.share(3);
            (b.clone(), b)
        };
        assert_eq!(&bytes[..], b"abc");
        drop(bytes);
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
        drop(more);
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
        assert_eq!(buffers.take().room(usize::MAX).len(), BUFFER);
    }
}
