//! What the kernel says of a process: CPU by thread, context switches, bytes written, memory.

use std::{collections::BTreeMap, fs, io, ops::Sub};

use crate::Result;

/// Ticks a second in `/proc`: what user space sees is 100 on every architecture.
pub(crate) const TICKS: f64 = 100.0;

/// Seconds of CPU.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl Cpu {
    /// Both.
    pub(crate) fn seconds(self) -> f64 {
        self.user + self.system
    }
}

impl Sub for Cpu {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self { user: self.user - before.user, system: self.system - before.system }
    }
}

/// What a thread has used.
#[derive(Clone, Debug)]
struct Thread {
    name: String,
    cpu: Cpu,
    voluntary: u64,
    involuntary: u64,
}

/// What a process has used so far, or between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// Those that have not ended, by their ids.
    threads: BTreeMap<String, Thread>,
    /// Of the process, threads that have ended included.
    pub(crate) cpu: Cpu,
    /// Bytes of pages that it made dirty.
    pub(crate) written: u64,
    /// Threads that have ended between the two looks.
    ended: u64,
}

impl Usage {
    /// Everything since the start of process `pid`.
    ///
    /// # Errors
    /// It is not there, or the kernel does not tell.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut usage = Self { cpu: cpu(&read(&format!("/proc/{pid}/stat"))?)?, ..Self::default() };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that has just ended is no error.
            if let Ok(thread) = thread(&task.path().display().to_string()) {
                usage.threads.insert(task.file_name().display().to_string(), thread);
            }
        }
        usage.written = number(&read(&format!("/proc/{pid}/io"))?, "write_bytes:")?;
        Ok(usage)
    }

    /// What has been used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |(id, thread): (&String, &Thread)| {
            (id.clone(), before.threads.get(id).map_or_else(|| thread.clone(), |before| thread.since(before)))
        };
        let ended = before.threads.keys().filter(|id| !self.threads.contains_key(*id)).count();
        Self {
            threads: self.threads.iter().map(less).collect(),
            cpu: self.cpu - before.cpu,
            written: self.written - before.written,
            ended: ended.try_into().expect("a count of threads"),
        }
    }

    /// Of the threads of this name, but for those that have ended.
    pub(crate) fn thread(&self, name: &str) -> Cpu {
        let of = self.threads.values().filter(|thread| thread.name == name).map(|thread| thread.cpu);
        of.fold(Cpu::default(), |sum, cpu| Cpu { user: sum.user + cpu.user, system: sum.system + cpu.system })
    }

    /// Times that its threads went to sleep; a thread that has ended woke up once, for that.
    pub(crate) fn voluntary(&self) -> u64 {
        self.threads.values().map(|thread| thread.voluntary).sum::<u64>() + self.ended
    }

    /// Times that its threads had to make room for others.
    pub(crate) fn involuntary(&self) -> u64 {
        self.threads.values().map(|thread| thread.involuntary).sum()
    }
}

impl Thread {
    fn since(&self, before: &Self) -> Self {
        Self {
            name: self.name.clone(),
            cpu: self.cpu - before.cpu,
            voluntary: self.voluntary - before.voluntary,
            involuntary: self.involuntary - before.involuntary,
        }
    }
}

/// The thread whose directory this is.
fn thread(task: &str) -> Result<Thread> {
    let status = read(&format!("{task}/status"))?;
    Ok(Thread {
        name: read(&format!("{task}/comm"))?.trim().to_owned(),
        cpu: cpu(&read(&format!("{task}/stat"))?)?,
        // The other's name ends in this one: the line has to begin with it.
        voluntary: number(&status, "voluntary_ctxt_switches:")?,
        involuntary: number(&status, "nonvoluntary_ctxt_switches:")?,
    })
}

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: f64,
    /// The most so far.
    pub(crate) peak: f64,
}

impl Memory {
    /// Of process `pid`.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        let mebibytes = |name| Ok::<_, crate::Error>(number(&status, name)? as f64 / 1024.0);
        Ok(Self { resident: mebibytes("VmRSS:")?, peak: mebibytes("VmHWM:")? })
    }
}

fn read(path: &str) -> io::Result<String> {
    fs::read_to_string(path)
}

/// User and system time out of a `stat` line.
fn cpu(stat: &str) -> Result<Cpu> {
    // The name is in parentheses and may have anything in it; what follows it begins with the third field.
    let (_, rest) = stat.rsplit_once(") ").ok_or("a stat line without a name")?;
    let mut fields = rest.split(' ').skip(11);
    let mut ticks = || -> Result<f64> { Ok(fields.next().ok_or("a short stat line")?.parse()?) };
    Ok(Cpu { user: ticks()? / TICKS, system: ticks()? / TICKS })
}

/// The number on the line that begins with `name`.
fn number(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.ok_or_else(|| format!("the kernel says nothing of {name}"))?;
    Ok(value.trim().trim_end_matches(" kB").parse()?)
}
