//! What the line carries now, beside what it was seen to carry: whether there is room on it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate now is that of so long.
const NOW: Duration = Duration::from_millis(500);
/// The best rate counts for less with each look, 2 % a second, so that it is of this line and not of last hour's.
const FADE: f64 = 0.999;
/// A line moves when bytes were taken for so long …
const MOVING: Duration = Duration::from_secs(1);
/// … without a pause of this.
const PAUSE: Duration = Duration::from_secs(1);
/// Under this share of the best there is room. Connections that share a full line leave no more than that to chance.
const FULL: f64 = 0.7;

/// See the module. Looked at every [`super::slots::LOOK_EVERY`].
#[derive(Default)]
pub struct Line {
    looks: VecDeque<(Instant, u64)>,
    best: f64,
    /// Since when bytes are taken without a pause, and when the last were.
    moving: Option<(Instant, Instant)>,
}

impl Line {
    /// So many bytes were taken until now.
    pub fn look(&mut self, at: Instant, taken: u64) {
        if self.looks.back().is_some_and(|(_, before)| *before < taken) {
            let since = self.moving.filter(|(_, last)| at.saturating_duration_since(*last) < PAUSE);
            self.moving = Some((since.map_or(at, |(since, _)| since), at));
        }
        self.looks.push_back((at, taken));
        while self.looks.get(1).is_some_and(|(second, _)| at.duration_since(*second) >= NOW) {
            self.looks.pop_front();
        }
        self.best = (self.best * FADE).max(self.rate());
    }

    /// Nothing is in flight: what comes next is measured from its first byte.
    pub fn rest(&mut self) {
        self.looks.clear();
    }

    /// Whether bytes are taken, and more than what a buffer on the way takes at once though all behind it stands.
    pub fn moves(&self, now: Instant) -> bool {
        self.moving.is_some_and(|(since, last)| {
            last.saturating_duration_since(since) >= MOVING && now.saturating_duration_since(last) < PAUSE
        })
    }

    /// Bytes a second now; 0 as long as it is not known.
    fn rate(&self) -> f64 {
        let (Some((begin, before)), Some((end, after))) = (self.looks.front(), self.looks.back()) else {
            return 0.0;
        };
        let lasted = end.duration_since(*begin);
        if lasted < NOW {
            return 0.0;
        }
        after.saturating_sub(*before) as f64 / lasted.as_secs_f64()
    }

    /// Bytes a second that the line could carry beside what it carries, and what it was seen to carry. `None` when it
    /// is full, and when nothing moves: then nobody knows whether there still is a line.
    pub fn room(&self) -> Option<(f64, f64)> {
        let rate = self.rate();
        (rate > 0.0 && rate < self.best * FULL).then_some((self.best - rate, self.best))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that carries so many bytes every tenth of a second, one rate after another for a second each.
    fn line(rates: &[u64]) -> Line {
        let (mut line, begun, mut taken) = (Line::default(), Instant::now(), 0);
        for tenth in 0..rates.len() * 10 {
            line.look(begun + Duration::from_millis(100) * tenth as u32, taken);
            taken += rates[tenth / 10];
        }
        line
    }

    #[test]
    fn a_line_that_carries_less_than_it_did_has_room() {
        assert!(line(&[100]).room().is_none());
        assert!(line(&[100, 80]).room().is_none());
        let (room, _) = line(&[100, 25]).room().unwrap();
        assert!((700.0..=750.0).contains(&room), "{room}");
    }

    #[test]
    fn a_line_on_which_nothing_moves_is_not_known_to_have_room() {
        assert!(line(&[100, 0]).room().is_none());
        assert!(line(&[]).room().is_none());
    }

    #[test]
    fn a_rest_is_no_time_in_which_the_line_carried_less() {
        let mut line = line(&[100]);
        line.rest();
        line.look(Instant::now() + Duration::from_secs(60), 1000);
        line.look(Instant::now() + Duration::from_secs(61), 2000);
        assert!(line.room().is_none());
    }
}
