//! What the kernel says of a process: CPU by thread, context switches, bytes written, memory.

use std::{collections::BTreeMap, fs, io, ops::Sub};

use crate::Result;

/// Ticks a second in `/proc`: what user space sees is 100 on every architecture.
const TICKS: f64 = 100.0;

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

/// What a process has used so far, or between two looks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Usage {
    /// By the threads' names; those of one name together, those that have ended left out.
    pub(crate) threads: BTreeMap<String, Cpu>,
    /// Of the process, threads that have ended included.
    pub(crate) cpu: Cpu,
    /// Times that its threads went to sleep.
    pub(crate) voluntary: u64,
    /// Times that they had to make room for others.
    pub(crate) involuntary: u64,
    /// Bytes of pages that it made dirty.
    pub(crate) written: u64,
}

impl Usage {
    /// Everything since the start of process `pid`.
    ///
    /// # Errors
    /// It is not there, or the kernel does not tell.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut usage = Self { cpu: cpu(&read(&format!("/proc/{pid}/stat"))?)?, ..Self::default() };
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread that has just ended is no error.
            let _ = usage.add_thread(&task?.path().display().to_string());
        }
        usage.written = number(&read(&format!("/proc/{pid}/io"))?, "write_bytes:")?;
        Ok(usage)
    }

    fn add_thread(&mut self, task: &str) -> Result<()> {
        let name = read(&format!("{task}/comm"))?.trim().to_owned();
        let used = cpu(&read(&format!("{task}/stat"))?)?;
        let status = read(&format!("{task}/status"))?;
        let sum = self.threads.entry(name).or_default();
        *sum = Cpu { user: sum.user + used.user, system: sum.system + used.system };
        // The longer name ends in the shorter one: the line has to begin with it.
        self.voluntary += number(&status, "voluntary_ctxt_switches:")?;
        self.involuntary += number(&status, "nonvoluntary_ctxt_switches:")?;
        Ok(())
    }

    /// What has been used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let less = |(name, cpu): (&String, &Cpu)| {
            (name.clone(), *cpu - before.threads.get(name).copied().unwrap_or_default())
        };
        Self {
            threads: self.threads.iter().map(less).collect(),
            cpu: self.cpu - before.cpu,
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
            written: self.written - before.written,
        }
    }

    /// Of the threads of this name.
    pub(crate) fn thread(&self, name: &str) -> Cpu {
        self.threads.get(name).copied().unwrap_or_default()
    }
}

/// Bytes of memory of a process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident now.
    pub(crate) resident: u64,
    /// The most so far.
    pub(crate) peak: u64,
}

impl Memory {
    /// Of process `pid`.
    ///
    /// # Errors
    /// It is not there.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(&format!("/proc/{pid}/status"))?;
        Ok(Self { resident: number(&status, "VmRSS:")? << 10, peak: number(&status, "VmHWM:")? << 10 })
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
