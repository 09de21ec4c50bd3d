//! A disk in memory that remembers what was done to it, and what a power cut makes of that.
//!
//! It can be made to fail as well: from an operation on, or at this one alone.
//!
//! A disk owes what was written before the last completed sync, and nothing else: of the writes and changes of length
//! after it each may be lost, whole or torn, and they may have come in any order. A write is torn between sectors: of
//! each [`SECTOR`] bytes all are there or none.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use redb::{Builder, Database, DatabaseError, StorageBackend};
use rustix::io::Errno;

use crate::outbox::{Motion, Options, Room, guarded::Guarded};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// What was done to a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Write(usize, Vec<u8>),
    SetLen(usize),
    Sync,
}

/// The disk; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Disk(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    ops: Vec<Op>,
    on: bool,
    fault: Option<Fault>,
}

/// What goes wrong with it.
#[derive(Clone, Copy, Debug)]
struct Fault {
    /// After so many operations that change something.
    after: usize,
    error: Errno,
    /// Then all goes well again.
    once: bool,
    struck: Option<Struck>,
}

/// What a fault has struck first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Struck {
    Write,
    SetLen,
    Sync,
}

impl Disk {
    /// A disk that holds `bytes`, durably.
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Inner { bytes, ops: Vec::new(), on: true, fault: None })))
    }

    /// Opens the database on it as the product does, repair included; makes one where the disk is empty.
    pub(super) fn database(&self, options: &Options, room: &Room) -> Result<Database, DatabaseError> {
        let mut builder = Builder::new();
        builder.set_cache_size(options.cache);
        builder.create_with_backend(Guarded::new(self.clone(), room.clone(), Motion::default()))
    }

    /// Fails after so many operations more.
    pub(super) fn fail(&self, after: usize, error: Errno, once: bool) {
        self.lock().fault = Some(Fault { after, error, once, struck: None });
    }

    /// What the fault has struck first, if anything.
    pub(super) fn struck(&self) -> Option<Struck> {
        self.lock().fault?.struck
    }

    /// How many operations there were.
    pub(super) fn position(&self) -> usize {
        self.lock().ops.len()
    }

    /// What was done so far.
    pub(super) fn ops(&self) -> Vec<Op> {
        self.lock().ops.clone()
    }

    /// What one would read from it.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.lock().bytes.clone()
    }

    /// Nothing reaches it any more: whoever still has it open closes it in vain.
    pub(super) fn turn_off(&self) {
        self.lock().on = false;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("nothing panics with it")
    }

    /// As [`Self::on`], for an operation that the fault may strike.
    fn change(&self, what: Struck) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.on()?;
        let Some(fault) = &mut inner.fault else { return Ok(inner) };
        if fault.after > 0 || (fault.once && fault.struck.is_some()) {
            fault.after = fault.after.saturating_sub(1);
            return Ok(inner);
        }
        fault.struck = fault.struck.or(Some(what));
        Err(fault.error.into())
    }

    fn on(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        if inner.on { Ok(inner) } else { Err(io::Error::other("the power is off")) }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(u64::try_from(self.on()?.bytes.len()).expect("fits"))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (inner, from) = (self.on()?, place(offset));
        let found = inner.bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut inner = self.change(Struck::SetLen)?;
        inner.bytes.resize(place(len), 0);
        inner.ops.push(Op::SetLen(place(len)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Struck::Sync)?.ops.push(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (done, data) = match self.change(Struck::Write) {
            Ok(_) => (Ok(()), data),
            // As far as there was room.
            Err(error) => (Err(error), &data[..data.len() / 2]),
        };
        let mut inner = self.on()?;
        write(&mut inner.bytes, place(offset), data);
        inner.ops.push(Op::Write(place(offset), data.to_vec()));
        done
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("fits")
}

fn write(bytes: &mut Vec<u8>, offset: usize, data: &[u8]) {
    if bytes.len() < offset + data.len() {
        bytes.resize(offset + data.len(), 0);
    }
    bytes[offset..offset + data.len()].copy_from_slice(data);
}

/// Goes through what was done to a disk, from the beginning on.
pub(super) struct Tape<'a> {
    ops: &'a [Op],
    durable: Vec<u8>,
    /// So many operations are in `durable`.
    synced: usize,
}

/// The disk at one moment: what it owes, and what was done since.
pub(super) struct Moment<'a> {
    pub(super) durable: &'a [u8],
    pub(super) pending: &'a [Op],
}

impl<'a> Tape<'a> {
    /// `base` is what the disk held before.
    pub(super) fn new(base: &[u8], ops: &'a [Op]) -> Self {
        Self { ops, durable: base.to_vec(), synced: 0 }
    }

    /// The moment after `position` operations; positions must not come down.
    pub(super) fn at(&mut self, position: usize) -> Moment<'_> {
        let last = self.ops[self.synced..position].iter().rposition(|op| *op == Op::Sync);
        if let Some(last) = last {
            let until = self.synced + last + 1;
            for op in &self.ops[self.synced..until] {
                op.reach(&mut self.durable);
            }
            self.synced = until;
        }
        Moment { durable: &self.durable, pending: &self.ops[self.synced..position] }
    }
}

