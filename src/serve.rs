//! The daemon: puts the parts together, waits for the word to stop, and takes them apart in order.
//!
//! Start: configuration, what a service manager passes, socket (open at once: who connects waits), endpoints, store (repaired if need be), engine,
//! spool directories; events are accepted from then on, while the backlog is still being read. That is said when each
//! spool directory has been looked at once, or has not answered within 5 s. What can be wrong
//! without the store is looked at before it is opened, and a start that fails afterwards closes it.
//!
//! Stop: intake closes and no attempt starts any more; what is in flight gets [`DRAIN`], a producer in the middle of
//! something 5 s, and so does a look at a spool directory; then the writer writes what has queued, and the store is
//! closed. A second signal skips the waiting. After an error of the store, or when a part has ended that should not, the daemon ends in the same order,
//! and says so.
//!
//! A service manager is told of all this ([`systemd`]): that the start is over, that a reload goes on, that the daemon stops and comes
//! further with it, how it stands (`told`), and that each part is at work (`alive`).

mod alive;
mod told;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    net::TcpListener,
    panic::resume_unwind,
    path::Path,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, oneshot, watch},
    task::{JoinError, JoinHandle, JoinSet},
    time::timeout,
};

use self::told::Teller;
use crate::{
    api::{
        self, App, Open, Service,
        tcp::{self, Listener},
    },
    clock::{Chance, Clock},
    config::{self, Config, ConfigErrors, DEFAULT_DIRECTORY, Http, Origin},
    delivery::tls::RootsError,
    engine::{
        self, Engine, Stop,
        directory::Directory,
        endpoints::{
            self, Endpoints,
            adopt::{client, course},
        },
        first_cause,
        reload::{self, Reloader},
        retention::Forgetter,
        settings::Workshop,
    },
    ingest::{
        access::Entrance,
        catalogs::Catalogs,
        door::Door,
        intake::{Course, Intake},
        keyring::Keyring,
        probe::{Probes, probes},
        socket::{BindError, Doors, Socket},
        spool::{self, Claims, Spool, SpoolHandle},
    },
    logging::{self, Kind},
    metrics::Metrics,
    model::endpoint::{Endpoint, EndpointNumber},
    outbox::{self, End, Motion, Notice, OpenError, Outbox, StoreError, Writer},
    rlimit,
    signals::{Asked, Incoming},
    systemd::{self, Notifier, Passed, PassedError},
    threads::{Booths, Threads},
};

/// How long attempts in flight may take when the daemon stops.
pub const DRAIN: Duration = Duration::from_secs(30);
/// How long producers in the middle of something, and looks at spool directories, may take then; what stands still must not
/// hold up a restart.
const HANG_UP: Duration = Duration::from_secs(5);
/// How long the start waits for the first look at the spool directories; a network file system that hangs must not hold it up.
const FIRST_LOOK: Duration = Duration::from_secs(5);
/// How long the stop may take until the store is being closed, and the manager is asked for more time by what is done then.
const STOP: Duration = DRAIN.saturating_add(systemd::PATIENCE);
/// How long lookups that cannot be called off may keep the process.
const ABANDON: Duration = Duration::from_millis(200);

/// The daemon could not start, or ended for an error.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// The service manager passes what cannot be served.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The socket cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Nor the address for the API over TCP.
    #[error(transparent)]
    Listen(#[from] tcp::BindError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store failed while the daemon ran.
    #[error("the store failed; start posthaste again when its disk is well")]
    Store(#[from] StoreError),
    /// A part of the daemon ended by itself: a bug.
    #[error(
        "{0} ended, which must not happen; start posthaste again, and report this with what the log says"
    )]
    Part(&'static str),
    /// The trusted certificates cannot be read.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The system gives no threads, signals or random numbers.
    #[error("the system gives no {what}")]
    System {
        /// What.
        what: &'static str,
        /// The system's word.
        #[source]
        source: io::Error,
    },
}

