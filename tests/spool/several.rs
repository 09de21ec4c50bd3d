//! Several directories, each with an account and a type of its own; one that is broken holds up no other.

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixListener,
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::{Value, json};

use super::{drop_in, event, gone, numbers, spool};
use crate::support::{
    config::endpoint,
    eventually,
    receiver::Receiver,
    skip,
    world::{World, run_in, stderr},
};

const NOBODY: u32 = 65_534;
const PRODUCER: u32 = 4_001;

fn place(path: &Path, name: &str, content: &str) {
    let temporary = path.join(format!(".{name}"));
    fs::write(&temporary, content).expect("it can be written");
    fs::rename(temporary, path.join(name)).expect("it can be renamed");
}

#[test]
fn each_has_an_account_and_a_type_and_a_broken_one_holds_up_no_other() {
    let receiver = Receiver::start();
    let spools = "[accounts.acme]\n\
        [[spool]]\npath = \"broken\"\nrescan = \"1s\"\n\
        [[spool]]\npath = \"one\"\n\
        [[spool]]\npath = \"two\"\naccount = \"acme\"\ntype = \"scan.finished\"\nafter = \"keep\"\n";
    let acme = endpoint("acme", &receiver.url("/acme"), &["*"], "raw")
        .replace("profile =", "account = \"acme\"\nprofile =");
    let world =
        World::new(&format!("{spools}{}{acme}", endpoint("erp", &receiver.url("/default"), &["*"], "raw")));
    fs::write(world.path("broken"), "no directory").expect("a file");
    let mut world = world;
    world.start();
    eventually("the others are made", || {
        (world.path("one").is_dir() && world.path("two").is_dir()).then_some(())
    });
    place(&world.path("one"), "a.json", &event(1));
    place(&world.path("two"), "b.json", &event(2));
    place(&world.path("two"), "c.txt", "text");
    place(&world.path("one"), "c.txt", "left alone");
    gone(&world.path("two/c.txt"));
    gone(&world.path("one/a.json"));
    assert_eq!(receiver.wait_at("/default", 1)[0].text(), "{\"n\":1}");
    let mut acme: Vec<_> = receiver.wait_at("/acme", 2).iter().map(|hook| hook.text().to_owned()).collect();
    acme.sort();
    assert_eq!(acme, ["text", "{\"n\":2}"]);
    assert!(world.path("one/c.txt").exists());
    assert_eq!(fs::read_to_string(world.path("two/done/c.txt")).expect("it is kept"), "text");
    let spools = world.get("/v1/status")["spools"].clone();
    assert!(
        spools[0]["problem"].as_str().is_some_and(|text| text.starts_with("cannot open the directory")),
        "{spools}"
    );
    assert_eq!((&spools[0]["watching"], &spools[1]["watching"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!((&spools[1]["problem"], &spools[2]["problem"]), (&Value::Null, &Value::Null));
    fs::remove_file(world.path("broken")).expect("it is ours");
    eventually("it is made", || world.path("broken").is_dir().then_some(()));
    place(&world.path("broken"), "d.json", &event(3));
    gone(&world.path("broken/d.json"));
    eventually("no problem", || world.get("/v1/status")["spools"][0]["problem"].is_null().then_some(()));
    world.settled();
    assert_eq!(numbers(&receiver.hooks_at("/default")), [1, 3]);
}

#[test]
fn two_names_of_one_directory_are_found_out() {
    let world = World::new(
        "[[spool]]\npath = \"real/spool\"\n[[spool]]\npath = \"link/spool/\"\naccount = \"acme\"\n[accounts.acme]\n",
    );
    fs::create_dir_all(world.path("real")).expect("a directory");
    symlink("real", world.path("link")).expect("a link");
    let config = world.config().display().to_string();
    for command in ["check", "serve"] {
        let output = run_in(&world.path(""), &[command, "--config", &config]);
        assert_eq!(output.status.code(), Some(78), "{}", stderr(&output));
        assert!(stderr(&output).contains("two spools have the same directory: /"), "{}", stderr(&output));
    }
}

#[test]
fn what_is_no_file_is_left_alone_and_told_once() {
    let receiver = Receiver::start();
    let endpoint = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let world =
        World::running(&format!("[[spool]]\npath = \"other\"\ntype = \"any\"\nrescan = \"1s\"\n{endpoint}"));
    let other = world.path("other");
    eventually("it is made", || other.join("failed").is_dir().then_some(()));
    symlink("/etc/hostname", other.join("link.json")).expect("a link");
    symlink("nowhere", other.join("nowhere.json")).expect("a link");
    fs::create_dir(other.join("directory.json")).expect("a directory");
    let _listener = UnixListener::bind(other.join("socket.json")).expect("a socket");
    let mode = Mode::from_raw_mode(0o666);
    mknodat(CWD, other.join("fifo.json"), FileType::Fifo, mode, 0).expect("a FIFO");
    if mknodat(CWD, other.join("device.json"), FileType::CharacterDevice, mode, makedev(1, 5)).is_err() {
        skip("it takes root to make a device", false);
    }
    let before = fs::read_dir(&other).expect("it is there").count();
    for n in 0..3 {
        place(&other, "a.json", &event(n));
        gone(&other.join("a.json"));
    }
    assert_eq!(numbers(&receiver.wait(3)), [0, 1, 2]);
    assert_eq!(fs::read_dir(&other).expect("it is there").count(), before);
    let told = || world.log().matches("links, directories, FIFOs and devices are left alone").count();
    eventually("it is told", || (told() == 1).then_some(()));
    let status = world.get("/v1/status");
    assert!(status["spools"][0]["problem"].is_null(), "{status}");
}

#[test]
fn producers_of_several_users_share_a_directory() {
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be somebody else", true);
    }
    let receiver = Receiver::start();
    let mut world = super::world_with(&receiver, "");
    // As docs/spool.md has it: set-group-ID, sticky, and the daemon's own.
    world.run_as(NOBODY);
    fs::set_permissions(spool(&world, ""), fs::Permissions::from_mode(0o3770)).expect("it is ours");
    fs::set_permissions(world.path(""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    world.start();
    let producer = |user: u32, script: &str| {
        let mut shell = Command::new("sh");
        shell.current_dir(spool(&world, "")).args(["-euc", &format!("umask 027; {script}")]);
        shell.uid(user).gid(NOBODY).output().expect("there is a shell").status.success()
    };
    assert!(producer(4_001, "echo '{\"type\":\"a.b\",\"data\":{\"n\":1}}' > .x.tmp; mv .x.tmp a.json"));
    assert!(producer(4_002, "echo '{\"type\":\"a.b\",\"data\":{\"n\":2}}' > b.json"));
    for name in ["a.json", "b.json"] {
        gone(&spool(&world, name));
    }
    assert!(
        producer(4_001, "echo bad > .mine.tmp") && !producer(4_002, "rm -f .mine.tmp"),
        "it is another's"
    );
    assert!(producer(4_001, "mv .mine.tmp bad.json"));
    gone(&spool(&world, "bad.json"));
    eventually("it failed", || (world.get("/v1/status")["spools"][0]["failed"] == 1).then_some(()));
    assert_eq!(numbers(&receiver.wait(2)), [1, 2]);
}

#[test]
fn a_producer_s_failed_is_not_used() {
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be somebody else", true);
    }
    let receiver = Receiver::start();
    let endpoint = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let mut world = super::world_of(&format!("[[spool]]\npath = \"spool\"\nrescan = \"1s\"\n{endpoint}"));
    world.run_as(NOBODY);
    let (failed, bad) = (spool(&world, "failed"), spool(&world, "bad.json"));
    fs::set_permissions(spool(&world, ""), fs::Permissions::from_mode(0o3770)).expect("it is ours");
    // Before the daemon was there, in a directory that was made for it.
    fs::create_dir(&failed).expect("a directory");
    fs::set_permissions(&failed, fs::Permissions::from_mode(0o777)).expect("it is ours");
    std::os::unix::fs::chown(&failed, Some(PRODUCER), Some(NOBODY)).expect("root may");
    fs::write(&bad, "bad").expect("a file");
    world.start();
    let problem = || world.get("/v1/status")["spools"][0]["problem"].as_str().map(str::to_owned);
    let told = eventually("the problem", problem);
    assert_eq!(
        told,
        "failed/ is not used, for it belongs to the user 4001; move it away, and the daemon makes its own"
    );
    for n in 0..2 {
        drop_in(&world, "good.json", event(n));
        gone(&spool(&world, "good.json"));
    }
    let left = "cannot be moved to failed/";
    eventually("the bad file was tried", || world.log().contains(left).then_some(()));
    assert!(bad.exists() && fs::read_dir(&failed).expect("it is there").next().is_none());
    assert_eq!(problem().as_deref(), Some(&*told));
    fs::rename(&failed, spool(&world, "away")).expect("root may");
    gone(&bad);
    eventually("no problem", || problem().is_none().then_some(()));
    let metadata = fs::metadata(&failed).expect("the daemon has made it");
    assert_eq!((metadata.uid(), metadata.mode() & 0o022), (NOBODY, 0));
    assert!(failed.join("bad.json.reason").exists());
    let log = world.log();
    assert_eq!(
        log.lines().filter(|line| line.contains("is not used") && !line.contains(left)).count(),
        1,
        "{log}"
    );
    assert_eq!(numbers(&receiver.wait(2)), [0, 1]);
}

#[test]
fn a_file_that_may_not_be_read_does_not_hold_up_the_rest() {
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to be somebody else", true);
    }
    let receiver = Receiver::start();
    let mut world = super::world_with(&receiver, "");
    fs::write(
        world.config(),
        fs::read_to_string(world.config())
            .expect("text")
            .replace("path = \"spool\"", "path = \"spool\"\nrescan = \"1s\""),
    )
    .expect("a configuration");
    world.run_as(NOBODY);
    let locked = spool(&world, "a.json");
    fs::write(&locked, event(1)).expect("a file");
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o600)).expect("it is ours");
    world.start();
    let problem = || world.get("/v1/status")["spools"][0]["problem"].clone();
    eventually("the problem", || {
        problem()
            .as_str()
            .is_some_and(|text| text.contains("a.json cannot be read: Permission denied"))
            .then_some(())
    });
    drop_in(&world, "b.json", event(2));
    gone(&spool(&world, "b.json"));
    assert_eq!(numbers(&receiver.wait(1)), [2]);
    drop_in(&world, "c.json", event(3));
    gone(&spool(&world, "c.json"));
    assert_eq!(world.log().matches("a.json").count(), 1, "told once\n{}", world.log());
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o644)).expect("it is ours");
    gone(&locked);
    eventually("the problem's end", || problem().is_null().then_some(()));
    assert_eq!(numbers(&receiver.wait(3)), [1, 2, 3]);
    // Nobody may remove what is in this directory: it stays, is told, and is taken once.
    fs::set_permissions(spool(&world, ""), fs::Permissions::from_mode(0o755)).expect("it is ours");
    std::os::unix::fs::chown(spool(&world, ""), Some(0), Some(0)).expect("root may");
    drop_in(&world, "d.json", event(4));
    eventually("the problem", || {
        problem()
            .as_str()
            .is_some_and(|text| text.contains("d.json is taken, but cannot be removed"))
            .then_some(())
    });
    std::os::unix::fs::chown(spool(&world, ""), Some(NOBODY), None).expect("root may");
    gone(&spool(&world, "d.json"));
    world.settled();
    assert_eq!(numbers(&receiver.hooks()), [1, 2, 3, 4]);
}

