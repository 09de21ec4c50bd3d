//! Time for a start or a stop that takes long, for as long as it comes further.

use std::{convert::Infallible, future, time::Duration};

use tokio::time::sleep;

use super::Notifier;

/// How long the manager waits after the last sign of work: longer than a worn card's sync may stand still.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// From look to look at whether there was work.
const LOOK: Duration = Duration::from_secs(2);

/// Has the manager wait on for as long as `work`, a count, moves; work that stands still gets no more time.
pub async fn ask_for_patience(notifier: &Notifier, work: impl Fn() -> u64) -> Infallible {
    if !notifier.is_heard() {
        return future::pending().await;
    }
    let mut before = work();
    loop {
        sleep(LOOK).await;
        before = look(notifier, before, work());
    }
}

/// Asks for more time if the count is not what it was, and says what it is.
fn look(notifier: &Notifier, before: u64, now: u64) -> u64 {
    if now != before {
        notifier.extend(PATIENCE);
    }
    now
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn work_that_stands_still_gets_no_more_time() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::to(path.as_os_str()).expect("a notifier");
        let last = [0, 5, 5, 5, 9].into_iter().fold(0, |before, now| look(&notifier, before, now));
        assert_eq!(last, 9);
        notifier.ready("at work");
        let mut buffer = [0; 256];
        for expected in
            ["EXTEND_TIMEOUT_USEC=120000000", "EXTEND_TIMEOUT_USEC=120000000", "READY=1\nSTATUS=at work"]
        {
            let length = socket.recv(&mut buffer).expect("a message");
            assert_eq!(std::str::from_utf8(&buffer[..length]), Ok(expected));
        }
    }
}
