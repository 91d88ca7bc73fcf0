//! How a file is split into parts. Pure arithmetic.
//!
//! S3's limits: a part has 5 MiB to 5 GiB (the last one may be smaller), and an upload has at most 10,000 parts (Amazon
//! S3, "Multipart upload limits"). So the largest file has 48.8 TiB.

use std::ops::Range;

use crate::error::{Code, Error};
use crate::units::{MIB, PART_MAX, PART_MIN, check_part_size};

/// S3's limit on the number of parts.
pub const COUNT_MAX: u64 = 10_000;
/// The largest file: all parts at their limit.
pub const SIZE_MAX: u64 = COUNT_MAX * PART_MAX;

/// Default limit on the number of parts, as long as parts can grow. The URLs of all parts come in one response of 0.5
/// to 1.5 kB each. It is requested again every hour and stays in memory during the upload: 2 MB for 2,000 parts, 10 MB
/// for 10,000.
const PREFERRED_MAX_COUNT: u64 = 2_000;

/// Smaller files get the smallest parts: on a lossy path, speed comes from the number of connections, and each needs
/// parts to send (400 MiB: 80 parts). Above this size, parts grow with the square root of the file, so that both their
/// size and their number grow without jumps: 8 MiB at 1 GiB, 16 MiB at 4 GiB (Amazon advises 8 to 16 MiB), 80 MiB at
/// 100 GiB. `PREFERRED_MAX_COUNT` is reached at 244 GiB.
const SMALL_FILE: u64 = 400 * MIB;
/// Makes the square root meet `PART_MIN` at `SMALL_FILE`: (5 MiB)² / 400 MiB.
const GROWTH: u64 = PART_MIN * PART_MIN / SMALL_FILE;

/// The parts of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Size of the file in bytes.
    pub size: u64,
    /// Size of every part in bytes, except for the last one, which may be smaller.
    pub part_size: u64,
    /// Number of parts. At least one: an empty file has one empty part.
    pub count: u32,
}

impl Parts {
    /// Splits a file of `size` bytes into parts of `part_size`, or of a size derived from the file's.
    /// Fails if the file is too large, or `part_size` is out of range or needs too many parts.
    pub fn plan(size: u64, part_size: Option<u64>) -> Result<Self, Error> {
        if size > SIZE_MAX {
            return Err(Error::with_hint(
                Code::Refused,
                format!("has {size} bytes, and an upload holds at most 10,000 parts of 5 GiB (48.8 TiB)"),
                "split the file: this is a limit of storage",
            ));
        }
        let part_size = match part_size {
            Some(given) => check_given(size, given)?,
            None => default_size(size),
        };
        Ok(Self::of(size, part_size))
    }

    fn of(size: u64, part_size: u64) -> Self {
        // At most 10,000: both branches of `plan` ensure it.
        let count = u32::try_from(size.div_ceil(part_size).max(1)).unwrap_or(u32::MAX);
        Self { size, part_size, count }
    }

    /// The byte range of a part, by its number from 1. A number beyond the last part gets an empty range at the end.
    pub fn range(&self, number: u32) -> Range<u64> {
        let at = |parts: u32| u64::from(parts).saturating_mul(self.part_size).min(self.size);
        at(number.saturating_sub(1))..at(number)
    }

    /// Size of a part in bytes, by its number from 1.
    pub fn len(&self, number: u32) -> u64 {
        let range = self.range(number);
        range.end - range.start
    }

    /// Whether the file is empty. It still has one part.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The part numbers in order.
    pub fn numbers(&self) -> std::ops::RangeInclusive<u32> {
        1..=self.count
    }
}

/// The default part size for a file of up to `SIZE_MAX` bytes, in whole MiB.
fn default_size(size: u64) -> u64 {
    let smooth = (size * GROWTH).isqrt();
    smooth.max(size.div_ceil(PREFERRED_MAX_COUNT)).max(PART_MIN).next_multiple_of(MIB).min(PART_MAX)
}