/// Runs the daemon with this configuration until it is told to stop.
///
/// # Errors
/// It could not start, or the store failed.
pub fn run(origin: &Origin) -> Result<(), ServeError> {
    // Before there are threads; what is wrong with it is a line of the log like others.
    let passed = Passed::from_env();
    let clock = Clock::start();
    logging::start(clock).map_err(|source| ServeError::System { what: "threads", source })?;
    let config = origin.load()?;
    let passed = passed?;
    passed.check_http(
        config.listen.http.is_some(),
        config.listen.http.as_ref().is_some_and(|http| http.identity.is_some()),
    )?;
    let notifier = Notifier::from_env().unwrap_or_else(|error| {
        tracing::warn!(kind = Kind::ManagerUntold.word(), %error, "the service manager cannot be told anything by $NOTIFY_SOCKET");
        Notifier::default()
    });
    match rlimit::raise_open_files() {
        Ok(limit) => tracing::debug!(limit, "open files"),
        Err(error) => {
            tracing::warn!(kind = Kind::OpenFiles.word(), %error, "the limit of open files cannot be raised");
        }
    }
    let (signals, asked) =
        Incoming::start().map_err(|source| ServeError::System { what: "signals", source })?;
    let threads = Threads::start().map_err(|source| ServeError::System { what: "threads", source })?;
    if let Origin::Defaults(directory) = origin {
        print_hints(&config, directory);
    }
    let manager = Manager { passed, notifier };
    let (listening, places) = (signals.listening(), (threads.doors(), threads.booths()));
    let daemon = daemon((config, origin.clone()), clock, asked, places, manager);
    let until_it_ends = async move {
        let _listening = listening;
        daemon.await
    };
    let result = threads.run(until_it_ends, || signals.forward()).unwrap_or_else(|panic| {
        // The last word, too: its thread did not wait until it was written.
        logging::flush();
        resume_unwind(panic)
    });
    threads.stop(ABANDON);
    if result.is_ok() {
        // An error is the last word, which waits for all that was said before it.
        logging::flush();
    }
    result
}

/// What somebody wants to know who has just started it for the first time.
fn print_hints(config: &Config, directory: &Path) {
    let (socket, store) = (config.listen.socket.display(), config.store.path.display());
    let mut text = format!(
        "posthaste runs without a configuration file, in {}:\n  socket  {socket}\n  store   {store}\n",
        directory.display()
    );
    for spool in &config.spools {
        writeln!(text, "  spool   {}", spool.path.display()).expect("a String takes all");
    }
    // The commands look in the default directory by themselves.
    let found = directory == Path::new(DEFAULT_DIRECTORY);
    let named = if found { String::new() } else { format!(" --socket {socket}") };
    write!(
        text,
        "No endpoint is configured: until one is made, events are kept, and delivered to nobody. Try, in another terminal:\n  \
         posthaste emit hello.world '{{\"n\":1}}'{named}\n  \
         posthaste event list{named}\n\
         then make an endpoint with `posthaste endpoint add{named} URL --type '*'`, or write a posthaste.toml with an\n\
         [[endpoint]], and start with --config posthaste.toml\n"
    )
    .expect("a String takes all");
    // Addressed to the person at the terminal, not to the log; if nobody is there, nobody misses it.
    let _ = io::stdout().write_all(text.as_bytes());
}

/// The service manager, if there is one.
struct Manager {
    passed: Passed,
    notifier: Notifier,
}

/// The ends of the channels through which the doors learn of the state.
struct Shared {
    open: watch::Sender<Option<Open>>,
    intake: watch::Sender<Option<Intake>>,
    repair: watch::Sender<Option<f64>>,
    motion: Motion,
    notifier: Notifier,
    started: watch::Sender<bool>,
    stopping: watch::Sender<bool>,
}

impl Shared {
    /// Does the work of the start or the stop, for which the manager waits as long as the store's file is worked on.
    async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            never = systemd::ask_for_patience(&self.notifier, || self.motion.count()) => match never {},
        }
    }
}

