//! Storage: the PUT of a part, and GETs of objects.

mod body;
mod buffers;
mod connect;
mod gate;
mod limiter;
mod object;
mod part;
mod pool;
mod put;
mod response;
mod socket;
mod stall_detector;
mod transfer_stats;

pub use self::object::ObjectInfo;
pub use self::part::Put;
pub use self::put::Storage;
pub use self::transfer_stats::NetworkSample;
