//! Names to addresses, by the system's resolver.
//!
//! A lookup is a blocking call on another thread that nothing can cancel. So its permits go with it rather than
//! with the attempt that asked: attempts that give up do not pile up threads behind a dead name server. And a
//! lane has two lookups at most, so that one dead name leaves the others theirs.
//!
//! Many dead names could still hold all permits. So a lane whose last lookup failed, or did not answer while an
//! attempt waited, is *in doubt* until one succeeds, and lanes in doubt have half of the permits together: the other
//! half is for lanes whose last lookup succeeded, and for those that were never looked up.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::{TcpSocket, lookup_host},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use super::failure;

/// Lookups under way at once.
const LOOKUPS: usize = 32;
/// Of these, for lanes in doubt.
const DOUBTFUL_LOOKUPS: usize = LOOKUPS / 2;
/// Of all, for one lane.
const LOOKUPS_PER_LANE: usize = 2;
/// Of a name's addresses, how many are looked at.
const ADDRESSES: usize = 8;

/// What is asked for a name's addresses, at a port.
type Lookup = dyn Fn(Arc<str>, u16) -> Answer + Send + Sync;
/// Its answer.
pub(super) type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The box's lookups.
pub(super) struct Resolver {
    lookup: Box<Lookup>,
    lookups: Arc<Semaphore>,
    doubtful: Arc<Semaphore>,
}

/// A lane's share of them.
pub(super) struct Share {
    lookups: Arc<Semaphore>,
    in_doubt: AtomicBool,
}

/// What a lookup holds as long as it lasts: the lane's, the box's, and for a lane in doubt that of such lanes.
type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit, Option<OwnedSemaphorePermit>);

impl Resolver {
    /// The system's.
    pub(super) fn new() -> Self {
        Self::with_lookup(|name, port| Box::pin(system(name, port)))
    }

    /// One that asks `lookup`.
    pub(super) fn with_lookup(lookup: impl Fn(Arc<str>, u16) -> Answer + Send + Sync + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            lookups: Arc::new(Semaphore::new(LOOKUPS)),
            doubtful: Arc::new(Semaphore::new(DOUBTFUL_LOOKUPS)),
        }
    }

    pub(super) fn share() -> Share {
        Share { lookups: Arc::new(Semaphore::new(LOOKUPS_PER_LANE)), in_doubt: AtomicBool::new(false) }
    }

    /// The addresses of `name`, in the order to try them; never empty, bounded. Waits for its turn. An error with a
    /// number of the system's may be what the box itself lacks.
    pub(super) async fn resolve(
        &self,
        share: &Share,
        name: Arc<str>,
        port: u16,
    ) -> io::Result<Vec<SocketAddr>> {
        let permits = self.permits(share).await;
        // From here on it is the name's doing if the attempt's time runs out; before, it was the others'.
        let asked = Asked { share, succeeded: false };
        let answer = (self.lookup)(name, port);
        let lookup = tokio::spawn(async move {
            let _permits = permits;
            answer.await
        });
        let addresses = lookup.await.map_err(io::Error::other)??;
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        }
        asked.succeeded();
        Ok(addresses)
    }

    async fn permits(&self, share: &Share) -> Permits {
        let lane = acquire(&share.lookups).await;
        loop {
            let doubtful = if share.is_in_doubt() { Some(acquire(&self.doubtful).await) } else { None };
            let all = acquire(&self.lookups).await;
            // Another lookup of the lane may have failed during the wait: then this one has waited in the wrong line.
            if doubtful.is_some() || !share.is_in_doubt() {
                return (lane, all, doubtful);
            }
        }
    }
}

async fn acquire(permits: &Arc<Semaphore>) -> OwnedSemaphorePermit {
    Arc::clone(permits).acquire_owned().await.expect("the semaphore is never closed")
}

impl Share {
    fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Ordering::Relaxed)
    }
}

/// A lookup that an attempt waits for. Dropped before it has succeeded, it puts its lane in doubt.
struct Asked<'a> {
    share: &'a Share,
    succeeded: bool,
}

impl Asked<'_> {
    fn succeeded(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.share.in_doubt.store(!self.succeeded, Ordering::Relaxed);
    }
}

