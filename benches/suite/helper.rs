//! Helpers: this very program as a child, so that what it does has a process of its own and its CPU is not ours.
//!
//! Parent and child speak in lines: the parent's come to the child's standard input, the child's to its standard
//! output. A child ends when its input does.

use std::{
    env,
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use rustix::process::{Signal, set_parent_process_death_signal};

use crate::{Result, process::Usage};

/// The first argument of a helper; what follows is its role.
pub(crate) const ARGUMENT: &str = "--helper";

/// A child. Dropped, it ends.
pub(crate) struct Helper {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Helper {
    /// Starts one with its role and what belongs to it.
    ///
    /// # Errors
    /// The system starts no process.
    pub(crate) fn start(role: &[String]) -> Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command.arg(ARGUMENT).args(role).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let input = child.stdin.take().expect("it is piped");
        let output = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        Ok(Self { child, input, output })
    }

    pub(crate) fn say(&mut self, line: &str) -> Result<()> {
        Ok(writeln!(self.input, "{line}")?)
    }

    /// The child's next line, without `word` at its beginning.
    ///
    /// # Errors
    /// It says something else, or has ended.
    pub(crate) fn hear(&mut self, word: &str) -> Result<String> {
        let line = self.output.next().ok_or_else(|| format!("a helper ended before it said {word}"))??;
        let rest = line.strip_prefix(word).ok_or_else(|| format!("expected {word}, but heard {line}"))?;
        Ok(rest.trim().to_owned())
    }

    pub(crate) fn usage(&self) -> Result<Usage> {
        Usage::of(self.child.id())
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        // Both fail only where it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lets the kernel kill this process with its parent, where that is killed and cannot do it itself.
pub(crate) fn end_with_parent() {
    // Without it a helper is left over in that one case.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
}
