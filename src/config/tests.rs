//! The configuration as a whole: what every error says, how files merge, what comes of what is not written.

use std::{collections::HashMap, error::Error, fmt::Write as _};

use super::*;
use crate::{
    model::{
        event::Effect,
        profile::{
            Algorithm, BodyRule, CloudEventsMode, CloudEventsRule, Encoding, KeyForm, Profile, Rate, Success,
        },
    },
    policy::{
        access::Who,
        address::Stance,
        certificate::TlsVersion,
        placeholder::Placeholder,
        retention::{Ages, Retention},
        template::VARIABLES,
    },
};

const DAY: Duration = Duration::from_secs(86_400);
const FILE: &str = "/etc/posthaste/posthaste.toml";
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A configuration that uses much of what there is.
const FULL: &str = r#"
[listen]
socket = "/run/posthaste/posthaste.sock"
socket_mode = "0660"

[store]
path = "outbox.redb"
cache = "64MiB"
settle_delay = "20ms"
dedup_window = "24h"
dedup_entries = 500000
quick_repair = false

[limits]
event_size = "1MiB"
batch_size = "16MiB"
batch_events = 10_000
file_size = "64MiB"
file_events = 100_000
pending_per_endpoint = 1000000
in_flight = 512
in_flight_bytes = "64MiB"
keys_in_memory = 4_000_000

[[spool]]
path = "/var/spool/posthaste"
account = "default"
after = "delete"

[[spool]]
path = "spool/second"
account = "tenant-2"

[network]
allow = ["10.0.0.0/8", "192.0.2.7"]
deny = ["fd00::/8"]

[accounts.default]
profile = "posthaste"

[accounts.tenant-2]
profile = "plain"
https_only = false
allow = ["10.7.0.0/16"]
deny = ["10.7.7.7"]

[[endpoint]]
name = "erp"
account = "default"
url = "https://erp.example/hooks"
event_types = ["*"]
secret = "@credential:erp-secret"
profile = "transcodely"
headers = { Authorization = "@credential:erp-token", X-Box = "seven" }

[[endpoint]]
name = "log"
account = "tenant-2"
url = "http://127.0.0.1:8080/?from=box"
event_types = ["video.media.*", "scan.*.done"]

[profiles.transcodely]
timeout = "5s"

[profiles.plain]
success = [200, 202]
retry = ["0s", "1m30s"]
jitter = 0.25

[profiles.plain.signature]
algorithm = "none"

[profiles.plain.headers]
X-Type = "{event_type}"

[profiles.plain.body]
format = "template"
template = '{"type": {{ type | tojson }}, "data": {{ data_json }}}'
"#;

/// The block of `transcodely` as the documentation of the project prints it.
const PRINTED: &str = r#"
[profiles.transcodely]                     # a built-in, printed whole except `rate`
success = "2xx"                            # or a list of codes: [200]
timeout = "30s"                            # one deadline from resolving to the end of the body
retry = ["0s", "1m", "5m", "30m", "2h", "12h"]   # delay before each attempt
jitter = 0.0                               # 0.1: each delay is lengthened by up to 10 %, never shortened
expire = "14d"
retry_after = false                        # obey Retry-After (never earlier than the schedule, at most 24h)
gone_disables = false                      # a 410 ends the delivery as gone and disables the endpoint
disable_after = 0                          # 0: never
circuit = 0                                # 0: never
probe = ["10s", "30s", "1m", "5m", "15m"]
concurrency = 16                           # requests open at once to one endpoint
order = "none"                             # or "fifo"

[profiles.transcodely.signature]
algorithm = "hmac-sha256"                  # or "ed25519", or "none"
key = "utf8"                               # how the secret becomes the key
signed = "{timestamp}.{body}"
encoding = "hex"                           # or base64
each = "sha256={signature}"                # one signature
join = ","                                 # … joined with this

[profiles.transcodely.headers]             # sent with every request
X-Transcodely-Signature = "sha256={signature}"
X-Transcodely-Timestamp = "{timestamp}"
X-Transcodely-Delivery-ID = "{delivery_id}"

[profiles.transcodely.body]
format = "template"
template = '{"event": {{ type | tojson }}, "job": {{ data_json }}, "timestamp": {{ time | tojson }}}'
"#;

fn read(files: &[(&str, &str)], credentials: Option<&Path>) -> Result<Config, ConfigErrors> {
    let texts =
        files.iter().map(|(path, text)| (PathBuf::from(path), Zeroizing::new((*text).to_owned()))).collect();
    parse(texts, Path::new("/etc/posthaste"), credentials)
}

fn valid(text: &str) -> Config {
    read(&[(FILE, text)], None).unwrap_or_else(|errors| panic!("{errors}"))
}

fn errors(text: &str) -> ConfigErrors {
    match read(&[(FILE, text)], None) {
        Ok(_) => panic!("taken: {text}"),
        Err(errors) => errors,
    }
}

/// What is printed, with the file's name as `FILE`.
fn printed(text: &str) -> String {
    errors(text).to_string().replace(FILE, "FILE")
}

/// The only error's message and help, behind what its carets mark.
fn marked(text: &str) -> (String, String, String) {
    let errors = errors(text);
    let [error] = errors.errors() else { panic!("{errors}") };
    let at = error.position.as_ref().expect("a place in the file");
    let carets = error.to_string().lines().nth(4).expect("a line of carets").to_owned();
    let first = carets.find('^').expect("a caret");
    let before = carets[..first].chars().count() - carets.find('|').expect("a gutter") - 2;
    let length = carets[first..].chars().take_while(|c| *c == '^').count();
    let marked = at.text.chars().skip(before).take(length).collect();
    (marked, error.message.clone(), error.help.clone())
}

/// An endpoint that is right but for what is put in its place: `key = value` lines.
fn endpoint(changes: &str) -> String {
    let given = |key: &str| changes.lines().any(|line| line.starts_with(&format!("{key} =")));
    let mut text = String::from("[[endpoint]]\n");
    for (key, value) in [
        ("name", "\"erp\""),
        ("url", "\"https://erp.example/hooks\""),
        ("event_types", "[\"*\"]"),
        ("secret", &format!("\"{SECRET}\"")),
    ] {
        if !given(key) {
            writeln!(text, "{key} = {value}").expect("a String takes all");
        }
    }
    text + changes
}

#[test]
fn an_error_shows_its_place_and_what_to_write() {
    let text = "# the outbox\n\n\n\n\n\n\n\n\n\n[store]\ncahce = \"64MiB\"\n";
    let expected = "\
error: unknown key `store.cahce`
  --> FILE:12:1
   |
12 | cahce = \"64MiB\"
   | ^^^^^ did you mean `cache`? known here: path, cache, settle_delay, dedup_window, dedup_entries, \
quick_repair, max_size, reserve, retention, retention_failed

1 error in the configuration";
    assert_eq!(printed(text), expected);
    let errors = errors(text);
    let [error] = errors.errors() else { panic!("{errors}") };
    let at = error.position.as_ref().expect("a place");
    assert_eq!((error.file.as_path(), at.line, at.column), (Path::new(FILE), 12, 1));
    assert!(errors.source().is_none());
}

