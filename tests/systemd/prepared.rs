//! What `prepare` has put into the target directory, and what this machine must be able to do to boot another.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What there is to boot from and to install.
pub struct Prepared {
    pub root: PathBuf,
    /// The package, and the same with a higher version.
    pub debs: [PathBuf; 2],
    pub tarball: PathBuf,
}

/// Why there can be no machine.
pub struct Lack {
    pub text: String,
    /// Whether `.ci/run` promises that it is there.
    pub promised: bool,
}

impl Lack {
    fn promised(text: String) -> Self {
        Self { text, promised: true }
    }

    fn of_the_machine(text: String) -> Self {
        Self { text, promised: false }
    }
}

impl Prepared {
    /// Looks for all that is needed.
    pub fn find() -> Result<Self, Lack> {
        if !rustix::process::geteuid().is_root() {
            return Err(Lack::promised("it takes root to boot a machine".to_owned()));
        }
        let tests = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = tests.parent().expect("it is in the target directory").join("systemd");
        if let Ok(why) = fs::read_to_string(directory.join("unavailable")) {
            return Err(Lack::of_the_machine(why.trim().to_owned()));
        }
        let missing = |what: &Path| {
            Lack::promised(format!("{} is not there (tests/systemd/prepare makes it)", what.display()))
        };
        let only = |name: &str, ending: &str| {
            let directory = directory.join(name);
            let entries = fs::read_dir(&directory).map_err(|_| missing(&directory))?;
            let mut paths = entries.flatten().map(|entry| entry.path());
            let found = paths.find(|path| path.to_str().is_some_and(|path| path.ends_with(ending)));
            found.ok_or_else(|| missing(&directory.join(format!("…{ending}"))))
        };
        // It is written when the root is complete.
        let stamp = directory.join("root.stamp");
        if !stamp.exists() {
            return Err(missing(&stamp));
        }
        let prepared = Self {
            root: directory.join("root"),
            debs: [only("debs/old", ".deb")?, only("debs/new", ".deb")?],
            tarball: only("tarball", ".tar.gz")?,
        };
        can_boot()?;
        Ok(prepared)
    }
}

/// Does what `boot` does with mounts and cgroups, at small: not every container lets another be made in it.
fn can_boot() -> Result<(), Lack> {
    let script = "[ $(stat -fc %T /sys/fs/cgroup) = cgroup2fs ] || { umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; } 2>&1 &&
        mkdir /sys/fs/cgroup/posthaste-$$ && [ -e /sys/fs/cgroup/posthaste-$$/cgroup.kill ] && rmdir /sys/fs/cgroup/posthaste-$$ &&
        mount -t tmpfs tmpfs /mnt && mkdir /mnt/a /mnt/b /mnt/c /mnt/d &&
        mount -t overlay -o lowerdir=/mnt/a,upperdir=/mnt/b,workdir=/mnt/c overlay /mnt/d &&
        command -v systemd-nspawn >/dev/null";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).stdin(Stdio::null());
    let output = command.output().map_err(|error| Lack::of_the_machine(format!("unshare: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Lack::of_the_machine(format!(
        "no container can be made here: it takes systemd-nspawn, cgroup2 and mounts ({})",
        said.trim()
    )))
}