impl Op {
    fn reach(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => write(bytes, *offset, data),
            Self::SetLen(len) => bytes.resize(*len, 0),
            Self::Sync => {}
        }
    }
}

/// The syncs.
pub(super) fn syncs(ops: &[Op]) -> impl Iterator<Item = usize> {
    (0..ops.len()).filter(|position| ops[*position] == Op::Sync)
}

/// How often a file of `len` bytes has become longer.
pub(super) fn growths(mut len: usize, ops: &[Op]) -> usize {
    let mut count = 0;
    for op in ops {
        if let Op::SetLen(new) = op {
            count += usize::from(*new > len);
            len = *new;
        }
    }
    count
}

/// How many writes come over a place that was written since the last sync.
pub(super) fn overlaps(ops: &[Op]) -> usize {
    let mut places = HashSet::new();
    let mut count = 0;
    for op in ops {
        match op {
            Op::Write(offset, _) => count += usize::from(!places.insert(*offset)),
            Op::Sync => places.clear(),
            Op::SetLen(_) => {}
        }
    }
    count
}

/// What becomes of the operations that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All are lost.
    Lost,
    /// None is lost.
    Whole,
    /// Each may be lost.
    Some,
    /// One is lost or torn, the others are whole.
    AllButOne,
    /// What is written at the very beginning, where redb has its commit slots, is whole; the others may be lost.
    HeadFirst,
    /// Each may be lost or torn.
    Torn,
    /// All came, in another order.
    Reordered,
    /// They came in another order, and each may be lost or torn.
    ReorderedTorn,
}

impl Fate {
    pub(super) const ALL: [Self; 8] = [
        Self::Lost,
        Self::Whole,
        Self::Some,
        Self::AllButOne,
        Self::HeadFirst,
        Self::Torn,
        Self::Reordered,
        Self::ReorderedTorn,
    ];

    /// How much of `op` reaches the disk; of all that could, one is `chosen`.
    fn share(self, op: &Op, chosen: bool, random: &mut fastrand::Rng) -> Share {
        let is_head = matches!(op, Op::Write(0, _));
        let whole = match self {
            Self::Lost => false,
            Self::Whole | Self::Reordered => true,
            Self::AllButOne => !chosen,
            Self::HeadFirst => is_head || random.bool(),
            Self::Some | Self::Torn | Self::ReorderedTorn => random.bool(),
        };
        match self {
            _ if whole => Share::Whole,
            Self::AllButOne | Self::Torn | Self::ReorderedTorn => not_whole(random),
            _ => Share::Nothing,
        }
    }
}

/// How much of an operation reaches the disk.
enum Share {
    Nothing,
    Whole,
    /// So many of a write's sectors, from the first on.
    Prefix(usize),
    /// Each of a write's sectors or not, by chance.
    Sectors(fastrand::Rng),
}

impl Moment<'_> {
    /// At most `count` of the fates that can differ from each other at this moment.
    pub(super) fn fates(&self, random: &mut fastrand::Rng, count: usize) -> Vec<Fate> {
        let all: &[Fate] = if self.pending.is_empty() { &[Fate::Lost] } else { &Fate::ALL };
        let mut fates = random.choose_multiple(all, count);
        random.shuffle(&mut fates);
        fates.into_iter().copied().collect()
    }

    /// What is on the disk when the power comes back.
    pub(super) fn image(&self, fate: Fate, random: &mut fastrand::Rng) -> Vec<u8> {
        let mut image = self.durable.to_vec();
        let mut order: Vec<&Op> = self.pending.iter().collect();
        if matches!(fate, Fate::Reordered | Fate::ReorderedTorn) {
            random.shuffle(&mut order);
        }
        let chosen = random.usize(..order.len().max(1));
        for (index, op) in order.into_iter().enumerate() {
            let share = fate.share(op, index == chosen, random);
            op.reach_in_part(&mut image, share);
        }
        image
    }

    /// Whether the file has become longer, and that is not synced.
    pub(super) fn is_growing(&self) -> bool {
        self.pending.iter().any(|op| matches!(op, Op::SetLen(len) if *len > self.durable.len()))
    }
}

fn not_whole(random: &mut fastrand::Rng) -> Share {
    match random.u8(..3) {
        0 => Share::Nothing,
        1 => Share::Prefix(random.usize(..16)),
        _ => Share::Sectors(random.fork()),
    }
}

impl Op {
    /// A change of length is there or not; a write that is there in part changes the length as far as it goes.
    fn reach_in_part(&self, image: &mut Vec<u8>, mut share: Share) {
        let Self::Write(offset, data) = self else {
            if !matches!(share, Share::Nothing) {
                self.reach(image);
            }
            return;
        };
        let (mut from, mut sector) = (0, 0);
        while from < data.len() {
            let until = data.len().min(from + SECTOR - (offset + from) % SECTOR);
            if share.has(sector) {
                write(image, offset + from, &data[from..until]);
            }
            (from, sector) = (until, sector + 1);
        }
    }
}

impl Share {
    fn has(&mut self, sector: usize) -> bool {
        match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Prefix(count) => sector < *count,
            Self::Sectors(random) => random.bool(),
        }
    }
}