#[test]
fn all_errors_are_told_at_once() {
    let expected = "\
error: `store.cache` is not a size
 --> FILE:2:9
  |
2 | cache = \"lots\"
  |         ^^^^^^ write a size such as \"64MiB\", from 1MiB to 1TiB

error: `endpoint.url` is missing
 --> FILE:3:1
  |
3 | [[endpoint]]
  | ^^^^^^^^^^^^ add `url = …`: a URL such as \"https://erp.example/hooks\"

error: `endpoint.event_types` has an entry that is no pattern
 --> FILE:5:21
  |
5 | event_types = [\"a\", \"b*\"]
  |                     ^^^^ * stands for whole segments: write it alone between dots, as in video.* or video.*.ready

error: unknown section `netwrok`
 --> FILE:7:2
  |
7 | [netwrok]
  |  ^^^^^^^ did you mean `network`? known here: listen, access, store, limits, spool, network, accounts, \
endpoint, profiles

4 errors in the configuration";
    let text = format!(
        "[store]\ncache = \"lots\"\n[[endpoint]]\nname = \"a\"\nevent_types = [\"a\", \"b*\"]\nsecret = \"{SECRET}\"\n[netwrok]\n"
    );
    assert_eq!(printed(&text), expected);
}

#[test]
fn a_wrong_schedule_does_not_hide_a_wrong_header() {
    let text = printed(
        "[profiles.p]\nretry = [\"1 m\"]\nprobe = \"x\"\n[profiles.p.headers]\nX-Sig = \"{signatur}\"\n",
    );
    for part in
        ["`profiles.p.retry` has an entry", "`profiles.p.probe`", "`profiles.p.headers.X-Sig`", "3 errors in"]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn what_is_no_toml() {
    let expected = "\
error: not TOML: string values must be quoted, expected literal string
 --> FILE:2:9
  |
2 | cache = 64MiB
  |         ^^^^^

1 error in the configuration";
    assert_eq!(printed("[store]\ncache = 64MiB\n"), expected);
    let both = read(&[(FILE, "[store\n"), ("/etc/posthaste/conf.d/a.toml", "a = 1\na = 2\n")], None);
    let both = both.expect_err("no TOML");
    let places: Vec<_> = both.errors().iter().map(|e| (e.file.clone(), e.message.as_str())).collect();
    assert_eq!(places.len(), 2, "{both}");
    assert_eq!(places[1], (PathBuf::from("/etc/posthaste/conf.d/a.toml"), "not TOML: duplicate key"));
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn values() {
    let cases = [
        // Names.
        ("[store]\nxyz = 1", "xyz", "unknown key `store.xyz`", "known here: path,"),
        ("storage = 1", "storage", "unknown key `storage`", "known here: listen,"),
        ("[listen.scoket]", "scoket", "unknown section `listen.scoket`", "did you mean `socket`?"),
        (
            "[profiles.a]\ntimeuot = '1s'",
            "timeuot",
            "unknown key `profiles.a.timeuot`",
            "did you mean `timeout`?",
        ),
        ("[profiles.'a b']", "'a b'", "a profile cannot be named so", "1 to 64"),
        ("[accounts.'a/b']", "'a/b'", "an account cannot be named so", "1 to 64"),
        // Shapes.
        ("store = 1", "store", "`store` is a section, not an integer", "write `[store]`"),
        ("[spool]", "spool", "`spool` may be there several times", "write `[[spool]]`"),
        ("spool = [1]", "\"…\"", "`spool` is a section, not an integer", "write `[[spool]]`"),
        ("accounts = []", "accounts", "`accounts` is a section, not an array", "write `[accounts]`"),
        ("[store]\ncache = 64", "64", "`store.cache` cannot be an integer", "a size such as \"64MiB\""),
        (
            "[store]\nquick_repair = \"no\"",
            "\"no\"",
            "`store.quick_repair` cannot be a string",
            "true or false",
        ),
        ("[store]\npath = 2026-11-22", "2026-11-22", "`store.path` cannot be a date or time", "the path"),
        ("[store]\npath = {}", "{}", "`store.path` cannot be a table", "the path"),
        ("[store]\npath = ''", "''", "`store.path` is not a path", "the path"),
        ("[listen]\nsocket_mode = 0o660", "0o660", "`listen.socket_mode` cannot be an integer", "\"0660\""),
        ("[listen]\nsocket_mode = '888'", "'888'", "`listen.socket_mode` is not a mode", "\"0660\""),
        ("[listen]\nsocket_mode = '4755'", "'4755'", "`listen.socket_mode` is not a mode", "\"0660\""),
        // Quantities.
        ("[store]\nsettle_delay = '20'", "'20'", "`store.settle_delay` is not a duration", "from 0s to 10s"),
        ("[store]\nsettle_delay = '11s'", "'11s'", "`store.settle_delay` is out of bounds", "from 0s to 10s"),
        (
            "[store]\ndedup_window = '99999999999999999999d'",
            "'99999999999999999999d'",
            "`store.dedup_window` is out of bounds",
            "365d",
        ),
        ("[store]\ncache = '1MB'", "'1MB'", "`store.cache` is not a size", "64MiB"),
        ("[store]\ncache = '1KiB'", "'1KiB'", "`store.cache` is out of bounds", "from 1MiB"),
        ("[store]\ndedup_entries = -1", "-1", "`store.dedup_entries` is out of bounds", "from 0"),
        (
            "[store]\ndedup_entries = 99999999999999999999",
            "99999999999999999999",
            "`store.dedup_entries` is out of bounds",
            "from 0",
        ),
        ("[limits]\nfile_events = 0", "0", "`limits.file_events` is out of bounds", "from 1 to 1000000"),
        ("[limits]\nin_flight = 0", "0", "`limits.in_flight` is out of bounds", "from 1 to 65536"),
        ("[limits]\nkeys_in_memory = 999", "999", "`limits.keys_in_memory` is out of bounds", "from 1000 to"),
        (
            "[limits]\nevent_size = '32MiB'",
            "'32MiB'",
            "`limits.event_size` is more than `limits.batch_size`",
            "raise `batch_size` as well, which is 16MiB",
        ),
        (
            "[limits]\nfile_size = '1KiB'",
            "'1KiB'",
            "`limits.file_size` is less than `limits.event_size`",
            "at least 1MiB",
        ),
        ("[profiles.a]\njitter = 1.5", "1.5", "`profiles.a.jitter` is out of bounds", "0.0 to 1.0"),
        ("[profiles.a]\njitter = nan", "nan", "`profiles.a.jitter` is out of bounds", "0.0 to 1.0"),
        ("[profiles.a]\nretry = []", "[]", "`profiles.a.retry` has 0 entries", "1 to 255"),
        (
            "[profiles.a]\nretry = ['0s', 'soon']",
            "'soon'",
            "`profiles.a.retry` has an entry that is not a duration",
            "365d",
        ),
        (
            "[profiles.a]\nretry = ['400d']",
            "'400d'",
            "`profiles.a.retry` has an entry that is out of bounds",
            "365d",
        ),
        (
            "[profiles.a]\ntimeout = '11m'",
            "'11m'",
            "`profiles.a.timeout` is out of bounds",
            "from 10ms to 10m",
        ),
        ("[profiles.a]\nexpire = '0s'", "'0s'", "`profiles.a.expire` is out of bounds", "from 1ms"),
        ("[profiles.a]\nconcurrency = 1025", "1025", "`profiles.a.concurrency` is out of bounds", "1024"),
        (
            "[profiles.a]\nsuccess = '200'",
            "'200'",
            "`profiles.a.success` has an unknown value",
            "\"2xx\", or a list",
        ),
        (
            "[profiles.a]\nsuccess = [200, 20]",
            "20",
            "`profiles.a.success` has an entry that is no status code from 100 to 599",
            "[200, 202]",
        ),
        (
            "[profiles.a]\nsuccess = []",
            "[]",
            "`profiles.a.success` is empty, so that nothing would be a success",
            "2xx",
        ),
        // Networks.
        (
            "[network]\ndeny = ['10.0.0.1/8']",
            "'10.0.0.1/8'",
            "`network.deny` has an entry with bits set behind its prefix",
            "write \"10.0.0.0/8\"",
        ),
        (
            "[network]\nallow = ['intranet']",
            "'intranet'",
            "`network.allow` has an entry that is no network",
            "10.0.0.0/8",
        ),
        (
            "[network]\nallow = '10.0.0.0/8'",
            "'10.0.0.0/8'",
            "`network.allow` cannot be a string",
            "a list of networks",
        ),
        (
            "[network]\nallow = ['10.0.0.0/8']\n[accounts.a]\nallow = ['10.1.0.0/16', '11.0.0.0/8']",
            "'11.0.0.0/8'",
            "`accounts.a.allow` has an entry that is in none of `network.allow`",
            "add \"11.0.0.0/8\" to `allow` there",
        ),
        (
            "[accounts.a]\nallow = ['10.0.0.0/8']",
            "'10.0.0.0/8'",
            "`accounts.a.allow` has an entry that is in none of `network.allow`",
            "take it out",
        ),
        // One error for what is wrong with the network's own list.
        (
            "[network]\nallow = ['10.0.0.1/8']\n[accounts.a]\nallow = ['10.0.0.0/8']",
            "'10.0.0.1/8'",
            "`network.allow` has an entry with bits set behind its prefix",
            "10.0.0.0/8",
        ),
        (
            "[accounts.a]\ndeny = ['10.0.0.1/8']",
            "'10.0.0.1/8'",
            "`accounts.a.deny` has an entry with bits set behind its prefix",
            "10.0.0.0/8",
        ),
        (
            "[accounts.a]\nhttps_only = 'no'",
            "'no'",
            "`accounts.a.https_only` cannot be a string",
            "true or false",
        ),
        // Words.
        (
            "[profiles.a.signature]\nkey = 'hexx'",
            "'hexx'",
            "`profiles.a.signature.key` has an unknown value",
            "did you mean `hex`?",
        ),
        (
            "[profiles.a.body]\nformat = 'xml'",
            "'xml'",
            "`profiles.a.body.format` has an unknown value",
            "known here: envelope, raw, template",
        ),
        // References.
        (
            "[accounts.a]\nprofile = 'posthast'",
            "'posthast'",
            "`accounts.a.profile` names an unknown profile",
            "did you mean `posthaste`?",
        ),
        (
            "[[spool]]\npath = 's'\naccount = 'defautl'",
            "'defautl'",
            "`spool.account` names an unknown account",
            "did you mean `default`?",
        ),
        ("[[spool]]", "[[spool]]", "`spool.path` is missing", "add `path = …`"),
    ];
    for (text, place, message, help) in cases {
        let (at, said, advice) = marked(text);
        assert_eq!((at.as_str(), said.as_str()), (place, message), "{text}");
        assert!(advice.contains(help), "{text}: {advice}");
    }
}

#[test]
fn accounts_sign_their_callbacks() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("there"), format!("{SECRET}\n")).expect("a file");
    let load = |text: &str| {
        let file = directory.path().join("c.toml");
        fs::write(&file, text).expect("a file");
        load_with(&file, Some(directory.path())).expect("a configuration").accounts
    };
    let default = AccountName::default();
    let plain = &load("")[&default];
    assert_eq!(
        (plain.secret.is_none(), plain.missing_credential.is_none(), plain.max_origins),
        (true, true, 10_000)
    );
    for value in [SECRET, "@credential:there"] {
        let account = &load(&format!("[accounts.default]\nsecret = '{value}'\nmax_origins = 7"))[&default];
        assert_eq!(account.secret.as_ref().map(Secret::expose), Some(SECRET));
        assert_eq!((&account.missing_credential, account.max_origins), (&None, 7));
    }
    let account = &load("[accounts.default]\nsecret = '@credential:nowhere'")[&default];
    assert!(account.secret.is_none() && account.missing_credential.as_deref() == Some("nowhere"));
    // By its own profile; one that signs nothing takes any.
    let account =
        &load("[accounts.a]\nprofile = 'cloudglue'\nsecret = 'anything goes'")[&"a".parse().expect("a name")];
    assert_eq!(account.secret.as_ref().map(Secret::expose), Some("anything goes"));
    for (text, at, wrong) in [
        ("secret = 'opensesame'", "\"…\"", "does not fit its profile"),
        ("secret = ''", "\"…\"", "is empty"),
        ("secret = 5", "\"…\"", "cannot be an integer"),
        ("profile = 'cloudglue'\nsecret = \"a\\nb\"", "\"…\"", "has a value that no header can carry"),
        ("max_origins = 0", "0", "is out of bounds"),
    ] {
        let (place, message, _) = marked(&format!("[accounts.default]\n{text}"));
        assert!(message.contains(wrong), "{text}: {message}");
        assert_eq!(place, at, "{text}");
    }
}

#[test]
fn lists_say_which_entry_is_wrong() {
    let (_, message, _) = marked("[profiles.a]\nprobe = ['x']");
    assert_eq!(message, "`profiles.a.probe` has an entry that is not a duration");
}

#[test]
fn who_may_do_what() {
    let config = valid(
        "[[access]]\nuser = 'daemon'\nrole = 'producer'\naccount = 'acme'\nconnections = 4\nrate = '1000/s'\nbytes = '10MiB/s'\n\
         [[access]]\ngid = 4294967294\nrole = 'operator'\n\
         [[access]]\ngroup = 'root'\nrole = 'producer'\nbytes = '1KiB/h'\n\
         [[access]]\nuid = 7\nrole = 'producer'\n[accounts.acme]\n[limits]\nconnections_per_uid = 3\n",
    );
    assert_eq!(config.limits.connections_per_uid, 3);
    let described = describe(&config);
    let lines: Vec<_> = described.lines().filter_map(|line| line.strip_prefix("access    ")).collect();
    let Who::User(daemon, _) = config.access[0].who else { panic!("a user") };
    assert_ne!(daemon, 0);
    assert_eq!(
        lines,
        [
            &*format!(
                "1. user = \"daemon\" (uid {daemon}) is a producer of `acme`, 4 connections, 1000/s, 10MiB/s"
            ),
            "2. gid = 4294967294 is an operator",
            "3. group = \"root\" (gid 0) is a producer of any account, 1KiB/h",
            "4. uid = 7 is a producer of any account",
        ]
    );
    assert_eq!((valid("").access, valid("").limits.connections_per_uid), (Vec::new(), 256));
}

#[test]
fn rules_of_access_that_say_nothing_are_errors() {
    let producer = "role = 'producer'";
    let first = format!("[[access]]\nuid = 7\n{producer}\n");
    for (text, place, message, help) in [
        (format!("[[access]]\n{producer}"), "[[access]]", "does not say whom it is for", "write one of"),
        (
            format!("[[access]]\nuid = 7\ngid = 8\n{producer}"),
            "8",
            "`access.gid` is there besides `access.uid`",
            "write one of",
        ),
        ("[[access]]\nuid = 7".to_owned(), "[[access]]", "`access.role` is missing", "\"producer\" or"),
        (
            "[[access]]\nuid = 7\nrole = 'admin'".to_owned(),
            "'admin'",
            "`access.role` has an unknown value",
            "known here: producer, operator",
        ),
        (
            format!("[[access]]\nuser = 'no-such-user'\n{producer}"),
            "'no-such-user'",
            "`access.user` names a user that does not exist here",
            "adduser",
        ),
        (
            format!("[[access]]\ngroup = 'no-such-group'\n{producer}"),
            "'no-such-group'",
            "`access.group` names a group that does not exist here",
            "or write its number as `gid`",
        ),
        (
            format!("[[access]]\nuser = 'root'\n{producer}"),
            "'root'",
            "`access.user` is root",
            "leave the rule",
        ),
        (format!("[[access]]\nuid = 0\n{producer}"), "0", "`access.uid` is root", "always an operator"),
        (
            format!("[[access]]\nuid = 4294967295\n{producer}"),
            "4294967295",
            "`access.uid` is out of bounds",
            "from 0 to 4294967294",
        ),
        (
            "[[access]]\nuid = 7\nrole = 'operator'\naccount = 'default'".to_owned(),
            "'default'",
            "`access.account` is there, and an operator is one of all accounts",
            "leave it out, or write `role = \"producer\"`",
        ),
        (
            format!("{first}account = 'acme'"),
            "'acme'",
            "`access.account` names an unknown account",
            "add another as [accounts.NAME]",
        ),
        (
            format!("{first}[[access]]\nuid = 7\nrole = 'operator'"),
            "7",
            "a rule before this is for the same, and decides",
            "leave one of them out",
        ),
        (format!("{first}connections = 0"), "0", "`access.connections` is out of bounds", "from 1 to 1024"),
        (format!("{first}rate = '5'"), "'5'", "`access.rate` is not a rate", "\"100/s\""),
        (format!("{first}bytes = '5/s'"), "'5/s'", "`access.bytes` is not a size in a time", "\"10MiB/s\""),
        (format!("{first}bytes = '5MiB'"), "'5MiB'", "`access.bytes` is not a size in a time", "\"10MiB/s\""),
        (format!("{first}bytes = '1B/s'"), "'1B/s'", "`access.bytes` is out of bounds", "from 1KiB to 1TiB"),
    ] {
        let (at, said, advice) = marked(&text);
        assert_eq!(at, place, "{text}");
        assert!(said.contains(message), "{text}: {said}");
        assert!(advice.contains(help), "{text}: {advice}");
    }
}

#[test]
fn flow() {
    let read = |keys: &str| {
        let text = endpoint("profile = 'a'\n") + "[profiles.a]\n" + keys;
        let config = valid(&text);
        let profile = config.endpoints[0].form.profile();
        (profile.circuit, profile.probe.clone(), profile.rate)
    };
    let seconds = |all: &[u64]| all.iter().map(|one| Duration::from_secs(*one)).collect::<Vec<_>>();
    let rate = |count, seconds| {
        Some(Rate {
            count: std::num::NonZeroU32::new(count).expect("not 0"),
            per: Duration::from_secs(seconds),
        })
    };
    assert_eq!(read(""), (0, seconds(&[10, 30, 60, 300, 900]), None), "a new profile");
    for (keys, expected) in [
        ("", (false, false, 0)),
        ("retry_after = true\n", (true, false, 0)),
        ("gone_disables = true\n", (false, true, 0)),
        ("disable_after = 7\n", (false, false, 7)),
    ] {
        let config = valid(&(endpoint("profile = 'a'\n") + "[profiles.a]\n" + keys));
        let profile = config.endpoints[0].form.profile();
        assert_eq!((profile.retry_after, profile.gone_disables, profile.disable_after), expected, "{keys}");
    }
    for (keys, fifo) in [("", false), ("order = 'none'\n", false), ("order = 'fifo'\n", true)] {
        let config = valid(&(endpoint("profile = 'a'\n") + "[profiles.a]\n" + keys));
        assert_eq!(config.endpoints[0].form.profile().fifo, fifo, "{keys}");
    }
    assert_eq!(read("circuit = 3\nprobe = ['1s', '2s']\n"), (3, seconds(&[1, 2]), None));
    for (text, expected) in [("1/s", rate(1, 1)), ("30/m", rate(30, 60)), ("100000/h", rate(100_000, 3_600))]
    {
        assert_eq!(read(&format!("rate = '{text}'\n")).2, expected, "{text}");
    }
    for name in ["posthaste", "raw", "transcodely"] {
        let config = valid(&endpoint(&format!("profile = '{name}'\n")));
        let circuit = if name == "transcodely" { 0 } else { 10 };
        assert_eq!(config.endpoints[0].form.profile().circuit, circuit, "{name}");
    }
    for (value, message) in [
        ("'0/s'", "is out of bounds"),
        ("'100001/s'", "is out of bounds"),
        ("'99999999999999999999/s'", "is out of bounds"),
        ("'1'", "is not a rate"),
        ("'/s'", "is not a rate"),
        ("'+1/s'", "is not a rate"),
        ("'1/d'", "is not a rate"),
        ("'1 / s'", "is not a rate"),
        ("100", "cannot be an integer"),
    ] {
        let (at, said, help) = marked(&format!("[profiles.a]\nrate = {value}"));
        assert_eq!(at, value);
        assert!(said.starts_with("`profiles.a.rate` ") && said.ends_with(message), "{value}: {said}");
        assert!(help.contains("\"100/s\""), "{help}");
    }
    let (_, said, _) = marked("[profiles.a]\ncircuit = -1");
    assert_eq!(said, "`profiles.a.circuit` is out of bounds");
}

#[test]
fn endpoints() {
    for (changes, place, message, help) in [
        (
            "url = 'erp.example'",
            "'erp.example'",
            "`endpoint.url` is not a URL: relative URL without a base",
            "https://",
        ),
        (
            "url = 'ftp://erp.example'",
            "'ftp://erp.example'",
            "`endpoint.url` is neither http nor https",
            "https://",
        ),
        ("url = 'https://'", "'https://'", "`endpoint.url` is not a URL: empty host", "https://"),
        ("url = 'https://a/#b'", "'https://a/#b'", "`endpoint.url` has a fragment", "#"),
        ("url = 'https://a:0/'", "'https://a:0/'", "`endpoint.url` has the port 0", "port"),
        (
            "url = 'https:/a/'",
            "'https:/a/'",
            "`endpoint.url` has not two slashes behind its scheme, and then its host",
            "https://",
        ),
        ("url = 'https://a/b c'", "'https://a/b c'", "`endpoint.url` has a space in it", "%20"),
        (
            "url = 'https://a~b/'",
            "'https://a~b/'",
            "`endpoint.url` has a host that is no name or address",
            "labels",
        ),
        (
            "url = 'https://bücher.example/'",
            "'https://bücher.example/'",
            "`endpoint.url` has a host with letters beyond ASCII",
            "punycode",
        ),
        ("event_types = []", "[]", "`endpoint.event_types` is empty", "[\"*\"]"),
        (
            "event_types = ['a', '.b']",
            "'.b'",
            "`endpoint.event_types` has an entry that is no pattern",
            "empty segment",
        ),
        ("event_types = [7]", "7", "`endpoint.event_types` has an entry that is no string", "video.media.*"),
        ("name = 'a b'", "'a b'", "`endpoint.name` is not a name", "1 to 64"),
        (
            "profile = 'transcodly'",
            "'transcodly'",
            "`endpoint.profile` names an unknown profile",
            "did you mean `transcodely`?",
        ),
        ("account = 'tenant'", "'tenant'", "`endpoint.account` names an unknown account", "[accounts.NAME]"),
        (
            "secret = '@file:x'",
            "\"…\"",
            "`endpoint.secret` begins with `@` but names no credential",
            "@credential:NAME",
        ),
        (
            "secret = '@credential:../x'",
            "'@credential:../x'",
            "`endpoint.secret` names no credential",
            "file's name",
        ),
        ("secret = ''", "\"…\"", "`endpoint.secret` is empty", "@credential:NAME"),
        (
            "secret = 'opensesame'",
            "\"…\"",
            "`endpoint.secret` does not fit its profile",
            "(profile `posthaste`)",
        ),
        ("headers = { Host = 'x' }", "Host", "`Host` cannot be a header here", "leave it out"),
        ("headers = { 'a b' = 'x' }", "'a b'", "`a b` cannot be a header here", "characters"),
        ("headers = { a = 'x', A = 'x' }", "A", "the header `A` is there twice", "case does not count"),
        (
            "headers = { a = \"x\\ny\" }",
            "\"…\"",
            "`endpoint.headers` has a value that no header can carry",
            "line ends",
        ),
        ("headers = { a = 5 }", "\"…\"", "`endpoint.headers` cannot be an integer", "a secret"),
        ("headers = 5", "headers", "`endpoint.headers` is a section, not an integer", "[endpoint.headers]"),
    ] {
        let (at, said, advice) = marked(&endpoint(changes));
        assert_eq!((at.as_str(), said.as_str()), (place, message), "{changes}");
        assert!(advice.contains(help), "{changes}: {advice}");
    }
}

#[test]
fn a_secret_is_asked_for_where_one_is_needed() {
    let bare = |profile: &str| {
        format!("[[endpoint]]\nname = 'a'\nurl = 'http://a/'\nevent_types = ['*']\nprofile = '{profile}'\n")
    };
    let (at, message, help) = marked(&bare("raw"));
    assert_eq!((at.as_str(), message.as_str()), ("[[endpoint]]", "`endpoint.secret` is missing"));
    assert_eq!(help, "add `secret = \"@credential:NAME\"`: the profile `raw` signs");

    let unsigned = "[profiles.p.signature]\nalgorithm = 'none'\n";
    let config = valid(&(unsigned.to_owned() + &bare("p")));
    assert!(config.endpoints[0].secret.is_none());
    assert_eq!(
        header_names(&config.endpoints[0].form),
        ["webhook-id", "webhook-timestamp"],
        "signatures are left out"
    );

    let shown = unsigned.to_owned() + "[profiles.p.headers]\nAuthorization = 'Bearer {secret}'\n";
    let (_, message, help) = marked(&(shown.clone() + &bare("p")));
    assert_eq!(message, "`endpoint.secret` is missing");
    assert!(help.ends_with("the profile `p` sends a secret"), "{help}");
    let (at, message, _) = marked(&(shown.clone() + &bare("p") + "secret = \"a\\nb\"\n"));
    assert_eq!(
        (at.as_str(), message.as_str()),
        ("\"…\"", "`endpoint.secret` has a value that no header can carry")
    );
    let config = valid(&(shown + &bare("p") + "secret = 'anything goes'\n"));
    assert_eq!(config.endpoints[0].secret.as_ref().map(Secret::expose), Some("anything goes"));
}

#[test]
fn errors_in_profiles_point_into_the_text() {
    let template = "[profiles.a.body]\nformat = 'template'\n";
    for (text, place, message, help) in [
        (
            "[profiles.a.signature]\nsigned = '{body}.{timestmp}'".to_owned(),
            "{timestmp}",
            "`profiles.a.signature.signed` cannot be used",
            "{timestamp}",
        ),
        (
            "[profiles.a.signature]\nsigned = '{signature}'".to_owned(),
            "{signature}",
            "`profiles.a.signature.signed` cannot be used",
            "",
        ),
        (
            "[profiles.a.signature]\neach = 'v1'".to_owned(),
            "'v1'",
            "`profiles.a.signature.each` cannot be used",
            "{signature}",
        ),
        (
            "[profiles.a.signature]\njoin = '{body}'".to_owned(),
            "{body}",
            "`profiles.a.signature.join` cannot be used",
            "",
        ),
        (
            "[profiles.a.headers]\nX-A = 'a{'".to_owned(),
            "{",
            "`profiles.a.headers.X-A` cannot be used",
            "not closed",
        ),
        (
            "[profiles.a.headers]\nX-A = \"\\u0061{\"".to_owned(),
            "\"\\u0061{\"",
            "`profiles.a.headers.X-A` cannot be used",
            "not closed",
        ),
        (
            "[profiles.a.headers]\nHost = 'a'".to_owned(),
            "Host",
            "`profiles.a.headers.Host` cannot be used",
            "leave it out",
        ),
        (
            "[profiles.a.headers]\n'X A' = 'a'".to_owned(),
            "'X A'",
            "`profiles.a.headers.X A` cannot be used",
            "header's name",
        ),
        (
            format!("{template}template = '''\n{{\n  \"a\": {{{{ dta }}}} }}'''"),
            "dta",
            "`profiles.a.body.template` cannot be used",
            "did you mean data?",
        ),
        (
            format!("{template}template = '''\n{{\n  {{% if %}} }}'''"),
            "{% if %} }",
            "`profiles.a.body.template` cannot be used",
            "",
        ),
        (
            format!("{template}template = '{{{{ data | to_json }}}}'"),
            "{{ data | to_json }}",
            "`profiles.a.body.template` cannot be used",
            "tojson",
        ),
        (
            template.to_owned(),
            "[profiles.a.body]",
            "`profiles.a.body.template` is missing",
            "add `template = …`",
        ),
        (
            "[profiles.a.body]\ntemplate = 'x'".to_owned(),
            "'x'",
            "`profiles.a.body.template` is not used",
            "format = \"template\"",
        ),
    ] {
        let (at, said, advice) = marked(&text);
        assert_eq!((at.as_str(), said.as_str()), (place, message), "{text}");
        assert!(advice.contains(help), "{text}: {advice}");
    }
}

#[test]
fn no_error_shows_a_secret() {
    const HIDDEN: &str = "tops3cret";
    for text in [
        "[[endpoint]]\nsecrt = 'tops3cret'\nsecret = 'tops3cret'",
        "[[endpoint]]\nheaders = { A = 'tops3cret', 'B C' = 'tops3cret' }",
        "[[endpoint]]\nheadres = { A = 'tops3cret', B = ['tops3cret'] }",
        "[[endpoint]]\nsecret = ['tops3cret']",
        "[[endpoint]]\nname = { secret = 'tops3cret' }",
        "[[endpoint]]\nurl = 'https://user:tops3cret@host/'",
        "endpoint = { secret = 'tops3cret' }",
        "endpoint = ['tops3cret']",
        "endpont = { secret = 'tops3cret' }",
        "endpont = [{ secret = 'tops3cret' }]",
        "accounts.default.secret = 'tops3cret'",
        "[[endpoint]]\nsecret = \"tops3cret",
        "[[endpoint]]\nsecret = tops3cret",
        "[[endpoint]]\nsecret = 'a' 'tops3cret'",
        "[[endpoint]]\nurl = 'https://a:tops3cret@b/",
        "[[endpoint]]\nheaders = { Authorization = 'tops3cret",
        "[[endpoint]]\nheaders.Authorization = 'tops3cret",
        "[[endpoint]]\nname = 'a', secret = 'tops3cret'",
        "[[endpoint]]\n'secret' = tops3cret",
        "[[endpoint]]\nheaders 'tops3cret', A = 'x'",
        "[[endpoint]]\nsecret 'tops3cret'",
        "[[endpoint]]\nsecret = [\n'tops3cret' 'x'\n]",
    ] {
        let shown = printed(text);
        assert!(!shown.contains(HIDDEN), "{shown}");
        assert!(!format!("{:?}", errors(text)).contains(HIDDEN), "{text}");
    }
}

#[test]
fn files_merge() {
    let base =
        "[store]\ncache = '32MiB'\n[network]\ndeny = ['10.0.0.0/8']\n[[spool]]\npath = 'one'\n[accounts.b]\n";
    let over = "[store]\ncache = '16MiB'\ndedup_entries = 7\n[network]\ndeny = ['192.0.2.0/24']\n[[spool]]\npath = 'two'\naccount = 'b'\n";
    let config =
        read(&[("/etc/posthaste/posthaste.toml", base), ("/etc/posthaste/conf.d/a.toml", over)], None)
            .expect("a configuration");
    assert_eq!((config.store.cache, config.store.dedup_entries), (16 << 20, 7), "the later file wins");
    assert_eq!(config.network.deny, ["192.0.2.0/24".parse().expect("a network")], "lists are values");
    let spools: Vec<_> = config.spools.iter().map(|s| (s.path.to_str(), s.account.as_str())).collect();
    let expected = [(Some("/etc/posthaste/one"), "default"), (Some("/etc/posthaste/two"), "b")];
    assert_eq!(spools, expected, "arrays of tables add up");
}

#[test]
fn the_same_name_twice_names_both_places() {
    let one = endpoint("");
    let files = [("/a.toml", one.as_str()), ("/conf.d/b.toml", one.as_str())];
    let expected = "\
error: two endpoints of the account `default` are named `erp`
 --> /conf.d/b.toml:2:8
  |
2 | name = \"erp\"
  |        ^^^^^ give one of them another name
  = the first is at /a.toml:2:8

1 error in the configuration";
    assert_eq!(read(&files, None).expect_err("twice").to_string(), expected);
    let other = format!("[accounts.b]\n{}", endpoint("account = 'b'"));
    let config = read(&[("/a.toml", &one), ("/b.toml", &other)], None).expect("names are the account's");
    assert_eq!(config.endpoints.len(), 2);
    let (at, message, _) = marked("[[spool]]\npath = 'a'\n[[spool]]\npath = './/a'\n");
    assert_eq!((at.as_str(), message.as_str()), ("'.//a'", "two spools have the same directory"));
}

#[test]
fn two_names_of_one_directory() {
    let place = tempfile::tempdir().expect("a directory");
    let place = place.path().canonicalize().expect("it is there");
    std::fs::create_dir_all(place.join("real/spool")).expect("directories");
    std::os::unix::fs::symlink("real", place.join("link")).expect("a link");
    std::os::unix::fs::symlink("real/spool", place.join("spool")).expect("a link");
    let spools = |first: &str, second: &str| {
        let path =
            |name: &str| place.join(name).display().to_string() + if name.ends_with('/') { "/" } else { "" };
        format!("[[spool]]\npath = '{}'\n[[spool]]\npath = '{}'\n", path(first), path(second))
    };
    for (first, second, real) in [
        ("real/spool", "link/spool", "real/spool"),
        ("spool", "link/spool/", "real/spool"),
        // Neither is there yet.
        ("real/new/a", "link/new/a", "real/new/a"),
        ("link/a", "./link/./a", "real/a"),
    ] {
        let (_, message, _) = marked(&spools(first, second));
        let expected = format!("two spools have the same directory: {}", place.join(real).display());
        assert_eq!(message, expected, "{first} {second}");
    }
    let (_, message, _) = marked(&spools("real/spool", "real/spool/"));
    assert_eq!(message, "two spools have the same directory");
    for (first, second) in [("spool", "real/spool/failed"), ("link/spool/done", "spool")] {
        assert_eq!(marked(&spools(first, second)).1, "a spool is in another's `failed/` or `done/`");
    }
    assert_eq!(valid(&spools("real/spool", "real/failed")).spools.len(), 2);
}

#[test]
fn what_becomes_of_spool_files() {
    let config = valid("[[spool]]\npath = '/s'\nafter = 'keep'\nrescan = '2s'");
    assert_eq!((config.spools[0].after, config.spools[0].rescan), (After::Keep, Duration::from_secs(2)));
    assert!(
        describe(&config).contains("(account default, files are kept in done/)"),
        "{}",
        describe(&config)
    );
    for (keys, message) in [
        ("after = 'move'", "`spool.after` has an unknown value"),
        ("rescan = '999ms'", "`spool.rescan` is out of bounds"),
    ] {
        assert_eq!(marked(&format!("[[spool]]\npath = '/s'\n{keys}")).1, message);
    }
}

#[test]
fn built_in_profiles() {
    let config = valid(&endpoint(""));
    let posthaste = config.endpoints[0].form.profile();
    assert_eq!(posthaste.retry.len(), 10);
    assert_eq!(posthaste.retry.iter().sum::<Duration>(), Duration::from_secs(75 * 3600 + 35 * 60 + 5));
    assert_eq!(posthaste.signature.key, KeyForm::Whsec);
    assert_eq!(posthaste.signature.encoding, Encoding::Base64);
    assert_eq!(posthaste.body, BodyRule::Envelope);
    assert_eq!(
        header_names(&config.endpoints[0].form),
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
    );

    let config = valid(&endpoint("profile = 'raw'"));
    let raw = config.endpoints[0].form.profile();
    assert_eq!(
        (&raw.body, &raw.signature, &raw.retry),
        (&BodyRule::Raw, &posthaste.signature, &posthaste.retry)
    );

    let alone = valid(&endpoint("profile = 'transcodely'"));
    let printed = valid(&(endpoint("profile = 'transcodely'\n") + PRINTED));
    assert_eq!(
        alone.endpoints[0].form.profile(),
        printed.endpoints[0].form.profile(),
        "the printed block changes nothing"
    );
}

#[test]
fn a_key_of_ed25519_is_no_text() {
    for (text, place) in [
        ("[profiles.transcodely.signature]\nalgorithm = 'ed25519'", "'ed25519'"),
        ("[profiles.a.signature]\nalgorithm = 'ed25519'\nkey = 'utf8'", "'utf8'"),
    ] {
        let (at, message, help) = marked(text);
        assert_eq!(at, place, "{text}");
        assert!(message.ends_with(".signature.key` cannot be used"), "{message}");
        assert!(help.contains("key = \"whsec\""), "{help}");
    }
    let (at, _, help) =
        marked("[profiles.a.signature]\nalgorithm = 'ed25519'\n[profiles.a.headers]\nA = 'Bearer {secret}'");
    assert_eq!(at, "{secret}");
    assert!(help.contains("private key"), "{help}");
    let secret = "profile = 'a'\nsecret = 'whpk_AAAA'\n";
    let (_, message, help) = marked(&(endpoint(secret) + "[profiles.a.signature]\nalgorithm = 'ed25519'\n"));
    assert!(message.contains("does not fit its profile"), "{message}");
    assert!(help.contains("public key") && !help.contains("AAAA"), "{help}");
}

#[test]
fn the_providers_profiles() {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 3_600;
    let as_posthaste =
        [0, 5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR];
    let hour_at_most = [0, MINUTE, 10 * MINUTE, HOUR];
    let half_a_day_at_most = [0, MINUTE, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 12 * HOUR];
    let config = valid("");
    for (name, timeout, jitter, retry, statuses) in [
        ("cloudglue", 30, 0.0, hour_at_most.as_slice(), [200, 200]),
        ("elai", 10, 0.1, &as_posthaste, [200, 299]),
        ("fastpix", 30, 0.1, &as_posthaste, [200, 299]),
        ("omegastream", 30, 0.1, &as_posthaste, [200, 299]),
        ("transcodely", 30, 0.0, &half_a_day_at_most, [200, 299]),
    ] {
        let profile = config.forms[name].profile();
        assert_eq!(profile.timeout, Duration::from_secs(timeout), "{name}");
        assert!((profile.jitter - jitter).abs() < f64::EPSILON, "{name}");
        let delays: Vec<_> = profile.retry.iter().map(Duration::as_secs).collect();
        assert_eq!(delays, retry, "{name}");
        let taken: Vec<_> = (100..600).filter(|status| profile.is_success(*status)).collect();
        assert_eq!([taken[0], taken[taken.len() - 1]], statuses, "{name}");
    }
    let [fastpix, posthaste] = ["fastpix", "posthaste"].map(|name| config.forms[name].profile());
    assert_eq!(&Profile { name: "posthaste".to_owned(), ..fastpix.clone() }, posthaste, "but for its name");
}

#[test]
fn profiles_of_the_configuration() {
    let config = valid(
        &(endpoint("profile = 'transcodely'\n")
            + "[profiles.transcodely]\ntimeout = '5s'\n[profiles.transcodely.headers]\nx-transcodely-timestamp = '{timestamp_ms}'\nX-More = '1'\n[profiles.transcodely.body]\nformat = 'raw'\n"),
    );
    let form = &config.endpoints[0].form;
    assert_eq!(form.profile().timeout, Duration::from_secs(5));
    assert_eq!(form.profile().retry.len(), 6, "what is not given stays");
    assert_eq!(form.profile().body, BodyRule::Raw, "the template that is not used any more is no error");
    let names = ["x-transcodely-signature", "x-transcodely-delivery-id", "x-transcodely-timestamp", "x-more"];
    assert_eq!(header_names(form), names);

    let config = valid(&(endpoint("profile = 'mine'\n") + "[profiles.mine.signature]\nencoding = 'hex'\n"));
    let mine = config.endpoints[0].form.profile();
    assert_eq!((mine.name.as_str(), mine.retry.len(), mine.concurrency), ("mine", 6, 16));
    assert_eq!((mine.timeout, mine.expire), (Duration::from_secs(30), Duration::from_secs(14 * 86_400)));
    assert!(mine.jitter.abs() < f64::EPSILON);
    assert_eq!(mine.success, Success::Class2xx);
    assert_eq!((mine.signature.encoding, mine.signature.key), (Encoding::Hex, KeyForm::Whsec));
    assert_eq!(mine.body, BodyRule::Envelope);
    assert_eq!(mine.headers.len(), 3, "the headers of posthaste");

    let ed25519 = |keys: &str| {
        let secret = format!("secret = 'whsk_{}='\nprofile = 'mine'\n", "A".repeat(43));
        let text = endpoint(&secret) + "[profiles.mine.signature]\nalgorithm = 'ed25519'\n" + keys;
        valid(&text).endpoints[0].form.profile().signature.clone()
    };
    let signature = ed25519("");
    assert_eq!((signature.algorithm, signature.key), (Algorithm::Ed25519, KeyForm::Whsec));
    assert_eq!(signature.each, "v1a,{signature}", "the version of Standard Webhooks for it");
    assert_eq!(ed25519("each = 'v1,{signature}'\n").each, "v1,{signature}", "what is written stays");

    let own = endpoint("profile = 'own'\n") + "[profiles.own.headers]\nZ = '1'\nA = '{signature}'\n";
    assert_eq!(header_names(&valid(&own).endpoints[0].form), ["z", "a"], "its own headers, as written");
}

fn header_names(form: &Form) -> Vec<&str> {
    form.headers().iter().map(|header| header.name.as_str()).collect()
}

#[test]
fn everything_that_is_written_arrives() {
    let credentials = tempfile::tempdir().expect("a directory");
    fs::write(credentials.path().join("erp-secret"), "s3cret\n").expect("written");
    let config = read(&[(FILE, FULL)], Some(credentials.path())).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(config.store.path, Path::new("/etc/posthaste/outbox.redb"));
    assert_eq!(config.listen.socket_mode, 0o660);
    assert_eq!(config.limits.batch_events, 10_000);
    assert_eq!(config.network.allow[1].to_string(), "192.0.2.7/32");
    assert_eq!(config.accounts.keys().map(AccountName::as_str).collect::<Vec<_>>(), ["default", "tenant-2"]);
    let (default, tenant) = (AccountName::default(), "tenant-2".parse().expect("an account"));
    let (first, second) = (&config.accounts[&default], &config.accounts[&tenant]);
    assert_eq!((first.https_only, &first.narrowing), (true, &Narrowing::default()));
    let net = |text: &str| vec![text.parse().expect("a network")];
    let narrowing = Narrowing::new(Some(net("10.7.0.0/16")), net("10.7.7.7/32"));
    assert_eq!((second.https_only, &second.narrowing), (false, &narrowing));
    let open = |account, address: &str| {
        let scope = config.rules().scope(Stance::Outside, account);
        scope.check(address.parse().expect("an address")).is_ok()
    };
    assert!(open(&default, "10.8.0.1") && !open(&tenant, "10.8.0.1"));
    assert!(open(&tenant, "10.7.0.1") && !open(&tenant, "10.7.7.7"));
    let [erp, log] = config.endpoints.as_slice() else { panic!("two endpoints") };
    assert_eq!(erp.secret.as_ref().map(Secret::expose), Some("s3cret"));
    assert_eq!(erp.missing_credentials, ["erp-token"]);
    let headers: Vec<_> = erp.headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(headers, [("x-box", "seven")]);
    assert_eq!(erp.form.profile().timeout, Duration::from_secs(5));
    assert_eq!(log.form.profile().signature.algorithm, Algorithm::None, "the account's profile");
    assert_eq!(log.form.profile().success, Success::Codes(vec![200, 202]));
    assert_eq!(log.event_types.len(), 2);

    let expected = "\
socket    /run/posthaste/posthaste.sock (mode 0660)
store     /etc/posthaste/outbox.redb (cache 64MiB)
spool     /var/spool/posthaste (account default)
spool     /etc/posthaste/spool/second (account tenant-2)
allow     10.0.0.0/8, 192.0.2.7/32
deny      fd00::/8
account   default (profile posthaste)
account   tenant-2 (profile plain)
endpoint  default/erp https://erp.example/hooks (profile transcodely, 1 pattern)
          disabled, credentials missing: erp-token
endpoint  tenant-2/log http://127.0.0.1:8080/?from=box (profile plain, 2 patterns)
";
    assert_eq!(describe(&config), expected);
    assert!(!format!("{config:?}").contains("s3cret"));
}

#[test]
fn credentials() {
    let directory = tempfile::tempdir().expect("a directory");
    let text = endpoint("secret = '@credential:erp'");
    let with = || read(&[(FILE, &text)], Some(directory.path()));
    let missing = valid(&text);
    assert!(missing.endpoints[0].secret.is_none());
    assert_eq!(missing.endpoints[0].missing_credentials, ["erp"], "no directory");
    assert_eq!(with().expect("no error").endpoints[0].missing_credentials, ["erp"], "no file");

    for (content, secret) in
        [(format!("{SECRET}\n"), SECRET), (format!("{SECRET}\r\n"), SECRET), (SECRET.to_owned(), SECRET)]
    {
        fs::write(directory.path().join("erp"), content).expect("written");
        let config = with().unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.endpoints[0].secret.as_ref().map(Secret::expose), Some(secret));
        assert!(config.endpoints[0].missing_credentials.is_empty());
    }
    for (content, message) in [
        (&b"\n"[..], "`endpoint.secret` names the credential `erp`, which is empty"),
        (b"\xff\xfe", "`endpoint.secret` names the credential `erp`, which is not UTF-8"),
        (b"opensesame", "`endpoint.secret` does not fit its profile"),
    ] {
        fs::write(directory.path().join("erp"), content).expect("written");
        let errors = with().expect_err("a bad credential");
        assert_eq!(errors.errors()[0].message, message);
        assert!(!errors.to_string().contains("opensesame"), "{errors}");
    }
}

