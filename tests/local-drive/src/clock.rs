//! The drive's own clock: this machine's, moved by what a test asks for.
//!
//! Everything that the service dates (its `Date` headers, `createdAt`, `X-Amz-Date`, the check whether a URL has
//! expired) reads this one, so that a client whose machine is off by hours can be tested without touching its clock.

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

    /// Moves the clock on (or back) from where it is.
    pub(crate) fn advance(&self, by: SignedDuration) {
        self.offset_ms.fetch_add(clamp(by), Ordering::SeqCst);
    }

    /// Whether it differs from this machine's.
    pub(crate) fn is_shifted(&self) -> bool {
        self.offset_ms.load(Ordering::SeqCst) != 0
    }

    pub(crate) fn now(&self) -> Timestamp {
        let offset = SignedDuration::from_millis(self.offset_ms.load(Ordering::SeqCst));
        // Only an offset of millennia can leave jiff's range, and then the unshifted time is as good as any.
        let now = Timestamp::now();
        now.checked_add(offset).unwrap_or(now)
    }

    /// The `Date` header of RFC 9110.
    pub(crate) fn http_date(&self) -> String {
        self.now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
    }
}

/// `createdAt` and S3's `ServerTime`: RFC 3339 with milliseconds.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// `X-Amz-Date`.
pub(crate) fn amz_date(time: Timestamp) -> String {
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The opposite of [`amz_date`].
pub(crate) fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    jiff::tz::TimeZone::UTC.to_timestamp(time).ok()
}

fn clamp(duration: SignedDuration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(0)
}
