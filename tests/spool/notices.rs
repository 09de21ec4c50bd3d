//! What the system tells, and what it does not: names that come late, notifications that are lost, directories that go.

use std::{
    fs::{self, File},
    io::Write as _,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, inotify},
    process::{Pid, Signal, Uid, kill_process},
    thread::set_thread_uid,
};
use serde_json::Value;

use super::{drop_in, event, gone, numbers, spool};
use crate::support::{config::endpoint, eventually, now, receiver::Receiver, skip, world::World};

/// A daemon that looks at the whole directory this often, and has done so once.
fn rescanning(receiver: &Receiver, rescan: &str) -> World {
    let keys = format!("[[spool]]\npath = \"spool\"\ntype = \"any\"\nrescan = \"{rescan}\"\n");
    let mut world = super::world_of(&format!("{keys}{}", endpoint("erp", &receiver.url("/"), &["*"], "raw")));
    world.start();
    drop_in(&world, "first.json", event(0));
    gone(&spool(&world, "first.json"));
    world
}

fn signal(world: &World, signal: Signal) {
    let pid = Pid::from_raw(world.pid().try_into().expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("it runs");
}

/// Stops the daemon as a debugger does, so that it hears nothing.
fn freeze(world: &World) {
    signal(world, Signal::STOP);
    eventually("it stands still", || {
        let status = fs::read_to_string(format!("/proc/{}/status", world.pid())).expect("it is there");
        status.lines().any(|line| line.starts_with("State:\tT")).then_some(())
    });
}

#[test]
fn names_that_come_late_need_no_scan() {
    let receiver = Receiver::start();
    let world = rescanning(&receiver, "1h");
    let outside = world.path("outside.json");
    fs::write(&outside, event(1)).expect("a file");
    fs::hard_link(&outside, spool(&world, "linked.json")).expect("a link");
    fs::write(world.path("copied"), event(2)).expect("a file");
    fs::copy(world.path("copied"), spool(&world, "copied.json")).expect("a copy");
    let nameless =
        rustix::fs::open(spool(&world, ""), OFlags::WRONLY | OFlags::TMPFILE, Mode::from_raw_mode(0o640));
    let mut nameless = File::from(nameless.expect("a file without a name"));
    nameless.write_all(event(3).as_bytes()).expect("it can be written");
    let own = format!("/proc/self/fd/{}", nameless.as_raw_fd());
    rustix::fs::linkat(CWD, own, CWD, spool(&world, "named.json"), AtFlags::SYMLINK_FOLLOW).expect("a name");
    // Its writer has made it, and has written nothing yet: as empty as it is it would be an event of the type.
    let mut slow = File::create(spool(&world, "slow.txt")).expect("a file");
    for name in ["linked.json", "copied.json", "named.json"] {
        gone(&spool(&world, name));
    }
    assert!(outside.exists());
    assert_eq!(numbers(&receiver.wait(4)), [0, 1, 2, 3]);
    assert!(spool(&world, "slow.txt").exists());
    slow.write_all(b"{\"n\":4}").expect("it can be written");
    drop(slow);
    gone(&spool(&world, "slow.txt"));
    assert_eq!(numbers(&receiver.wait(5)), [0, 1, 2, 3, 4]);
}

#[test]
fn lost_notifications_are_made_up_for() {
    let receiver = Receiver::start();
    let world = rescanning(&receiver, "1h");
    freeze(&world);
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("Linux says so");
    let limit: usize = limit.trim().parse().expect("a number");
    if limit > 1 << 17 {
        return skip("the queue of notifications is so long here that it does not overflow soon", true);
    }
    // Each makes at least two notifications: it is made, and it is removed. Of names that are not looked at.
    for number in 0..limit {
        let path = spool(&world, &format!(".{number}"));
        File::create(&path).expect("a file");
        fs::remove_file(path).expect("it is there");
    }
    for n in 1..=20 {
        drop_in(&world, &format!("{n}.json"), event(n));
    }
    signal(&world, Signal::CONT);
    (1..=20).for_each(|n| gone(&spool(&world, &format!("{n}.json"))));
    assert_eq!(numbers(&receiver.wait(21)), (0..=20).collect::<Vec<_>>());
    // It hears again.
    drop_in(&world, "last.json", event(21));
    gone(&spool(&world, "last.json"));
}

#[test]
fn a_directory_that_goes_and_comes_back() {
    let receiver = Receiver::start();
    let world = rescanning(&receiver, "1s");
    let path = spool(&world, "");
    let path = Path::new(path.to_str().expect("text").trim_end_matches('/'));
    let taken = |n: u64| {
        // Nobody has said which of them is watched by now: a scan finds it in any case.
        drop_in(&world, "a.json", event(n));
        gone(&path.join("a.json"));
        receiver.wait(usize::try_from(n + 1).expect("a few"));
    };
    fs::remove_dir_all(path).expect("it is ours");
    eventually("the daemon makes it again", || path.is_dir().then_some(()));
    taken(1);
    fs::rename(path, world.path("away")).expect("it is ours");
    fs::create_dir(path)
        .or_else(|error| if path.is_dir() { Ok(()) } else { Err(error) })
        .expect("a directory");
    taken(2);
    // As if something were mounted there: another directory has its name, and the old one is told nothing of it.
    fs::rename(path, world.path("under")).expect("it is ours");
    fs::rename(world.path("away"), path).or_else(|_| fs::create_dir_all(path)).expect("it is ours");
    taken(3);
    eventually("no problem", || world.get("/v1/status")["spools"][0]["problem"].is_null().then_some(()));
    assert_eq!(numbers(&receiver.hooks()), [0, 1, 2, 3]);
}

/// Something that is mounted, until it is dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn over(path: &Path) -> Option<Self> {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "none"]).arg(path).output().ok()?;
        mounted.status.success().then(|| Self(path.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn a_file_system_that_is_mounted_over_it_and_goes() {
    let receiver = Receiver::start();
    let world = rescanning(&receiver, "1s");
    fs::write(spool(&world, ".under"), "").expect("a file");
    let Some(mounted) = Mounted::over(&world.path("spool")) else {
        return skip("it takes root to mount something", false);
    };
    drop_in(&world, "a.json", event(1));
    gone(&spool(&world, "a.json"));
    drop(mounted);
    eventually("what was there before", || spool(&world, ".under").exists().then_some(()));
    drop_in(&world, "b.json", event(2));
    gone(&spool(&world, "b.json"));
    assert_eq!(numbers(&receiver.wait(3)), [0, 1, 2]);
}

/// All the notification queues that the user may have, held; `None` where they are very many.
fn all_queues_of(user: u32) -> Option<Vec<OwnedFd>> {
    let take = move || {
        set_thread_uid(Uid::from_raw(user)).expect("root may");
        let mut queues = Vec::new();
        while let Ok(queue) = inotify::init(inotify::CreateFlags::CLOEXEC) {
            queues.push(queue);
            if queues.len() > 500 {
                return None;
            }
        }
        Some(queues)
    };
    thread::spawn(take).join().expect("it ends")
}

#[test]
fn without_notifications_files_are_found_by_looking() {
    const USER: u32 = 65_533;
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be somebody else", true);
    }
    let Some(queues) = all_queues_of(USER) else {
        return skip("a user may have very many notification queues here", false);
    };
    let receiver = Receiver::start();
    let keys = "[[spool]]\npath = \"spool\"\nrescan = \"1s\"\n";
    let mut world = super::world_of(&format!("{keys}{}", endpoint("erp", &receiver.url("/"), &["*"], "raw")));
    world.run_as(USER);
    world.start();
    let status = || world.get("/v1/status")["spools"][0].clone();
    eventually("the problem", || {
        status()["problem"].as_str().is_some_and(|text| text.contains("max_user_instances")).then_some(())
    });
    for n in 1..3 {
        drop_in(&world, "a.json", event(n));
        gone(&spool(&world, "a.json"));
    }
    assert_eq!((numbers(&receiver.wait(2)), status()["watching"].clone()), (vec![1, 2], Value::Bool(false)));
    // The next look has a queue again.
    drop(queues);
    eventually("it is told", || {
        (status()["watching"] == true && status()["problem"].is_null()).then_some(())
    });
}

#[test]
fn many_at_once_are_taken_in_order_and_in_little_memory() {
    // More than can be remembered at once.
    const MANY: u64 = 17_000;
    let mut world = super::world_of("[[spool]]\npath = \"spool\"\n");
    for n in 0..MANY {
        drop_in(&world, &format!("{n:06}.json"), event(n));
    }
    world.start();
    let begin = now();
    let taken = || world.get("/v1/status")["spools"][0]["taken"].as_u64().expect("a number");
    eventually("all are taken", || (taken() == MANY).then_some(()));
    eprintln!("{MANY} files in {:?}, peak {} MiB", begin.elapsed(), world.peak_memory() >> 20);
    assert_eq!(fs::read_dir(spool(&world, "")).expect("it is there").count(), 1, "failed/ alone");
    assert_eq!(world.get("/v1/status")["since_start"]["accepted"], MANY);
    // The newest page, over which groups and commits have changed.
    let newest = world.get("/v1/events?limit=500")["items"].clone();
    for (at, item) in newest.as_array().expect("a list").iter().enumerate().step_by(25) {
        let event = world.event(item["id"].as_str().expect("an id"));
        assert_eq!(event["data"]["n"], MANY - 1 - u64::try_from(at).expect("a few"));
    }
    assert!(world.peak_memory() < 256 << 20, "{}", world.peak_memory());
}