fn check_given(size: u64, given: u64) -> Result<u64, Error> {
    check_part_size(given).map_err(|why| Error::usage(format!("--part-size {given}: {why}")))?;
    if size.div_ceil(given) <= COUNT_MAX {
        return Ok(given);
    }
    let min = size.div_ceil(COUNT_MAX).next_multiple_of(MIB);
    Err(Error::usage_hint(
        format!(
            "needs {} parts of {given} bytes, and an upload has at most {COUNT_MAX}: the part size is too small",
            size.div_ceil(given)
        ),
        format!(
            "--part-size {}MiB is the least that works for this file; without it a size is chosen",
            min / MIB
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::GIB;
    use proptest::prelude::*;

    const TIB: u64 = 1 << 40;

    #[test]
    fn part_sizes_grow_smoothly_with_the_file() {
        for (size, part_mib, count) in [
            (0, 5, 1),
            (1, 5, 1),
            (5 * MIB, 5, 1),
            (5 * MIB + 1, 5, 2),
            (100 * MIB, 5, 20),
            (400 * MIB, 5, 80),
            (GIB, 8, 128),
            (4 * GIB, 16, 256),
            (100 * GIB, 80, 1280),
            (TIB, 525, 1998),
            (9 * TIB, 4719, 2000),
            (SIZE_MAX, 5120, 10_000),
        ] {
            let parts = Parts::plan(size, None).unwrap();
            assert_eq!((parts.part_size, parts.count), (part_mib * MIB, count), "{size}");
        }
    }

    #[test]
    fn the_bounds_hold() {
        assert!(Parts::plan(SIZE_MAX + 1, None).unwrap_err().to_string().contains("at most"));
        assert!(Parts::plan(u64::MAX, Some(PART_MAX)).unwrap_err().to_string().contains("at most"));
        for given in [0, 1, PART_MIN - 1, PART_MAX + 1, u64::MAX] {
            assert_eq!(Parts::plan(1, Some(given)).unwrap_err().exit_code(), 2, "{given}");
        }
        assert_eq!(Parts::plan(1, Some(PART_MAX)).unwrap().count, 1);
        assert_eq!(Parts::plan(PART_MIN * 10_000, Some(PART_MIN)).unwrap().count, 10_000);
    }

    #[test]
    fn too_small_a_part_size_is_refused_with_the_least_that_works() {
        let error = Parts::plan(PART_MIN * 10_000 + 1, Some(PART_MIN)).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.hint().unwrap().contains("--part-size 6MiB "), "{error:?}");
        assert!(Parts::plan(PART_MIN * 10_000 + 1, Some(6 * MIB)).is_ok());
    }

    #[test]
    fn an_empty_file_is_one_empty_part() {
        let parts = Parts::plan(0, None).unwrap();
        assert_eq!((parts.count, parts.range(1), parts.range(2)), (1, 0..0, 0..0));
    }

    fn check(parts: Parts) -> Result<(), TestCaseError> {
        prop_assert!((1..=10_000).contains(&parts.count));
        let mut end = 0;
        for number in parts.numbers() {
            let range = parts.range(number);
            prop_assert_eq!(range.start, end);
            end = range.end;
            if number < parts.count {
                prop_assert_eq!(parts.len(number), parts.part_size);
            } else {
                prop_assert!(parts.len(number) <= parts.part_size);
                prop_assert!(parts.len(number) > 0 || parts.is_empty());
            }
        }
        prop_assert_eq!(end, parts.size);
        Ok(())
    }

    proptest! {
        #[test]
        fn parts_cover_any_file_without_gap_or_overlap(bits in 0u32..=46, low: u64) {
            // Sizes of every order of magnitude, not only of the largest.
            let size = ((1 << bits) | (low & ((1 << bits) - 1))).min(SIZE_MAX);
            let parts = Parts::plan(size, None).unwrap();
            prop_assert!((PART_MIN..=PART_MAX).contains(&parts.part_size));
            prop_assert_eq!(parts.part_size % MIB, 0);
            prop_assert!(parts.count <= 2_000 || parts.part_size == PART_MAX);
            check(parts)?;
        }

        #[test]
        fn a_given_part_size_is_kept_or_refused_with_one_that_works(
            size in 0..=SIZE_MAX, part_size in PART_MIN..=PART_MAX
        ) {
            match Parts::plan(size, Some(part_size)) {
                Ok(parts) => {
                    prop_assert_eq!(parts.part_size, part_size);
                    check(parts)?;
                }
                Err(error) => {
                    let hint = error.hint().unwrap();
                    let least = hint.split(' ').nth(1).unwrap();
                    let least = crate::units::parse_part_size(least).unwrap();
                    prop_assert!(Parts::plan(size, Some(least)).is_ok());
                    prop_assert!(least - MIB < part_size.next_multiple_of(MIB) || least - MIB >= part_size);
                    prop_assert!(size.div_ceil(least - MIB) > COUNT_MAX);
                }
            }
        }

        #[test]
        fn a_larger_file_never_gets_smaller_parts(a in 0..=SIZE_MAX, b in 0..=SIZE_MAX) {
            prop_assert!(default_size(a.min(b)) <= default_size(a.max(b)));
        }
    }
}