/// The parts that run.
struct Parts {
    engine: JoinHandle<Result<(), StoreError>>,
    /// Tells the engine to stop.
    stop: watch::Sender<Stop>,
    /// The spool directories, the watchman of the door, and what forgets.
    intakes: JoinSet<()>,
    spools: Vec<SpoolHandle>,
    writer: Writer,
    clock: Clock,
    teller: Teller,
    asked: engine::Handle,
    /// What tells the service manager.
    telling: JoinSet<()>,
}

impl Parts {
    /// Tells the service manager that the start is over, and from then on how things are.
    fn tell(&mut self, loops: alive::Loops, notifier: &Notifier) {
        if !notifier.is_heard() {
            return;
        }
        // Nothing is read for it: the line that says more follows.
        notifier.ready("accepting events");
        self.telling.spawn(self.teller.clone().tell());
        if let Some(period) = systemd::period() {
            let parts = loops.parts(self.teller.outbox.clone(), self.asked.clone());
            let notifier = notifier.clone();
            self.telling.spawn(async move { match systemd::watch(period, &parts, &notifier).await {} });
        }
    }
}

async fn daemon(
    (config, origin): (Config, Origin),
    clock: Clock,
    asked: Asked,
    (doors, booths): (Handle, Booths),
    Manager { passed, notifier }: Manager,
) -> Result<(), ServeError> {
    let Asked { stop: mut signal, reload } = asked;
    let metrics = Metrics::default();
    let socket = {
        // That thread hears of who connects.
        let _doors = doors.enter();
        match passed.socket {
            Some(socket) => Socket::take(socket, &config.listen.socket)?,
            None => Socket::bind(&config.listen.socket, config.listen.socket_mode)?,
        }
    };
    let http = config.listen.http.as_ref();
    let listener = http.map(|http| listen(http, &config.limits, passed.http)).transpose()?;
    tracing::info!(kind = Kind::Listening.word(), socket = %config.listen.socket.display(), "listening");
    let workshop = reach(&config, clock).await?;
    let shared = Shared {
        open: watch::Sender::new(None),
        intake: watch::Sender::new(None),
        repair: watch::Sender::new(None),
        motion: Motion::default(),
        notifier,
        started: watch::Sender::new(false),
        stopping: watch::Sender::new(false),
    };
    let entrance = Entrance::new(&config.access, config.limits.connections_per_uid, clock);
    let service = service(&shared, clock, metrics.clone());
    let (asks, asked) = probes();
    let mut loops = alive::Loops { socket: asks, tcp: None };
    let served = serve_socket((socket, entrance.clone(), asked), &shared, service.clone(), booths);
    let mut doors = vec![doors.spawn(served)];
    // Beside that thread: nobody's handshake is to hold up a producer.
    if let Some(listener) = listener {
        let (asks, asked) = probes();
        doors.push(tokio::spawn(listener.serve(service, asked, shared.stopping.subscribe())));
        loops.tcp = Some(asks);
    }
    let starting = async {
        let opened = tokio::select! {
            opened = open_store(&config, &shared) => opened?,
            _ = signal.wait_for(|stop| *stop != Stop::Run) => return Ok(None),
        };
        let around = (clock, metrics);
        start((config, origin), workshop, opened, &shared, around, (entrance, reload)).await.map(Some)
    };
    let mut parts = match shared.patiently(starting).await {
        Ok(Some(parts)) => parts,
        Ok(None) => {
            shared.notifier.stopping("stopping while the store is being opened", systemd::PATIENCE);
            tracing::info!(kind = Kind::Stopped.word(), "stopped while the store was being opened");
            return Ok(());
        }
        Err(error) => {
            shared.stopping.send_replace(true);
            doors.iter().for_each(JoinHandle::abort);
            return Err(error);
        }
    };
    tokio::select! {
        () = spool::first_looks(&parts.spools, FIRST_LOOK) => {
            shared.started.send_replace(true);
            tracing::info!(kind = Kind::Accepting.word(), "accepting events");
            parts.tell(loops, &shared.notifier);
        }
        _ = signal.wait_for(|stop| *stop != Stop::Run) => {}
    }
    run_until_stopped(parts, doors, shared, signal).await
}