/// A certificate and its key, in PEM.
fn certificate() -> (String, String) {
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(vec!["box.example".to_owned()]).expect("parameters");
    (params.self_signed(&key).expect("a certificate").pem(), key.serialize_pem())
}

#[test]
fn certificates_besides_the_system_s() {
    let directory = tempfile::tempdir().expect("a directory");
    let (file, bundle) = (directory.path().join("posthaste.toml"), directory.path().join("ca.pem"));
    fs::write(&file, "[network]\nca_bundle = 'ca.pem'\ntls_min = '1.3'").expect("written");
    let said = || {
        let errors = load_with(&file, None).expect_err("no bundle");
        assert!(errors.to_string().contains("ca_bundle = 'ca.pem'"), "{errors}");
        errors.errors()[0].message.clone()
    };
    assert!(said().starts_with("`network.ca_bundle` names a file that cannot be read: No such file"));
    let (certificate, key) = certificate();
    for (text, message) in [
        (key, "`network.ca_bundle` names a file that has no certificate in it"),
        (String::new(), "`network.ca_bundle` names a file that has no certificate in it"),
        (certificate.replace("END", "AND"), "`network.ca_bundle` names a file that is not PEM"),
    ] {
        fs::write(&bundle, text).expect("written");
        assert_eq!(said(), message);
    }
    fs::write(&bundle, format!("{certificate}{certificate}")).expect("written");
    let network = load_with(&file, None).unwrap_or_else(|errors| panic!("{errors}")).network;
    assert_eq!((network.ca_bundle.len(), network.tls_min), (2, TlsVersion::V1_3));
    let (at, message, help) = marked("[network]\ntls_min = '1.1'");
    assert_eq!((at.as_str(), message.as_str()), ("'1.1'", "`network.tls_min` has an unknown value"));
    assert!(help.contains("1.2, 1.3"), "{help}");
}

