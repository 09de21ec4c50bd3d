//! A terminal of a given size, and a command that runs on it.

use std::{
    fs::{File, OpenOptions},
    io::Read as _,
    process::{Child, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
};

use rustix::{
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};

use crate::support::{
    DEADLINE,
    world::{World, posthaste, wait_for_end},
};

/// A command on a terminal; it is killed at the end.
pub(crate) struct Terminal {
    child: Child,
    shown: Receiver<Vec<u8>>,
    /// What has come, and was not asked for yet.
    rest: String,
}

impl Terminal {
    /// Runs a command against this daemon.
    pub(crate) fn running(world: &World, args: &[&str], columns: u16, rows: u16) -> Self {
        Self::with(world, args, columns, rows, &[])
    }

    /// The same, with further variables of the environment.
    pub(crate) fn with(
        world: &World,
        args: &[&str],
        columns: u16,
        rows: u16,
        variables: &[(&str, &str)],
    ) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&ours).expect("it is ours");
        unlockpt(&ours).expect("it is ours");
        let name = ptsname(&ours, Vec::new()).expect("its name").into_string().expect("ASCII");
        let theirs = OpenOptions::new().read(true).write(true).open(name).expect("the other end");
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&theirs, size).expect("a size");
        let mut command = posthaste();
        command.args(args).env("POSTHASTE_SOCKET", world.socket()).env_remove("NO_COLOR");
        command.envs(variables.iter().copied());
        let errors = theirs.try_clone().expect("another of it");
        let child = command.stdout(theirs).stderr(errors).stdin(Stdio::null()).spawn().expect("it was built");
        // It holds the other end; without it there would be no end.
        drop(command);
        let (sender, shown) = channel();
        let mut ours = File::from(ours);
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            // An error is how a terminal ends that nobody has open any more.
            while let Ok(count @ 1..) = ours.read(&mut chunk) {
                if sender.send(chunk[..count].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, shown, rest: String::new() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is shown from here on, up to `end`.
    pub(crate) fn until(&mut self, end: &str) -> String {
        loop {
            if let Some(at) = self.rest.find(end) {
                let rest = self.rest.split_off(at + end.len());
                return std::mem::replace(&mut self.rest, rest);
            }
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.rest += &String::from_utf8_lossy(&bytes),
                Err(error) => panic!("{error}, and no {end:?}: {:?}", self.rest),
            }
        }
    }

    /// All that is shown, of a command that ends by itself; lines end as in files.
    pub(crate) fn all(mut self) -> String {
        loop {
            match self.shown.recv_timeout(DEADLINE) {
                Ok(bytes) => self.rest += &String::from_utf8_lossy(&bytes),
                Err(RecvTimeoutError::Disconnected) => return self.rest.replace("\r\n", "\n"),
                Err(error) => panic!("{error}: {:?}", self.rest),
            }
        }
    }

    /// Waits for the command's end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        wait_for_end(&mut self.child).expect("it ends")
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
