//! The daemon's process: this very program, run as `posthaste serve`.

use std::{
    env,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use posthaste::{clock::Clock, logging};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::{PATIENCE, Result, config::Workplace, producer};

/// A daemon that runs. Dropped, it is killed.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    /// Starts a daemon and waits until it takes events.
    pub(crate) fn start(workplace: &Workplace) -> Result<Self> {
        let child = Command::new(env::current_exe()?)
            .args(["serve".as_ref(), "--config".as_ref(), workplace.file().as_os_str()])
            .env_remove(logging::VARIABLE)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(workplace.log()?)
            .spawn()?;
        let mut daemon = Self { child };
        wait_until("the daemon takes events", || match daemon.child.try_wait()? {
            Some(status) => Err(format!("the daemon ended: {status}").into()),
            None => Ok(producer::is_ready(&workplace.socket())),
        })?;
        Ok(daemon)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL, and gives back the process id it had.
    pub(crate) fn kill(&mut self) -> Result<u32> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(self.child.id())
    }

    /// Asks it to stop, as a service manager would, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        wait_until("the daemon stops", || Ok(self.child.try_wait()?.is_some()))?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("the daemon stopped with {status}").into()) }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the kernel kill this process with its parent, where that is killed and cannot do it itself.
pub(crate) fn end_with_parent() {
    // Without it a daemon may be left over in that one case.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}

/// Looks again and again until `done`, an error, or the end of all patience.
#[allow(
    clippy::disallowed_methods,
    reason = "another process tells nobody when it is ready: one has to look"
)]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let clock = Clock::start();
    let deadline: Instant = clock.instant() + PATIENCE;
    while !done()? {
        if clock.instant() > deadline {
            return Err(format!("waited {} s in vain: {what}", PATIENCE.as_secs()).into());
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