/// Binds the address for the API over TCP.
fn listen(
    http: &Http,
    limits: &config::Limits,
    passed: Option<TcpListener>,
) -> Result<Listener, tcp::BindError> {
    if let Some(path) = &http.open_key {
        tracing::warn!(
            kind = Kind::OpenKey.word(),
            "everybody on this machine may read the key of the API's certificate, {}: `chmod o-r` it",
            path.display()
        );
    }
    let options = tcp::Options {
        address: http.address,
        identity: http.identity.clone(),
        names: http.names.clone(),
        per_address: limits.connections_per_address,
    };
    let listener = match passed {
        Some(passed) => Listener::take(passed, options)?,
        None => Listener::bind(options)?,
    };
    if listener.address() != http.address && http.address.port() != 0 {
        tracing::warn!(
            kind = Kind::PassedElsewhere.word(),
            "the API is served on {}, as the service manager passes it, and not on {} as [listen] http says",
            listener.address(),
            http.address
        );
    }
    let tls = http.identity.is_some();
    tracing::info!(kind = Kind::Listening.word(), http = %listener.address(), tls, "listening");
    Ok(listener)
}

/// The API, which finds the parts as they come to be.
fn service(shared: &Shared, clock: Clock, metrics: Metrics) -> Service {
    Service::new(App {
        clock,
        metrics,
        open: shared.open.subscribe(),
        repair: shared.repair.subscribe(),
        started: shared.started.subscribe(),
        stopping: shared.stopping.subscribe(),
        backups: api::Backups::default(),
    })
}

fn serve_socket(
    (socket, entrance, probes): (Socket, Entrance, Probes),
    shared: &Shared,
    service: Service,
    booths: Booths,
) -> impl Future<Output = ()> + Send + 'static {
    let stopping = shared.stopping.subscribe();
    let http = {
        let stopping = stopping.clone();
        move |connection, guest| service.clone().serve(connection, guest, stopping.clone())
    };
    socket.serve(entrance, Doors { intake: shared.intake.subscribe(), http, booths }, probes, stopping)
}

async fn open_store(config: &Config, shared: &Shared) -> Result<outbox::Opened, ServeError> {
    let store = &config.store;
    let options = outbox::Options {
        cache: usize::try_from(store.cache).unwrap_or(usize::MAX),
        quick_repair: store.quick_repair,
        settle_delay: store.settle_delay,
        dedup_window: store.dedup_window,
        dedup_entries: store.dedup_entries,
        pending_per_endpoint: config.limits.pending_per_endpoint,
        max_size: store.max_size,
        reserve: store.reserve,
        in_flight: config.limits.in_flight,
    };
    let source = |error: getrandom::Error| io::Error::other(error.to_string());
    let id_key = Chance
        .bytes()
        .map_err(|error| ServeError::System { what: "random numbers", source: source(error) })?;
    let (path, repair, motion) = (store.path.clone(), shared.repair.clone(), shared.motion.clone());
    let notifier = shared.notifier.clone();
    notifier.status("opening the store");
    let open = move || {
        Outbox::open(&path, &options, id_key, &motion, move |done| {
            let line = format!("the store was not closed and is being repaired: {:.0} %", done * 100.0);
            tracing::info!(kind = Kind::StoreRepair.word(), "{line}");
            notifier.status(&line);
            repair.send_replace(Some(done));
        })
    };
    let (sender, receiver) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        // Told to stop in the meantime: nobody takes it any more.
        if let Err(Ok(opened)) = sender.send(open()) {
            let _ = abandon(opened);
        }
    });
    let opened = receiver.await.map_err(|_| StoreError::Stopped)??;
    shared.repair.send_replace(None);
    if opened.unclean {
        tracing::warn!(
            kind = Kind::UncleanStart.word(),
            "the daemon before did not come to its end: attempts that it had begun may be repeated"
        );
    }
    Ok(opened)
}

