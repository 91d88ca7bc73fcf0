//! Values as people read them.

use std::time::Duration;

/// A duration with two units at most: "4m 10s", "1.5s", "80ms".
pub fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..=9 => format!("{:.1}s", duration.as_secs_f64()),
        10..=59 => format!("{seconds}s"),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3600..=86_399 => format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60),
        // A `Retry-After` can be any number of seconds.
        315_360_000.. => "more than 10 years".to_owned(),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds / 3600 % 24),
    }
}
