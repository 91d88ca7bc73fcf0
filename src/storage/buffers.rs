//! Small buffers that are used again and again, so that memory is a matter of parts in flight and never of
//! their size.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

/// Bytes a buffer. 64 KiB is where a system call's cost stops to matter (measured floor: 64–256 KiB alike),
/// and 64 parts with two of them each are 8 MiB.
pub const BUFFER: usize = 64 * 1024;
/// Buffers kept for use again; more than that only ever exist when very many parts are in flight.
const KEPT: usize = 64;

/// A store of buffers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Buffers(Arc<Mutex<Vec<Box<[u8]>>>>);

/// A buffer on loan: it goes back to its store when the last of its bytes is dropped.
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
    /// The first `most` bytes of room.
    pub fn room(&mut self, most: usize) -> &mut [u8] {
        let most = most.min(self.bytes.len());
        &mut self.bytes[..most]
    }

    /// The first `used` bytes, shared out without copying.
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