#[test]
fn what_an_endpoint_is_shown() {
    let directory = tempfile::tempdir().expect("a directory");
    let ((certificate, key), (_, other)) = (certificate(), certificate());
    for (name, text) in [("cert", &certificate), ("key", &key), ("other", &other)] {
        fs::write(directory.path().join(name), text).expect("written");
    }
    let both = |certificate: &str, key: &str| {
        let keys = endpoint(&format!("client_certificate = {certificate}\nclient_key = {key}"));
        read(&[(FILE, &keys)], Some(directory.path()))
    };
    let (written, written_key) = (format!("'''\n{certificate}'''"), format!("'''\n{key}'''"));
    for (certificate, key) in [
        ("'@credential:cert'", "'@credential:key'"),
        (&*written, "'@credential:key'"),
        (&*written, &*written_key),
    ] {
        let config = both(certificate, key).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.endpoints[0].identity.is_some() && config.endpoints[0].missing_credentials.is_empty());
    }
    let config = both("'@credential:none'", "'@credential:nought'").expect("they may come");
    assert_eq!(config.endpoints[0].missing_credentials, ["none", "nought"]);
    assert!(config.endpoints[0].identity.is_none());
    for (certificate, key, message, help) in [
        ("'@credential:cert'", "'@credential:other'", "client_key` cannot be used", "does not belong"),
        ("'@credential:key'", "'@credential:key'", "client_certificate` cannot be used", "no certificate"),
        ("'@credential:cert'", "'opensesame'", "client_key` cannot be used", "no private key"),
        ("'opensesame'", "'@credential:key'", "client_certificate` cannot be used", "no certificate"),
    ] {
        let errors = both(certificate, key).expect_err("no identity");
        assert_eq!(errors.errors()[0].message, format!("`endpoint.{message}"));
        assert!(errors.errors()[0].help.contains(help), "{errors}");
        assert!(!errors.to_string().contains("opensesame"), "{errors}");
    }
}