/// Asks the system. Its resolver hides behind an answer of its own that there were no descriptors for asking: where
/// none can be had right after it, that is the error.
async fn system(name: Arc<str>, port: u16) -> io::Result<Vec<SocketAddr>> {
    match lookup_host((&*name, port)).await {
        Ok(found) => Ok(found.take(ADDRESSES).collect()),
        Err(error) => match TcpSocket::new_v4() {
            Err(shortage) if failure::lacking(&shortage).is_some() => Err(shortage),
            _ => Err(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, time::Duration};

    use tokio::{sync::mpsc, task::JoinSet, time::timeout};

    use super::*;

    /// More than any of these takes.
    const AMPLE: Duration = Duration::from_secs(20);

    /// A resolver for which `dead…` hangs until it is let go, `unknown…` fails, and other names are found at once;
    /// with the names that were asked for.
    fn resolver() -> (Arc<Resolver>, mpsc::UnboundedReceiver<Arc<str>>, Arc<Semaphore>) {
        let (asked, names) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let opened = Arc::clone(&gate);
        let asked = Mutex::new(asked);
        let resolver = Resolver::with_lookup(move |name, port| {
            // The test may have ended.
            let _ = asked.lock().expect("no panic under it").send(Arc::clone(&name));
            let gate = Arc::clone(&opened);
            Box::pin(async move {
                if name.starts_with("dead") {
                    gate.acquire().await.expect("never closed").forget();
                }
                if name.starts_with("unknown") {
                    return Err(io::Error::from(io::ErrorKind::NotFound));
                }
                Ok(vec![SocketAddr::from(([127, 0, 0, 1], port))])
            })
        });
        (Arc::new(resolver), names, gate)
    }

    struct Lane {
        name: Arc<str>,
        share: Arc<Share>,
    }

    impl Lane {
        fn new(name: &str) -> Self {
            Self { name: name.into(), share: Arc::new(Resolver::share()) }
        }

        /// An attempt's lookup on a task, which can be aborted.
        fn ask(&self, resolver: &Arc<Resolver>, tasks: &mut JoinSet<io::Result<Vec<SocketAddr>>>) {
            let (resolver, share, name) =
                (Arc::clone(resolver), Arc::clone(&self.share), Arc::clone(&self.name));
            tasks.spawn(async move { resolver.resolve(&share, name, 80).await });
        }

        async fn resolve(&self, resolver: &Resolver) -> io::Result<Vec<SocketAddr>> {
            let lookup = resolver.resolve(&self.share, Arc::clone(&self.name), 80);
            timeout(AMPLE, lookup).await.expect("it has its turn")
        }
    }

    #[tokio::test]
    async fn dead_names_leave_half_of_the_lookups_to_the_living() {
        let (resolver, mut asked, gate) = resolver();
        let dead: Vec<_> = (0..40).map(|number| Lane::new(&format!("dead{number}"))).collect();
        // Each is asked once, in vain: the attempt gives up, and the lookup comes to its end later.
        for lane in &dead {
            let mut attempt = JoinSet::new();
            lane.ask(&resolver, &mut attempt);
            asked.recv().await.expect("it is asked");
            attempt.shutdown().await;
            gate.add_permits(1);
        }
        while resolver.lookups.available_permits() < LOOKUPS {
            tokio::task::yield_now().await;
        }
        assert!(dead.iter().all(|lane| lane.share.is_in_doubt()), "late is not well");
        // Asked again, as often as they may be.
        let mut attempts = JoinSet::new();
        for lane in dead.iter().chain(&dead) {
            lane.ask(&resolver, &mut attempts);
        }
        for _ in 0..DOUBTFUL_LOOKUPS {
            asked.recv().await.expect("it is asked");
        }
        let living = Lane::new("living");
        for _ in 0..100 {
            living.resolve(&resolver).await.expect("an address");
            assert_eq!(asked.recv().await.as_deref(), Some("living"), "no further dead one is asked");
        }
        assert_eq!(resolver.lookups.available_permits(), LOOKUPS - DOUBTFUL_LOOKUPS);
        // The attempts give up; their lookups hang on, and hold their permits.
        attempts.shutdown().await;
        assert_eq!(resolver.lookups.available_permits(), LOOKUPS - DOUBTFUL_LOOKUPS);
        living.resolve(&resolver).await.expect("an address");
        gate.add_permits(DOUBTFUL_LOOKUPS);
        while resolver.lookups.available_permits() < LOOKUPS {
            tokio::task::yield_now().await;
        }
        assert_eq!(resolver.doubtful.available_permits(), DOUBTFUL_LOOKUPS);
    }

    #[tokio::test]
    async fn the_last_answer_says_whether_a_lane_is_in_doubt() {
        let (resolver, _asked, _gate) = resolver();
        let mut lane = Lane::new("living");
        assert!(!lane.share.is_in_doubt(), "never looked up");
        for (name, in_doubt) in [("living", false), ("unknown", true), ("unknown", true), ("living", false)] {
            lane.name = name.into();
            assert_eq!(lane.resolve(&resolver).await.is_err(), in_doubt, "{name}");
            assert_eq!(lane.share.is_in_doubt(), in_doubt, "{name}");
        }
    }

    #[tokio::test]
    async fn who_waits_for_a_turn_in_vain_is_not_put_in_doubt() {
        let (resolver, mut asked, gate) = resolver();
        let mut attempts = JoinSet::new();
        for number in 0..LOOKUPS {
            Lane::new(&format!("dead{number}")).ask(&resolver, &mut attempts);
            asked.recv().await.expect("it is asked");
        }
        let living = Lane::new("living");
        let waits = resolver.resolve(&living.share, "living".into(), 80);
        assert!(timeout(Duration::from_millis(1), waits).await.is_err(), "all lookups are taken");
        assert!(!living.share.is_in_doubt());
        gate.add_permits(1);
        living.resolve(&resolver).await.expect("an address");
    }

    #[tokio::test]
    async fn a_lane_that_fails_while_its_next_waits_goes_to_the_other_line() {
        let (resolver, mut asked, gate) = resolver();
        let mut attempts = JoinSet::new();
        for number in 0..LOOKUPS {
            Lane::new(&format!("dead{number}")).ask(&resolver, &mut attempts);
            asked.recv().await.expect("it is asked");
        }
        let lane = Lane::new("unknown");
        let mut taken = Vec::new();
        for _ in 0..DOUBTFUL_LOOKUPS {
            taken.push(acquire(&resolver.doubtful).await);
        }
        let mut waiting = JoinSet::new();
        lane.ask(&resolver, &mut waiting);
        while lane.share.lookups.available_permits() == LOOKUPS_PER_LANE {
            tokio::task::yield_now().await;
        }
        lane.share.in_doubt.store(true, Ordering::Relaxed);
        // One place comes free: it takes none, for those of lanes in doubt are taken.
        gate.add_permits(1);
        while resolver.lookups.available_permits() == 0 {
            tokio::task::yield_now().await;
        }
        Lane::new("living").resolve(&resolver).await.expect("an address");
        assert_eq!(asked.recv().await.as_deref(), Some("living"));
        drop(taken);
        assert!(waiting.join_next().await.expect("it runs").expect("no panic").is_err());
        assert_eq!(asked.recv().await.as_deref(), Some("unknown"));
    }
}
