//! Parts of a daemon that stand still while a test wants it: `stand.c`, loaded into the daemon, has the words for which.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{program, skip, world::World};

/// What decides which part stands.
pub struct Stand(PathBuf);

impl Stand {
    /// For the world's daemons from the next start on; without a C compiler the test is skipped.
    pub fn of(world: &mut World) -> Option<Self> {
        if !program::is_there("cc") {
            skip("there is no C compiler here for what makes a part of the daemon stand", true);
            return None;
        }
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/stand.c");
        let library = world.path("stand.so");
        let mut command = Command::new("cc");
        command.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl");
        assert!(command.status().expect("it is there").success(), "it is compiled");
        let file = world.path("stand");
        world.set_env("LD_PRELOAD", &library);
        world.set_env("POSTHASTE_STAND", &file);
        Some(Self(file))
    }

    /// Has the part of this word stand, and no other.
    pub fn still(&self, word: &str) {
        // In one step: no call finds half a word, or none between two.
        let next = self.0.with_extension("next");
        fs::write(&next, word).expect("a file");
        fs::rename(next, &self.0).expect("it is written");
    }

    /// Lets all go on.
    pub fn go_on(&self) {
        fs::remove_file(&self.0).expect("something stood");
    }
}