#[test]
fn what_of_tls_cannot_be() {
    let (alone, no_name) = ("is there without", "server_name` is neither a name nor an address");
    for (keys, message) in [
        ("client_certificate = '@credential:a'", format!("client_certificate` {alone} `client_key`")),
        ("client_key = '@credential:a'", format!("client_key` {alone} `client_certificate`")),
        ("server_name = 'erp example'", no_name.to_owned()),
        ("server_name = 'https://erp.example'", no_name.to_owned()),
        ("server_name = ''", no_name.to_owned()),
    ] {
        let (place, said, _) = marked(&endpoint(keys));
        let value = keys.split_once(" = ").map(|(_, value)| value);
        assert_eq!((value, said), (Some(&*place), format!("`endpoint.{message}")));
    }
    let text = endpoint("server_name = 'erp.example'");
    assert!(valid(&text).endpoints[0].server_name.is_some());
    let (at, message, _) = marked(&text.replace("https://", "http://"));
    assert_eq!(
        (at.as_str(), message.as_str()),
        ("'erp.example'", "`endpoint.server_name` is for https alone")
    );
}

#[test]
fn a_proxy() {
    let directory = tempfile::tempdir().expect("a directory");
    fs::write(directory.path().join("user"), "box:opensesame\n").expect("written");
    let network = |keys: &str| {
        let config = read(&[(FILE, &format!("[network]\n{keys}"))], Some(directory.path()));
        config.unwrap_or_else(|errors| panic!("{errors}")).network
    };
    let proxy = network("proxy = 'http://box:opensesame@proxy.example:3128'").proxy.expect("a proxy");
    assert_eq!(proxy.to_string(), "proxy.example:3128");
    let named = network("proxy = 'http://proxy.example:3128'\nproxy_authorization = '@credential:user'");
    assert_eq!(named.proxy, Some(proxy));
    let missing = network("proxy = 'http://proxy.example'\nproxy_authorization = '@credential:none'");
    assert_eq!(missing.proxy.expect("a proxy").authorization, None);
    let direct = network("proxy = 'http://proxy.example'\nno_proxy = ['.intra', '10.0.0.0/8', '*']");
    assert_eq!(direct.proxy.expect("a proxy").direct.len(), 3);
    assert_eq!(network("no_proxy = ['*']").proxy, None);
    for (keys, message) in [
        (
            "proxy = 'https://box:opensesame@proxy.example'",
            "proxy` has a scheme that no proxy is spoken with here",
        ),
        ("proxy = 'http://box:opensesame@proxy.example/x'", "proxy` has something behind host and port"),
        ("proxy = 'http://proxy.example'\nno_proxy = ['a b']", "no_proxy` has an entry that is no host"),
        ("proxy_authorization = 'opensesame'", "proxy_authorization` is no user and password"),
        (
            "proxy = 'http://box:opensesame@proxy.example'\nproxy_authorization = '@credential:user'",
            "proxy_authorization` is there besides the user in `network.proxy`",
        ),
    ] {
        let errors = read(&[(FILE, &format!("[network]\n{keys}"))], Some(directory.path())).expect_err(keys);
        assert_eq!(errors.errors()[0].message, format!("`network.{message}"));
        assert!(!errors.to_string().contains("opensesame"), "{errors}");
    }
}

