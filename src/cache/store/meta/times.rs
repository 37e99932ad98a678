//! Times and spans in few bytes.

use std::num::NonZeroI64;
use std::time::{Duration, SystemTime};

/// A moment to the nanosecond, from 1677 to 2262; what lies outside is one of the two ends. The first
/// moment of 1970 is the one after it, so that none at all takes no more room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(NonZeroI64);

impl Moment {
    pub(super) fn of(time: SystemTime) -> Moment {
        let nanos = |span: Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        let since = match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => nanos(after),
            Err(before) => -nanos(before.duration()),
        };
        Moment(
            NonZeroI64::new(since)
                .or(NonZeroI64::new(1))
                .unwrap_or(NonZeroI64::MAX),
        )
    }

    pub(super) fn time(self) -> SystemTime {
        let span = Duration::from_nanos(self.0.unsigned_abs().get());
        let time = match self.0.is_negative() {
            true => SystemTime::UNIX_EPOCH.checked_sub(span),
            false => SystemTime::UNIX_EPOCH.checked_add(span),
        };
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// A span: whole milliseconds below 24 days, whole seconds (68 years at most) above.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(u32);

/// Marks seconds.
const SECONDS: u32 = 1 << 31;

impl Span {
    pub(super) fn of(span: Duration) -> Span {
        match u32::try_from(span.as_millis()) {
            Ok(millis) if millis < SECONDS => Span(millis),
            _ => {
                let seconds = u32::try_from(span.as_secs()).unwrap_or(u32::MAX);
                Span(SECONDS | seconds.min(SECONDS - 1))
            }
        }
    }

    pub(super) fn duration(self) -> Duration {
        match self.0 & SECONDS {
            0 => Duration::from_millis(self.0.into()),
            _ => Duration::from_secs((self.0 & !SECONDS).into()),
        }
    }

    /// As `CacheMeta` has it.
    pub(super) fn seconds(self) -> u32 {
        u32::try_from(self.duration().as_secs()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_exact_to_the_nanosecond_on_both_sides_of_1970() {
        let span = Duration::new(1_793_000_000, 123_456_789);
        for time in [
            SystemTime::UNIX_EPOCH + Duration::from_nanos(1),
            SystemTime::UNIX_EPOCH + span,
            SystemTime::UNIX_EPOCH - span,
        ] {
            assert_eq!(Moment::of(time).time(), time);
        }
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(Moment::of(far).time() > SystemTime::UNIX_EPOCH + 4 * span);
    }

    #[test]
    fn spans_are_exact_to_the_millisecond_for_days_and_to_the_second_for_decades() {
        let day = 24 * 60 * 60;
        for span in [
            Duration::ZERO,
            Duration::from_millis(1),
            Duration::from_millis(24 * 1000 * day + 1),
            Duration::from_secs(25 * day),
            Duration::from_secs((1 << 31) - 1),
        ] {
            assert_eq!(Span::of(span).duration(), span);
        }
        assert_eq!(Span::of(Duration::MAX).seconds(), (1 << 31) - 1);
        assert_eq!(Span::of(Duration::from_millis(1999)).seconds(), 1);
    }
}
