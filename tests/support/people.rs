//! Somebody else: what a test does as another user, on a thread that is that user. It takes root.

use std::{fs, os::unix::fs::PermissionsExt as _, thread};

use rustix::{
    process::{Gid, Uid},
    thread::{set_thread_gid, set_thread_groups, set_thread_uid},
};

use super::{skip, world::World};

/// A user and its group, without further groups.
#[derive(Clone, Copy, Debug)]
pub struct Somebody {
    pub uid: u32,
    pub gid: u32,
}

/// A user whom nobody has given anything.
pub const NOBODY: Somebody = Somebody { uid: 65_534, gid: 65_534 };

impl Somebody {
    /// The user of this number, whose group has it, too.
    pub const fn new(uid: u32) -> Self {
        Self { uid, gid: uid }
    }

    /// Does something as this user. What it has opened then it may keep.
    pub fn does<T: Send>(self, act: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let acting = scope.spawn(move || {
                set_thread_groups(&[]).expect("root may");
                set_thread_gid(Gid::from_raw(self.gid)).expect("root may");
                set_thread_uid(Uid::from_raw(self.uid)).expect("root may");
                act()
            });
            acting.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// Whether this process can be somebody else.
pub fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skip("it takes root to be somebody else", true);
    }
    root
}

/// A daemon whose socket everybody may use.
pub fn open_world(text: &str) -> World {
    let mut world = World::new("");
    open_to_all(&mut world, text);
    world.start();
    world
}

/// Lets everybody use the socket of a daemon that does not run yet.
pub fn open_to_all(world: &mut World, text: &str) {
    world.configure(&format!("listen.socket_mode = \"0666\"\n{text}"));
    let directory = world.socket().parent().expect("a directory").to_owned();
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
}