/// Closes a store that nothing was attempted with. What the daemon before left open is still so: its attempts that
/// may be made twice are the next one's to mark.
fn abandon(opened: outbox::Opened) -> Result<(), StoreError> {
    let end = if opened.unclean { End::CutOff } else { End::Clean };
    drop(opened.outbox);
    opened.writer.close(end)
}

/// What it takes to reach the endpoints; everything about them that can be wrong is found here.
async fn reach(config: &Config, clock: Clock) -> Result<Workshop, ServeError> {
    let own = config.clone();
    let client = tokio::task::spawn_blocking(move || client(&own, clock)).await.map_err(panicked)??;
    Ok(Workshop::new(config, &client, BTreeMap::new(), None)?)
}

async fn start(
    (config, origin): (Config, Origin),
    workshop: Workshop,
    mut opened: outbox::Opened,
    shared: &Shared,
    (clock, metrics): (Clock, Metrics),
    (entrance, hangup): (Entrance, Arc<Notify>),
) -> Result<Parts, ServeError> {
    let outbox = opened.outbox.clone();
    clock.resume(opened.clocks.mark, opened.clocks.seen);
    // With the commit that follows.
    outbox.mark(clock.mark(), false);
    let configured = configure(&outbox, workshop, clock).await;
    let (workshop, stored, keys) =
        match configured.and_then(|(workshop, stored)| Ok((workshop, stored, outbox.read()?.keys()?))) {
            Ok(all) => all,
            Err(error) => {
                let error = first_cause(error, &mut opened.notices);
                drop(outbox);
                // It has failed already.
                let _ = tokio::task::spawn_blocking(move || abandon(opened)).await;
                return Err(error.into());
            }
        };
    // Nothing fails from here on: the store would have to be closed.
    let workshop = Arc::new(workshop);
    let directory = Arc::new(Directory::new(stored, Arc::clone(&workshop), outbox.id_key()));
    warn_disabled(&directory);
    warn_unsigned(&directory);
    let course = Course {
        routes: Arc::new(directory.routes()),
        ..course(&workshop, config.limits, &Catalogs::default())
    };
    let intake = Intake::new(outbox.clone(), course, clock, Chance, metrics.clone());
    let timing = (clock, config.network.require_clock);
    let engine = Engine::new(&opened, Arc::clone(&directory), &config.limits, timing, Chance, metrics);
    let door = Door::new(outbox.room().clone(), clock);
    let forgetter = Forgetter::new(outbox.clone(), clock, workshop.retention());
    let mut intakes = JoinSet::new();
    intakes.spawn(forgetter.clone().run(shared.stopping.subscribe()));
    intakes.spawn(door.clone().watch(shared.stopping.subscribe()));
    let (mut handles, claims) = (Vec::new(), Claims::default());
    for directory in &config.spools {
        let (spool, handle) = Spool::new(directory, intake.clone(), claims.clone(), clock);
        handles.push(handle);
        intakes.spawn(spool.run(shared.stopping.subscribe()));
    }
    let endpoints = Endpoints::new(endpoints::Parts {
        outbox: outbox.clone(),
        directory: Arc::clone(&directory),
        intake: intake.clone(),
        engine: engine.handle(),
        forgetter: forgetter.clone(),
        clock,
        chance: Chance,
        runtime: Handle::current(),
    });
    let reloader = Reloader::new(
        config.clone(),
        reload::Parts {
            origin,
            endpoints: endpoints.clone(),
            entrance,
            clock,
            runtime: Handle::current(),
            notifier: shared.notifier.clone(),
        },
    );
    let teller = Teller {
        outbox: outbox.clone(),
        directory: Arc::clone(&directory),
        reloader: reloader.clone(),
        clock,
        notifier: shared.notifier.clone(),
    };
    let asked = engine.handle();
    intakes.spawn(reloader.clone().follow(hangup, shared.stopping.subscribe()));
    shared.open.send_replace(Some(Open {
        intake: intake.clone(),
        door,
        keys: Keyring::new(outbox.clone(), keys, clock, Chance),
        outbox,
        directory,
        endpoints,
        engine: engine.handle(),
        spools: handles.clone(),
        forgetter,
        store_path: config.store.path.clone(),
        reloader,
        unclean: opened.unclean,
        readers: api::Readers::default(),
    }));
    shared.intake.send_replace(Some(intake));
    let stop = watch::Sender::new(Stop::Run);
    let notices = std::mem::replace(&mut opened.notices, no_notices());
    let engine = tokio::spawn(engine.run(notices, stop.subscribe()));
    Ok(Parts {
        engine,
        stop,
        intakes,
        spools: handles,
        writer: opened.writer,
        clock,
        teller,
        asked,
        telling: JoinSet::new(),
    })
}