/// The system's word alone would send people to mounts and modes; in a unit it is the unit that has to say more.
#[test]
fn a_directory_that_a_unit_s_sandbox_keeps_away_is_named_with_the_drop_in_to_write() {
    if !rustix::process::geteuid().is_root() {
        return skip("it takes root to mount a directory that cannot be written", true);
    }
    let mut world = World::new("spool = [{ path = \"drop\" }, { path = \"parent/new\" }]\n");
    for name in ["drop", "parent"] {
        fs::create_dir(world.path(name)).expect("a directory");
        world.confine(name);
    }
    world.start();
    for (n, name, more) in [(0, "drop", ""), (1, "parent/new", ", make that directory, which is not there")] {
        let setting = format!("ReadWritePaths={}`{more}", world.path(name).display());
        eventually("the drop-in is named", || {
            let status = world.get("/v1/status");
            let problem = status["spools"][n]["problem"].as_str()?;
            (problem.contains("systemctl edit posthaste") && problem.contains(&setting)).then_some(())
        });
        assert!(world.log().contains(&setting), "{}", world.log());
    }
}

/// As a network file system does whose server is gone: whoever looks at it waits until it is unmounted.
#[test]
fn a_mount_that_never_answers_holds_up_nothing() {
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
        return skip("it takes root and FUSE to mount what never answers", false);
    }
    let receiver = Receiver::start();
    let endpoint = endpoint("erp", &receiver.url("/"), &["*"], "raw");
    let mut world =
        World::new(&format!("[[spool]]\npath = \"stuck/drop\"\n[[spool]]\npath = \"spool\"\n{endpoint}"));
    fs::create_dir(world.path("stuck")).expect("a directory");
    world.hang("stuck");
    world.start();
    let stuck = world.path("stuck/drop").display().to_string();
    let says = |log: &str| log.lines().any(|line| line.contains(&stuck) && line.contains("does not answer"));
    eventually("the log names it", || says(&world.log()).then_some(()));
    let problem = world.get("/v1/status")["spools"][0]["problem"].clone();
    assert!(problem.as_str().is_some_and(|problem| problem.contains("does not answer")), "{problem}");
    drop_in(&world, "a.json", event(1));
    gone(&spool(&world, "a.json"));
    world.emit("a.b", &json!({"n": 2}));
    receiver.wait(2);
    let reloaded = world.cli(&["reload"]);
    assert!(reloaded.status.success(), "{}", stderr(&reloaded));
    world.settled();
    world.stop();
    let log = world.log();
    assert!(!log.contains("cut off"), "the attempts were none of its business: {log}");
    assert_eq!(log.matches("is not waited for").count(), 1, "{log}");
}
