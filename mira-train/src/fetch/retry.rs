//! What is tried again, how often, and after how long.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use super::client::Client;
use super::{Error, Progress};

/// The longest pause of one's own.
const MAX_PAUSE: Duration = Duration::from_secs(30);

/// The longest pause that a server gets by `Retry-After`.
const MAX_WAIT: Duration = Duration::from_mins(5);

/// How an attempt ends that did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// A repetition does not help.
    Fatal(Error),
    /// A repetition may help.
    Transient {
        /// What happened.
        problem: String,
        /// What the server asks for.
        wait: Option<Duration>,
    },
}

impl Fault {
    pub(super) fn transient(problem: impl Into<String>) -> Self {
        Self::Transient { problem: problem.into(), wait: None }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Fatal(error)
    }
}

/// Repeats `attempt` until it succeeds, up to the client's number of retries in a row.
///
/// `attempt` sets its argument to `true` where there was so much progress that earlier failures no longer count. Pauses grow by 2 from the client's backoff to 30 s, with a random part so that many clients do not come back at once.
pub(super) fn retry<T>(
    client: &Client,
    what: &str,
    progress: &Progress,
    mut attempt: impl FnMut(&mut bool) -> Result<T, Fault>,
) -> Result<T, Error> {
    let mut num_failures = 0;
    loop {
        if client.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let mut progressed = false;
        let (problem, wait) = match attempt(&mut progressed) {
            Ok(value) => return Ok(value),
            // What fails because connections are being closed is not a failure.
            Err(_) if client.is_cancelled() => return Err(Error::Cancelled),
            Err(Fault::Fatal(error)) => return Err(error),
            Err(Fault::Transient { problem, wait }) => (problem, wait),
        };
        num_failures = if progressed { 1 } else { num_failures + 1 };
        let limit = client.options().num_retries;
        if num_failures > limit {
            return Err(Error::GaveUp { what: what.into(), problem, num_failures });
        }
        if let Some(wait) = wait.filter(|wait| *wait > MAX_WAIT) {
            return Err(Error::Wait { what: what.into(), seconds: wait.as_secs() });
        }
        let pause = pause(client.options().backoff, num_failures);
        let pause = wait.unwrap_or_default().max(pause);
        progress.say(&format!(
            "{what}: {problem}; trying again in {:.1} s ({num_failures} of {limit})",
            pause.as_secs_f64()
        ));
        client.wait(pause);
    }
}

/// Half of it is certain, half is random.
fn pause(backoff: Duration, num_failures: u32) -> Duration {
    let doubled = backoff.saturating_mul(1 << (num_failures - 1).min(16)).min(MAX_PAUSE);
    // Hashers are keyed at random.
    let random = RandomState::new().hash_one(num_failures) as f64 / u64::MAX as f64;
    doubled.mul_f64(0.5 + 0.5 * random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_bounded() {
        let second = Duration::from_secs(1);
        for (num_failures, most) in [(1, 1), (2, 2), (4, 8), (6, 30), (u32::MAX, 30)] {
            let most = second * most;
            let pauses: Vec<_> = (0..50).map(|_| pause(second, num_failures)).collect();
            assert!(pauses.iter().all(|p| *p >= most / 2 && *p <= most), "{pauses:?}");
            assert!(pauses.iter().any(|p| *p != pauses[0]), "{pauses:?}");
        }
        assert_eq!(pause(Duration::ZERO, 3), Duration::ZERO);
    }
}
