//! How long a wait may take on this machine.

use std::env;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

static FACTOR: LazyLock<u32> = LazyLock::new(|| {
    let asked = env::var("CRIU_TEST_SLOW").ok();
    asked.map_or(1, |text| {
        let factor = text.parse().ok().filter(|&factor| factor > 0);
        factor.unwrap_or_else(|| panic!("CRIU_TEST_SLOW is `{text}`, a whole number was expected"))
    })
});

/// A limit that suits an ordinary machine, as many times longer as `CRIU_TEST_SLOW` says.
pub(crate) fn patient(limit: Duration) -> Duration {
    limit * *FACTOR
}

/// The moment at which such a limit ends that begins now.
pub(crate) fn deadline(limit: Duration) -> Instant {
    Instant::now() + patient(limit)
}
