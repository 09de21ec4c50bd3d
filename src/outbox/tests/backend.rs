//! A file in memory that can be made to stop, to fail and to be opened again.

use std::{
    io,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
};

use redb::{Builder, Database, StorageBackend, backends::InMemoryBackend};

use crate::outbox::{Opened, Options, Outbox, database::Shared, open};

/// The file; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Memory(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    bytes: InMemoryBackend,
    syncs: AtomicUsize,
    /// So many writes and syncs more succeed.
    left: AtomicUsize,
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    closed: bool,
    waiting: usize,
}

impl Memory {
    /// A new store's file, closed.
    pub(super) fn new(options: &Options) -> Self {
        let memory = Self(Arc::new(Inner {
            bytes: InMemoryBackend::new(),
            syncs: AtomicUsize::new(0),
            left: AtomicUsize::new(usize::MAX),
            gate: Mutex::default(),
            moved: Condvar::new(),
        }));
        let database = memory.database(options);
        open::fill(&database, super::ID_KEY, options.quick_repair).expect("a new store is filled");
        database.close().expect("a new store is closed");
        memory
    }

    pub(super) fn database(&self, options: &Options) -> Database {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache);
        builder.create_with_backend(self.clone()).expect("the file opens")
    }

    /// Opens the store in it.
    pub(super) fn open(&self, options: &Options) -> Opened {
        let database = self.database(options);
        let unclean = open::take_clean_mark(&database, options.quick_repair).expect("the mark is taken");
        Outbox::start(Shared::new(database), options, super::room(), unclean).expect("the store starts")
    }

    /// How many syncs there were.
    pub(super) fn syncs(&self) -> usize {
        self.0.syncs.load(SeqCst)
    }

    /// After `count` writes and syncs more, all of them fail.
    pub(super) fn fail_after(&self, count: usize) {
        self.0.left.store(count, SeqCst);
    }

    /// Ends the failing.
    pub(super) fn mend(&self) {
        self.fail_after(usize::MAX);
    }

    /// The next sync stops until the gate is opened.
    pub(super) fn close_gate(&self) {
        self.0.gate.lock().expect("no test panics with it").closed = true;
    }

    pub(super) fn open_gate(&self) {
        self.0.gate.lock().expect("no test panics with it").closed = false;
        self.0.moved.notify_all();
    }

    /// Waits until a sync has stopped at the gate.
    pub(super) fn wait_for_sync(&self) {
        let gate = self.0.gate.lock().expect("no test panics with it");
        drop(self.0.moved.wait_while(gate, |gate| gate.waiting == 0).expect("no test panics with it"));
    }

    fn spend(&self) -> io::Result<()> {
        let take = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
        let spent = self.0.left.fetch_update(SeqCst, SeqCst, take);
        spent.map(drop).map_err(|_| io::Error::other("the disk is gone"))
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        self.0.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.spend()?;
        self.0.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut gate = self.0.gate.lock().expect("no test panics with it");
        gate.waiting += 1;
        self.0.moved.notify_all();
        gate = self.0.moved.wait_while(gate, |gate| gate.closed).expect("no test panics with it");
        gate.waiting -= 1;
        drop(gate);
        self.spend()?;
        self.0.syncs.fetch_add(1, SeqCst);
        self.0.bytes.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.spend()?;
        self.0.bytes.write(offset, data)
    }
}
