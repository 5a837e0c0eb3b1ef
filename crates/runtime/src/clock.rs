//! The only place that reads the clock. Time of day is for people and figures; waiting is done on the monotonic clock.
use maos_engine::Time;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The present.
pub fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

/// A time as the file system has it.
pub(crate) fn of_files(at: Time) -> SystemTime {
    UNIX_EPOCH + Duration::from_micros(u64::try_from(at.0).unwrap_or(0))
}

/// Waits until a time of day, measured once and then on the monotonic clock: a jump of the wall clock does not hurry or delay it.
pub async fn until(at: Time) {
    let left = at.0.saturating_sub(now().0);
    if let Ok(micros @ 1..) = u64::try_from(left) {
        tokio::time::sleep(Duration::from_micros(micros)).await;
    }
}

/// Uniform in `0..=1000`: the dice of the retry rules.
pub fn dice() -> u32 {
    rand::random_range(0..=1000)
}