#[test]
fn what_is_not_written() {
    let config = valid("");
    assert_eq!(config.listen.socket, Path::new("/run/posthaste/posthaste.sock"));
    assert_eq!(config.listen.socket_mode, 0o660);
    let store = Store {
        path: PathBuf::from("/var/lib/posthaste/outbox.redb"),
        cache: 64 << 20,
        settle_delay: Duration::from_millis(20),
        dedup_window: Duration::from_secs(86_400),
        dedup_entries: 500_000,
        quick_repair: false,
        max_size: 8 << 30,
        reserve: 64 << 20,
        retention: Ages { succeeded: 7 * DAY, failed: 30 * DAY },
    };
    assert_eq!(config.store, store);
    assert_eq!(
        retention(config.store.retention, config.accounts.iter()),
        Retention { ages: store.retention, accounts: HashMap::new() }
    );
    let limits = Limits {
        connections_per_uid: 256,
        connections_per_address: 64,
        event_size: 1 << 20,
        batch_size: 16 << 20,
        batch_events: 10_000,
        file_size: 64 << 20,
        file_events: 100_000,
        pending_per_endpoint: 1_000_000,
        in_flight: 512,
        in_flight_bytes: 64 << 20,
        keys_in_memory: 4_000_000,
    };
    assert_eq!(config.limits, limits);
    let network = Network {
        allow: Vec::new(),
        deny: Vec::new(),
        ca_bundle: Vec::new(),
        tls_min: TlsVersion::V1_2,
        proxy: None,
        require_clock: true,
    };
    assert_eq!(config.network, network);
    assert!(config.spools.is_empty() && config.endpoints.is_empty());
    let accounts: Vec<_> = config
        .accounts
        .iter()
        .map(|(n, a)| (n.as_str(), a.form.as_ref().expect("it is there").profile().name.as_str()))
        .collect();
    assert_eq!(accounts, [("default", "posthaste")]);

    let config = defaults(Path::new("./posthaste-data"));
    assert_eq!(config.listen.socket, Path::new("./posthaste-data/posthaste.sock"));
    assert_eq!(config.store.path, Path::new("./posthaste-data/outbox.redb"));
    let spool = Spool::by_default(PathBuf::from("./posthaste-data/spool"));
    assert_eq!(config.spools, [spool]);
    assert_eq!(valid("[[spool]]\npath = '/s'\n").spools, [Spool::by_default(PathBuf::from("/s"))]);
    assert_eq!(config.limits, limits);
}