/// Makes the store agree with the configuration, and takes in the accounts that it has besides.
async fn configure(
    outbox: &Outbox,
    workshop: Workshop,
    clock: Clock,
) -> Result<(Workshop, Vec<(EndpointNumber, Endpoint)>), StoreError> {
    let (tenants, endpoints) = {
        let reader = outbox.read()?;
        (reader.accounts()?, reader.endpoints()?)
    };
    let tenants = tenants.into_iter().map(|(name, tenant)| (name, Arc::new(tenant))).collect();
    let workshop = workshop.with_tenants(tenants);
    let judged = workshop.judge(&endpoints);
    let stored = outbox.configure(workshop.wanted(), judged, clock.wall()).await?;
    Ok((workshop, stored))
}

fn no_notices() -> mpsc::UnboundedReceiver<Notice> {
    mpsc::unbounded_channel().1
}

fn warn_disabled(directory: &Directory) {
    for target in directory.targets() {
        if let Some(disabled) = target.disabled() {
            let (name, reason) = (target.label(), disabled.reason.as_str());
            tracing::warn!(
                kind = Kind::EndpointHeld.word(),
                endpoint = %target.id,
                account = %target.stored.account,
                reason,
                "endpoint `{name}` is disabled: its deliveries are held{}",
                target.lacking()
            );
        }
    }
}

/// Origins are many: what they lack is their accounts'.
fn warn_unsigned(directory: &Directory) {
    for (account, credential) in directory.workshop().missing_for_callbacks() {
        tracing::warn!(
            kind = Kind::CredentialMissing.word(),
            %account,
            credential,
            "the credential `{credential}` of the account `{account}` is not in $CREDENTIALS_DIRECTORY: its callbacks are held"
        );
    }
}

