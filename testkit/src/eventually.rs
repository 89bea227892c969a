//! Waiting for a condition, never for a time.

use std::time::{Duration, Instant};

const FIRST_PAUSE: Duration = Duration::from_millis(2);
const PAUSE_MAX: Duration = Duration::from_millis(100);

/// Asks `f` again and again, at growing intervals of at most 100 ms, until it gives a value.
///
/// # Panics
/// When `deadline` has passed, naming `what`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let mut tries = 0;
/// let tries = wopay_testkit::eventually("the third try", std::time::Duration::from_secs(5), async || {
///     tries += 1;
///     (tries == 3).then_some(tries)
/// })
/// .await;
/// assert_eq!(tries, 3);
/// # }
/// ```
#[track_caller]
pub fn eventually<T>(what: &str, deadline: Duration, f: impl AsyncFnMut() -> Option<T>) -> impl Future<Output = T> {
    // `track_caller` does not reach into async functions, so the caller is read before the future starts.
    let caller = std::panic::Location::caller();
    poll(what.to_owned(), deadline, f, caller)
}

async fn poll<T>(
    what: String,
    deadline: Duration,
    mut f: impl AsyncFnMut() -> Option<T>,
    caller: &'static std::panic::Location<'static>,
) -> T {
    let start = Instant::now();
    let mut pause = FIRST_PAUSE;
    loop {
        // A condition that hangs must not outlive the deadline either; one late answer is still taken.
        let left = (deadline + PAUSE_MAX).saturating_sub(start.elapsed());
        match tokio::time::timeout(left, f()).await {
            Ok(Some(value)) => return value,
            Ok(None) if start.elapsed() < deadline => {}
            _ => panic!("waited {deadline:?} in vain for {what} (at {caller})"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}