#[test]
fn how_long_events_are_kept() {
    let config = valid(
        "[store]\nretention = '1s'\n[accounts.acme]\nretention_failed = '365d'\n[accounts.b]\nretention = '1s'\n",
    );
    let ages = Ages { succeeded: Duration::from_secs(1), failed: 30 * DAY };
    let acme = ("acme".parse().expect("a name"), Ages { failed: 365 * DAY, ..ages });
    assert_eq!(
        retention(config.store.retention, config.accounts.iter()),
        Retention { ages, accounts: [acme].into() }
    );
    for (text, place) in [
        ("[store]\nretention = '0s'", "'0s'"),
        ("[store]\nretention_failed = '366d'", "'366d'"),
        ("[accounts.acme]\nretention = '0s'", "'0s'"),
    ] {
        let (at, message, help) = marked(text);
        assert_eq!(at, place, "{text}");
        assert!(
            message.contains("is out of bounds") && help.contains("from 1s to 365d"),
            "{message}: {help}"
        );
    }
}

#[test]
fn cloudevents() {
    let rule = |keys: &str| {
        let config = valid(&format!("[profiles.a.body]\nformat = 'cloudevents'\n{keys}"));
        config.forms["a"].profile().body.clone()
    };
    let expected =
        |mode, source: &str| BodyRule::CloudEvents(CloudEventsRule { mode, source: source.to_owned() });
    assert_eq!(rule(""), expected(CloudEventsMode::Structured, "/posthaste/{account}"));
    assert_eq!(rule("mode = 'binary'\nsource = '/x'"), expected(CloudEventsMode::Binary, "/x"));
    for (text, place, message, help) in [
        (
            "format = 'cloudevents'\nsource = 'a b'",
            "'a b'",
            "`profiles.a.body.source` cannot be used",
            "URI reference",
        ),
        (
            "format = 'cloudevents'\nsource = '/{attempt}'",
            "{attempt}",
            "`profiles.a.body.source` cannot be used",
            "{account}",
        ),
        (
            "format = 'cloudevents'\nmode = 'both'",
            "'both'",
            "`profiles.a.body.mode` has an unknown value",
            "structured",
        ),
        ("format = 'raw'\nmode = 'binary'", "'binary'", "`profiles.a.body.mode` is not used", "cloudevents"),
        ("format = 'raw'\nsource = '/x'", "'/x'", "`profiles.a.body.source` is not used", "cloudevents"),
    ] {
        let (at, said, advice) = marked(&format!("[profiles.a.body]\n{text}"));
        assert!(at == place || at.contains(place), "{text}: {at}");
        assert_eq!(said, message, "{text}");
        assert!(advice.contains(help), "{text}: {advice}");
    }
}