/// Why the daemon stops.
enum Cause {
    /// The engine has ended: the store failed.
    Engine(Result<(), StoreError>),
    /// A part has ended that should not; a panic is in the log.
    Part(&'static str),
    /// A signal.
    Signal,
}

/// Waits for the word to stop, for the store to fail, or for a part to end that should not; then takes the parts apart.
async fn run_until_stopped(
    mut parts: Parts,
    mut doors: Vec<JoinHandle<()>>,
    shared: Shared,
    mut signal: watch::Receiver<Stop>,
) -> Result<(), ServeError> {
    let cause = tokio::select! {
        ended = &mut parts.engine => Cause::Engine(ended.unwrap_or(Err(StoreError::Stopped))),
        () = first_end(&mut doors) => Cause::Part("the task of the socket, or of the API over TCP,"),
        Some(_) = parts.intakes.join_next() => Cause::Part("the task of a spool directory, of the door, of reloads or of retention"),
        _ = signal.wait_for(|stop| *stop != Stop::Run) => Cause::Signal,
    };
    let line = match cause {
        Cause::Signal => "stopping: attempts in flight come to their end",
        Cause::Engine(_) | Cause::Part(_) => "stopping after an error, which the log has",
    };
    shared.notifier.stopping(line, STOP);
    parts.telling.abort_all();
    shared.stopping.send_replace(true);
    if let Cause::Part(what) = cause {
        tracing::error!(kind = Kind::PartEnded.word(), "{what} ended, which must not happen");
    }
    if !matches!(cause, Cause::Engine(_)) {
        tracing::info!(
            kind = Kind::Stopping.word(),
            "stopping: attempts in flight have {} s to end",
            DRAIN.as_secs()
        );
        parts.stop.send_replace(Stop::Drain);
    }
    let part = if let Cause::Part(what) = cause { Err(ServeError::Part(what)) } else { Ok(()) };
    let ended = {
        let rest = async {
            tokio::join!(end_doors(&mut doors), end_intakes(&mut parts.intakes, &parts.spools));
            match cause {
                Cause::Engine(result) => result,
                Cause::Part(_) | Cause::Signal => {
                    (&mut parts.engine).await.unwrap_or(Err(StoreError::Stopped))
                }
            }
        };
        tokio::select! {
            result = rest => Some(result),
            () = tokio::time::sleep(DRAIN) => None,
            _ = signal.wait_for(|stop| *stop == Stop::Now) => None,
        }
    };
    let (result, end) = match ended {
        Some(result) => (result, End::Clean),
        None => (cut_off(&mut parts, &doors).await, End::CutOff),
    };
    // With these go the last handles of the store, so that its file is closed before the process ends; but for that of a look at a
    // spool directory that hangs, for whom the writer closes it.
    shared.open.send_replace(None);
    shared.intake.send_replace(None);
    parts.writer.mark(parts.clock.mark());
    let closing = tokio::task::spawn_blocking(move || parts.writer.close(end));
    let closed = shared.patiently(closing).await.map_err(panicked)?;
    result.and(closed)?;
    part?;
    tracing::info!(kind = Kind::Stopped.word(), "stopped; the store is closed");
    Ok(())
}

/// Waits for the doors' end, and ends them where that takes too long.
async fn end_doors(doors: &mut [JoinHandle<()>]) {
    if timeout(HANG_UP, all_ends(doors)).await.is_err() {
        doors.iter().for_each(JoinHandle::abort);
    }
}

/// Waits for the end of what takes files in and of what looks after the store, and leaves it alone where that takes too long.
async fn end_intakes(intakes: &mut JoinSet<()>, spools: &[SpoolHandle]) {
    let all = async { while intakes.join_next().await.is_some() {} };
    if timeout(HANG_UP, all).await.is_ok() {
        return;
    }
    for spool in spools.iter().filter_map(SpoolHandle::silent) {
        tracing::warn!(
            kind = Kind::SpoolProblem.word(),
            spool = %spool.display(),
            "the directory does not answer, and is not waited for: its files are taken after the next start"
        );
    }
    tracing::debug!("the parts that take files in and look after the store are not waited for any longer");
    intakes.shutdown().await;
}

/// Waits until one of these has ended.
async fn first_end(tasks: &mut [JoinHandle<()>]) {
    std::future::poll_fn(|context| {
        let mut ended = tasks.iter_mut().map(|task| std::pin::Pin::new(task).poll(context));
        if ended.any(|ended| ended.is_ready()) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Waits until all of these have ended, of which some may have been waited for.
async fn all_ends(tasks: &mut [JoinHandle<()>]) {
    for task in tasks.iter_mut().filter(|task| !task.is_finished()) {
        // A panic is in the log.
        let _ = task.await;
    }
}

/// Ends what has not ended by itself. What is in flight is attempted again at the next start.
async fn cut_off(parts: &mut Parts, doors: &[JoinHandle<()>]) -> Result<(), StoreError> {
    tracing::warn!(
        kind = Kind::CutOff.word(),
        "not waiting any longer: attempts in flight are cut off, and made again at the next start"
    );
    doors.iter().for_each(JoinHandle::abort);
    parts.intakes.shutdown().await;
    parts.stop.send_replace(Stop::Now);
    if parts.engine.is_finished() {
        return Ok(());
    }
    (&mut parts.engine).await.unwrap_or(Err(StoreError::Stopped))
}

/// A part that panicked (a bug) ends the daemon as a failed store does: nothing more can be promised.
fn panicked(_: JoinError) -> StoreError {
    StoreError::Stopped
}
