//! The units, held against the code, the other files, and what systemd itself says of them.

use std::{fs, process::Command};

use posthaste::{cli::exit::Exit, serve::DRAIN};

use crate::{
    configuration::default_of,
    lists,
    support::{program::is_there, skip},
    text,
    unit::Unit,
};

const SERVICE: &str = "systemd/posthaste.service";
const SOCKET: &str = "systemd/posthaste.socket";

#[test]
fn the_socket_is_the_one_that_the_code_looks_for() {
    let socket = Unit::read(SOCKET);
    let quoted = |text: &str| format!("\"{text}\"");
    assert_eq!(quoted(socket.one("Socket", "ListenStream")), default_of("listen", "socket"));
    assert_eq!(quoted(socket.one("Socket", "SocketMode")), default_of("listen", "socket_mode"));
    assert_eq!(socket.one("Socket", "FileDescriptorName"), "socket");
    assert!(lists::groups().contains(&socket.one("Socket", "SocketGroup").to_owned()));
    // Or the daemon could put another in its place.
    assert_eq!(socket.one("Socket", "SocketUser"), "root");
    // A service that removed the directory at its end would take the socket with it.
    assert!(Unit::read(SERVICE).all("Service", "RuntimeDirectory").is_empty());
}

#[test]
fn the_service_belongs_to_the_socket() {
    let service = Unit::read(SERVICE);
    assert!(service.words("Unit", "Requires").contains(&"posthaste.socket"));
    let after = service.words("Unit", "After");
    for unit in ["posthaste.socket", "network.target", "nss-user-lookup.target"] {
        assert!(after.contains(&unit), "After={unit}");
    }
    assert_eq!(service.one("Install", "Also"), "posthaste.socket");
    assert_eq!(service.one("Install", "WantedBy"), "multi-user.target");
    assert_eq!(Unit::read(SOCKET).one("Install", "WantedBy"), "sockets.target");
}

#[test]
fn its_users_are_made() {
    let service = Unit::read(SERVICE);
    assert_eq!(lists::users(), [service.one("Service", "User")]);
    assert_eq!(service.one("Service", "Group"), service.one("Service", "User"));
    assert_eq!(lists::groups(), [service.one("Service", "SupplementaryGroups")]);
}

#[test]
fn its_directories_are_made_and_writable() {
    let service = Unit::read(SERVICE);
    let state = format!("/var/lib/{}", service.one("Service", "StateDirectory"));
    let store = default_of("store", "path");
    assert!(store.starts_with(&format!("\"{state}/")), "{store} lies in {state}");
    let spool = service.one("Service", "ReadWritePaths").trim_start_matches('-');
    for (path, mode) in [(&*state, service.one("Service", "StateDirectoryMode")), (spool, "2770")] {
        let made = lists::directories();
        let made = made.iter().find(|directory| directory.path == path).unwrap_or_else(|| panic!("{path}"));
        assert_eq!((&*made.user, &*made.mode), (service.one("Service", "User"), mode), "{path}");
    }
    assert!(text("packaging/posthaste.toml").contains(&format!("\n[[spool]]\npath = \"{spool}\"\n")));
}

#[test]
fn what_no_restart_mends_is_not_restarted() {
    let service = Unit::read(SERVICE);
    // 243: systemd could not read a credential.
    let ours = [Exit::Usage, Exit::Permission, Exit::Config].map(|exit| exit.code().to_string());
    let never = [ours.as_slice(), &["243".to_owned()]].concat();
    assert_eq!(service.words("Service", "RestartPreventExitStatus"), never);
    // Nor by the socket.
    assert!(service.one("Service", "ExecStopPost").contains(&format!("in {})", ours.join("|"))));
    // systemd restarts what fails before the main process, whatever its code.
    assert!(service.all("Service", "ExecStartPre").is_empty());
    // All else is, for ever: as many starts as fit in are fewer than the limit.
    let fit_in = service.number("Unit", "StartLimitIntervalSec") / service.number("Service", "RestartSec");
    assert!(service.number("Unit", "StartLimitBurst") > fit_in);
    assert_eq!(service.one("Service", "Restart"), "always");
}

#[test]
fn there_is_time_to_drain() {
    let service = Unit::read(SERVICE);
    assert!(service.number("Service", "TimeoutStopSec") > DRAIN.as_secs() + 30);
    assert_eq!(service.one("Service", "Type"), "notify");
}

#[test]
fn who_is_at_the_socket_can_be_told() {
    assert!(Unit::read(SERVICE).all("Service", "PrivateUsers").is_empty());
}

#[test]
fn the_directory_of_credentials_is_passed_on_and_need_not_be_there() {
    let service = Unit::read(SERVICE);
    let passed = service.all("Service", "LoadCredential");
    let [passed] = passed.as_slice() else { panic!("one directory: {passed:?}") };
    let (name, directory) = passed.split_once(':').expect("a path that is no file's alone");
    let made =
        lists::directories().into_iter().find(|made| made.path == directory).expect("tmpfiles.d makes it");
    assert_eq!((&*made.mode, &*made.user), ("0700", "root"));
    // Without a text that takes its place the unit would fail where there is no such directory.
    let instead = service.all("Service", "SetCredential");
    assert!(
        instead
            .iter()
            .any(|line| line.split_once(':').is_some_and(|(of, text)| of == name && !text.is_empty()))
    );
}

/// Runs `systemd-analyze` on copies of these units, with a binary that is there; its success, and what it printed.
fn analyze(arguments: &[&str], units: &[&str]) -> Option<(bool, String)> {
    if !is_there("systemd-analyze") {
        skip("there is no systemd-analyze to judge the units", true);
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let copy = |name: &&str| {
        let path = directory.path().join(name.rsplit('/').next().expect("a name"));
        let unit =
            text(name).replace("/usr/bin/posthaste ", &format!("{} ", env!("CARGO_BIN_EXE_posthaste")));
        fs::write(&path, unit).expect("written");
        path
    };
    let units = units.iter().map(copy);
    let output = Command::new("systemd-analyze").args(arguments).args(units).output().expect("it is there");
    let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some((output.status.success(), printed))
}

#[test]
fn systemd_understands_every_line() {
    let Some((good, printed)) = analyze(&["verify", "--man=no"], &[SOCKET, SERVICE]) else { return };
    let ours: Vec<_> = printed.lines().filter(|line| line.contains("posthaste")).collect();
    assert!(good && ours.is_empty(), "{printed}");
}

#[test]
fn the_sandbox_is_tight() {
    let arguments = ["security", "--offline=true", "--threshold=15"];
    let Some((good, printed)) = analyze(&arguments, &[SERVICE]) else { return };
    assert!(good, "{printed}");
}