#[test]
fn a_spool_s_type() {
    let spool = |keys: &str| format!("[[spool]]\npath = 's'\n{keys}\n");
    let config = valid(&spool("type = 'scan.finished'"));
    assert_eq!(config.spools[0].event_type.as_ref().map(EventType::as_str), Some("scan.finished"));
    assert!(describe(&config).contains("files of any kind as scan.finished"), "{}", describe(&config));
    let catalog = "[[accounts.default.event_type]]\nname = 'scan.finished'\n";
    for (text, at, said, advice) in [
        (spool("type = 'a..b'"), "'a..b'", "`spool.type` is no event type", "no empty segment"),
        (spool("type = 7"), "7", "`spool.type` cannot be an integer", ""),
        (
            catalog.to_owned() + &spool("type = 'scan.finishd'"),
            "'scan.finishd'",
            "`spool.type` is not in its account's catalog",
            "did you mean `scan.finished`?",
        ),
    ] {
        let (marked, message, help) = marked(&text);
        assert_eq!((marked.as_str(), message.as_str()), (at, said));
        assert!(help.contains(advice), "{text}: {help}");
    }
}

#[test]
fn catalogs() {
    let config = valid(
        "[[accounts.acme.event_type]]\nname = 'a.b'\ngroups = ['x', 'y']\n[[accounts.acme.event_type]]\nname = 'c'\neffect = 'none'\n",
    );
    assert!(config.accounts[&AccountName::default()].catalog.is_none(), "every type is taken");
    let acme: AccountName = "acme".parse().expect("a name");
    let catalog = config.accounts[&acme].catalog.as_ref().expect("a catalog");
    let all: Vec<_> =
        catalog.iter().map(|(name, entry)| (name.as_str(), entry.groups.len(), entry.effect)).collect();
    assert_eq!(all, [("a.b", 2, Effect::Live), ("c", 0, Effect::None)]);

    let in_catalog = |lines: &str| format!("[[accounts.default.event_type]]\n{lines}\n");
    for (text, place, message, help) in [
        (
            "name = 'a..b'",
            "'a..b'",
            "`accounts.default.event_type.name` is no event type",
            "no empty segment",
        ),
        (
            "name = 'a.*'",
            "'a.*'",
            "`accounts.default.event_type.name` is no event type",
            "only the characters",
        ),
        (
            "effect = 'none'",
            "[accounts.default.event_type]",
            "`accounts.default.event_type.name` is missing",
            "add `name",
        ),
        (
            "name = 'a'\ngroups = 'x'",
            "'x'",
            "`accounts.default.event_type.groups` cannot be a string",
            "list of texts",
        ),
        (
            "name = 'a'\ngroups = ['x', 7]",
            "7",
            "`accounts.default.event_type.groups` has an entry that cannot be",
            "",
        ),
        (
            "name = 'a'\neffect = 'nane'",
            "'nane'",
            "`accounts.default.event_type.effect` has an unknown value",
            "`none`",
        ),
        (
            "name = 'a'\n[[accounts.default.event_type]]\nname = 'a'",
            "'a'",
            "the catalog has the event type `a` twice",
            "groups of both",
        ),
    ] {
        let (at, said, advice) = marked(&in_catalog(text));
        assert!(at.contains(place) || place.contains(&at), "{text}: {at}");
        assert!(said.starts_with(message), "{text}: {said}");
        assert!(advice.contains(help), "{text}: {advice}");
    }
    let unknown =
        in_catalog("name = 'video.media.ready'") + &endpoint("event_types = ['video.*', 'vidio.*']\n");
    let (at, said, advice) = marked(&unknown);
    assert_eq!(
        (at.as_str(), said.as_str()),
        ("'vidio.*'", "`endpoint.event_types` has an entry that means no type of the account's catalog")
    );
    assert!(advice.contains("`video.*`"), "{advice}");
}

#[test]
fn every_default_of_the_table_is_valid() {
    // Each default, written out, is taken, in a section that has what it requires.
    for section in keys::SECTIONS {
        for key in section.keys {
            let keys::Fallback::Value(value) = key.fallback else { continue };
            let required = match section.path {
                "spool" => "path = 's'\n",
                "accounts.NAME.event_type" => "name = 'a.b'\n",
                "profiles.NAME.body" if key.name != "format" => "format = 'cloudevents'\n",
                _ => "",
            };
            let path = section.path.replace(keys::ANY, "default");
            let header = if section.repeated { format!("[[{path}]]") } else { format!("[{path}]") };
            let line = format!("{} = {value}\n", key.name);
            match section.path {
                "endpoint" => valid(&endpoint(&line)),
                _ => valid(&format!("{header}\n{required}{line}")),
            };
        }
    }
}

#[test]
fn a_socket_path_has_to_fit_its_address() {
    let (_, message, help) = marked(&format!("[listen]\nsocket = '/{}'\n", "x".repeat(107)));
    assert_eq!(message, "`listen.socket` is 108 bytes long");
    assert!(help.contains("at most 107 bytes"), "{help}");
    valid(&format!("[listen]\nsocket = '/{}'\n", "x".repeat(106)));
}

#[test]
fn files_are_read_in_name_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("posthaste.toml");
    let error = load_with(&file, None).expect_err("not there").to_string();
    assert!(error.starts_with("error: cannot read the file: "), "{error}");
    assert!(error.contains(file.to_str().expect("UTF-8")), "{error}");

    fs::write(&file, "[store]\ncache = '1MiB'\npath = 'x'\n").expect("written");
    assert_eq!(load_with(&file, None).expect("a configuration").store.path, directory.path().join("x"));
    let more = directory.path().join("conf.d");
    fs::create_dir(&more).expect("made");
    for (name, size) in
        [("20-b.toml", 3), ("10-a.toml", 2), (".hidden.toml", 9), ("30.toml.bak", 9), ("x", 9)]
    {
        fs::write(more.join(name), format!("[store]\ncache = '{size}MiB'\n")).expect("written");
    }
    assert_eq!(load_with(&file, None).expect("a configuration").store.cache, 3 << 20);

    fs::write(more.join("20-b.toml"), b"[store]\n# \xff\n").expect("written");
    let errors = load_with(&file, None).expect_err("not UTF-8");
    assert_eq!(errors.errors()[0].message, "line 2 is not UTF-8");
    assert_eq!(errors.errors()[0].file, more.join("20-b.toml"));
}

#[test]
fn no_text_makes_it_panic() {
    let pieces = [
        "[",
        "]",
        "[[",
        "]]",
        "{",
        "}",
        "=",
        "\"",
        "'",
        "'''",
        "\n",
        ",",
        ".",
        "#",
        "ä",
        "\u{0}",
        "\t",
        "\r\n",
        "-1",
        "99999999999999999999",
        "1e999",
        "nan",
        "true",
        "[]",
        "{}",
        "'@credential:'",
        "\"\\u0000\"",
        "profiles",
        "NAME",
        "endpoint",
        "store",
        "secret",
        "headers",
        "'{'",
        "'{{ a'",
        "2026-11-22",
        "= 5",
        "= ''",
        "= [{}]",
        "= {}",
    ];
    let text = FULL.to_owned() + PRINTED;
    for seed in 0..1500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let mut chars: Vec<char> = text.chars().collect();
        for _ in 0..rng.usize(1..6) {
            let at = rng.usize(..chars.len());
            let to = (at + rng.usize(..24)).min(chars.len());
            let piece = pieces[rng.usize(..pieces.len())];
            chars.splice(at..if rng.bool() { at } else { to }, piece.chars());
        }
        let mutated: String = chars.into_iter().collect();
        let outcome = std::panic::catch_unwind(|| match read(&[(FILE, &mutated)], None) {
            Ok(config) => describe(&config),
            Err(errors) => {
                assert!(!errors.errors().is_empty());
                errors.to_string()
            }
        });
        assert!(outcome.is_ok_and(|text| !text.is_empty()), "seed {seed}: {mutated}");
    }
}

#[test]
fn the_manuals_are_up_to_date() {
    for (name, written) in [("docs/configuration.md", manual()), ("docs/profiles.md", profiles())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        if env::var_os("POSTHASTE_BLESS").is_some() {
            fs::create_dir_all(path.parent().expect("docs/")).expect("a directory");
            fs::write(&path, &written).expect("written");
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            committed == written,
            "{name} is not what the table of keys and the profiles say: run POSTHASTE_BLESS=1 cargo test --lib config"
        );
    }
    let keys = manual();
    for section in keys::SECTIONS {
        assert!(keys.contains(section.path));
    }
}

/// Its placeholders and a template's variables are all there are.
#[test]
fn the_page_of_profiles_names_everything() {
    let page = profiles();
    for placeholder in Placeholder::ALL {
        assert!(page.contains(&format!("`{placeholder}`")), "{placeholder}");
    }
    for variable in VARIABLES {
        assert!(page.contains(&format!("`{variable}`")), "{variable}");
    }
}

/// What is found wrong with an endpoint later has its place, though the text is gone.
#[test]
fn an_endpoint_knows_where_it_stands() {
    let text = "# first\r\n[[endpoint]]\nurl = \"https://a.example/\"\nevent_types = [\"*\"]\nsecret = \"whsec_c2VjcmV0\"\nname = \"ä\"";
    let config = valid(&text.replace('ä', "a"));
    let error = config.endpoints[0].place.error("it is wrong".to_owned(), "change it");
    let at = error.position.as_ref().expect("a place");
    assert_eq!((at.line, at.column), (6, 8));
    let file = error.file.display();
    assert_eq!(error.to_string(), format!("error: it is wrong\n --> {file}:6:8\n  = change it\n"));
}
