//! The clock of the drive: the machine's clock plus an offset.
//!
//! All dates of the service come from it: `Date` headers, `createdAt`, `X-Amz-Date`, and the expiry of URLs. So tests
//! can have a client whose clock is wrong by hours without changing the machine's clock.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{SignedDuration, Timestamp};

/// The time as the service sees it.
#[derive(Debug)]
pub(crate) struct Clock {
    offset_ms: AtomicI64,
}

impl Clock {
    pub(crate) fn new(offset: SignedDuration) -> Self {
        Self { offset_ms: AtomicI64::new(clamp(offset)) }
    }

    /// Advances the clock, or sets it back.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.offset_ms.fetch_add(clamp(by), Ordering::SeqCst);
    }

    /// Whether it differs from the machine's clock.
    pub(crate) fn is_shifted(&self) -> bool {
        self.offset_ms.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::SeqCst));
        // Only an offset of millennia leaves jiff's range.
        let now = Timestamp::now();
        now.checked_add(offset).unwrap_or(now)
    }

    /// The `Date` header of RFC 9110.
    pub(crate) fn http_date(&self) -> String {
        self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// RFC 3339 with milliseconds, as in `createdAt` and S3's `ServerTime`.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// Parses `X-Amz-Date`.
pub(crate) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
}

fn clamp(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(0)
}
