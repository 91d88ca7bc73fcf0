//! A pool of small buffers. Memory depends on the number of parts in flight, and never on their size.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use crate::mutex::lock;

/// Size of a buffer in bytes. From 64 KiB on, system calls no longer matter (64 to 256 KiB measured the same); 64 parts
/// with two buffers each take 8 MiB.
pub const BUFFER: usize = 64 * 1024;
/// Unused buffers to keep.
const MAX_KEPT: usize = 64;

/// A pool of buffers. Clones share it.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer from the pool. It returns when the last of its bytes is dropped.
pub struct PooledBuffer {
    bytes: Box<[u8]>,
    used: usize,
    pool: Buffers,
}

impl Buffers {
    /// Takes a buffer of [`BUFFER`] bytes.
    pub fn take(&self) -> PooledBuffer {
        let kept = lock(&self.0).pop();
        PooledBuffer {
            bytes: kept.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()),
            used: 0,
            pool: self.clone(),
        }
    }
}

impl PooledBuffer {
    /// The first `length` bytes, to be filled.
    pub fn writable(&mut self, length: usize) -> &mut [u8] {
        let length = length.min(self.bytes.len());
        &mut self.bytes[..length]
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
        let mut kept = lock(&self.pool.0);
        if kept.len() < MAX_KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_returns_to_the_pool_when_its_last_bytes_are_dropped() {
        let buffers = Buffers::default();
        let mut buffer = buffers.take();
        buffer.writable(3).copy_from_slice(b"abc");
        let (bytes, more) = {
            let b = buffer.share(3);
            (b.clone(), b)
        };
        assert_eq!(&bytes[..], b"abc");
        drop(bytes);
        assert_eq!(buffers.0.lock().unwrap().len(), 0);
        drop(more);
        assert_eq!(buffers.0.lock().unwrap().len(), 1);
        assert_eq!(buffers.take().writable(usize::MAX).len(), BUFFER);
    }
}
