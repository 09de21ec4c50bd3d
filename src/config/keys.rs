//! Every key of the configuration, once: its name, what it takes, its default and what it is for. The walker's known names, the readers' bounds and defaults, and `docs/configuration.md` all
//! come from this table.
//!
//! A section's path names its tables (`profiles.NAME.signature`); the segment `NAME`, or a key of that name,
//! stands for a name that the writer chooses.

use std::{ops::RangeInclusive, time::Duration};

use crate::model::time::{format_duration, format_size};

/// Stands for any name in a path, and for any key.
pub const ANY: &str = "NAME";

/// A table of the configuration.
#[derive(Clone, Debug)]
pub struct Section {
    /// Its path, segments joined with dots.
    pub path: &'static str,
    /// Whether it is an array of tables, written `[[path]]`.
    pub repeated: bool,
    /// What it is for.
    pub doc: &'static str,
    /// What it has.
    pub keys: &'static [Key],
}

/// A key of a [`Section`].
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name, or [`ANY`].
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// What holds when it is not given.
    pub fallback: Fallback,
    /// What it is for.
    pub doc: &'static str,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug)]
pub enum Fallback {
    /// Something else, in words.
    Else(&'static str),
    /// It has to be given.
    Required,
    /// This value, as written.
    Value(&'static str),
}

/// What a key takes.
#[derive(Clone, Debug)]
pub enum Kind {
    /// `true` or `false`.
    Boolean,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An event type.
    EventType,
    /// A duration within bounds.
    Duration(RangeInclusive<Duration>),
    /// A number from 0 to 1.
    Fraction,
    /// A list of hosts: names, suffixes, addresses, networks.
    Hosts,
    /// A whole number within bounds.
    Integer(RangeInclusive<u64>),
    /// Permissions of a file in octal.
    Mode,
    /// A name of 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    Name,
    /// A list of networks.
    Networks,
    /// A file's path.
    Path,
    /// A text in PEM, or where it is: kept as secret as a secret.
    Pem,
    /// A text with placeholders.
    Placeholders,
    /// Where a proxy is.
    Proxy,
    /// So many in a second, minute or hour.
    Rate,
    /// A list of 1 to 255 durations within bounds.
    Schedule(RangeInclusive<Duration>),
    /// A secret, or where it is.
    Secret,
    /// A host's name, or an address.
    ServerName,
    /// A size within bounds.
    Size(RangeInclusive<u64>),
    /// Which statuses are a success.
    Success,
    /// A template of the body.
    Template,
    /// So many bytes in a second, minute or hour, the size within bounds.
    Throughput(RangeInclusive<u64>),
    /// Any text.
    Text,
    /// A list of texts.
    Texts,
    /// A list of patterns over event types.
    TypePatterns,
    /// Where an endpoint is.
    Url,
}

impl Kind {
    /// Whether a value is a secret, unless it says where one is.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(self, Self::Pem | Self::Secret)
    }

    /// What a value of this kind has to be: `a size such as "64MiB", from 1MiB to 1TiB`.
    pub fn expected(&self) -> String {
        match self {
            Self::Boolean => "true or false".to_owned(),
            Self::Choice(words) => {
                let words: Vec<_> = words.iter().map(|word| format!("{word:?}")).collect();
                words.join(" or ")
            }
            Self::Duration(bounds) => format!("a duration such as \"30s\", {}", durations(bounds)),
            Self::EventType => {
                "an event type such as \"video.media.ready\", of 1 to 128 characters of A-Z a-z 0-9 . _ -"
                    .to_owned()
            }
            Self::Fraction => "a number from 0.0 to 1.0".to_owned(),
            Self::Hosts => "a list of hosts such as [\"erp.example\", \".intra\", \"10.0.0.0/8\"]".to_owned(),
            Self::Integer(bounds) => format!("a whole number from {} to {}", bounds.start(), bounds.end()),
            Self::Mode => "permissions in octal such as \"0660\"".to_owned(),
            Self::Name => "a name of 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned(),
            Self::Networks => "a list of networks such as [\"10.0.0.0/8\", \"fd00::/8\"]".to_owned(),
            Self::Path => "the path of a file or directory".to_owned(),
            Self::Pem => "\"@credential:NAME\", or a text in PEM".to_owned(),
            Self::Placeholders => "a text with placeholders such as \"{timestamp}.{body}\"".to_owned(),
            Self::Proxy => "a URL such as \"http://proxy.example:3128\"".to_owned(),
            Self::Rate => format!(
                "a rate such as \"100/s\", \"30/m\" or \"500/h\", from 1 to {MAX_RATE} in a second, minute or hour"
            ),
            Self::Schedule(bounds) => {
                format!(
                    "a list of 1 to 255 durations such as [\"0s\", \"1m\", \"1h\"], each {}",
                    durations(bounds)
                )
            }
            Self::Secret => "a secret, or \"@credential:NAME\"".to_owned(),
            Self::ServerName => "a name such as \"erp.example\", or an address".to_owned(),
            Self::Size(bounds) => format!(
                "a size such as \"64MiB\", from {} to {}",
                format_size(*bounds.start()),
                format_size(*bounds.end())
            ),
            Self::Success => "\"2xx\", or a list of status codes such as [200, 202]".to_owned(),
            Self::Template => {
                "a template such as '{\"type\": {{ type | tojson }}, \"data\": {{ data_json }}}'".to_owned()
            }
            Self::Throughput(bounds) => format!(
                "a size in a time such as \"10MiB/s\", \"100MiB/m\" or \"1GiB/h\", the size from {} to {}",
                format_size(*bounds.start()),
                format_size(*bounds.end())
            ),
            Self::Text => "a text".to_owned(),
            Self::Texts => "a list of texts such as [\"media\"]".to_owned(),
            Self::TypePatterns => {
                "a list of patterns such as [\"*\"] or [\"video.media.*\"], at least one".to_owned()
            }
            Self::Url => "a URL such as \"https://erp.example/hooks\"".to_owned(),
        }
    }
}

fn durations(bounds: &RangeInclusive<Duration>) -> String {
    format!("from {} to {}", format_duration(*bounds.start()), format_duration(*bounds.end()))
}

/// What a name in a table is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// A key.
    Key(&'static Key),
    /// A table, an array of tables or a table of such, with its path; the section is missing where only deeper ones have keys.
    Table(&'static str, Option<&'static Section>),
}

/// The section with exactly this path.
pub(super) fn section(path: &str) -> Option<&'static Section> {
    SECTIONS.iter().find(|section| section.path == path)
}

/// What `name` is in the table with the path `at` (`""`: the document).
pub(super) fn known(at: &str, name: &str) -> Option<Known> {
    let key = |name| section(at).and_then(|section| section.keys.iter().find(|key| key.name == name));
    let below = |name| below(at).find(|(segment, _)| *segment == name).map(|(_, path)| path);
    let table = |path| Known::Table(path, section(path));
    (key(name).map(Known::Key))
        .or_else(|| below(name).map(table))
        .or_else(|| key(ANY).map(Known::Key))
        .or_else(|| below(ANY).map(table))
}

/// The names of the table with the path `at`, as they are declared, [`ANY`] left out.
pub(super) fn names(at: &str) -> Vec<&'static str> {
    let keys = section(at).map_or(&[][..], |section| section.keys).iter().map(|key| key.name);
    let mut names = Vec::new();
    for name in keys.chain(below(at).map(|(name, _)| name)) {
        if name != ANY && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// The tables right below `at`: the segment, and the whole path.
fn below(at: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let depth = if at.is_empty() { 0 } else { at.len() + 1 };
    SECTIONS.iter().filter_map(move |section| {
        let beneath = at.is_empty()
            || (section.path.starts_with(at) && section.path.as_bytes().get(at.len()) == Some(&b'.'));
        let rest = if beneath { section.path.get(depth..)? } else { return None };
        let segment = rest.split('.').next()?;
        Some((segment, &section.path[..depth + segment.len()]))
    })
}

/// The highest number of a user or group; one more means nobody.
const MAX_UID: u64 = 0xffff_fffe;
/// The connections of all users.
const MAX_CONNECTIONS: u64 = 1024;
/// The highest count of a rate.
pub(super) const MAX_RATE: u32 = 100_000;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

const fn key(name: &'static str, kind: Kind, fallback: Fallback, doc: &'static str) -> Key {
    Key { name, kind, fallback, doc }
}

const OF_POSTHASTE: Fallback = Fallback::Else("as in `posthaste`");
const NONE: Fallback = Fallback::Else("none");

/// The keys whose change waits for a start of the daemon, by section; a section without keys waits whole. All others are live.
const AT_START: &[(&str, &[&str])] = &[
    ("listen", &[]),
    ("store", &["path", "cache", "quick_repair", "reserve"]),
    (
        "limits",
        &[
            "connections_per_address",
            "event_size",
            "batch_size",
            "file_size",
            "file_events",
            "in_flight",
            "in_flight_bytes",
            "keys_in_memory",
        ],
    ),
    ("spool", &[]),
];

/// Whether a key, by its path such as `store.cache`, or a section may change while the daemon runs.
pub fn is_live(path: &str) -> bool {
    let (section, key) = path.split_once('.').unwrap_or((path, ""));
    let waiting = AT_START.iter().find(|(waits, _)| *waits == section);
    waiting.is_none_or(|(_, keys)| !keys.is_empty() && !keys.contains(&key))
}

/// Everything that a configuration may say.
pub const SECTIONS: &[Section] = &[
    Section {
        path: "listen",
        repeated: false,
        doc: "Where producers and the command line reach the daemon.",
        keys: &[
            key(
                "socket",
                Kind::Path,
                Fallback::Value("\"/run/posthaste/posthaste.sock\""),
                "The Unix socket; its path has at most 107 bytes. Taken over from systemd when it passes one.",
            ),
            key(
                "socket_mode",
                Kind::Mode,
                Fallback::Value("\"0660\""),
                "Permissions of the socket: who may connect to it may hand in events, unless `[[access]]` says otherwise.",
            ),
            key(
                "http",
                Kind::Text,
                NONE,
                "Serves the API over TCP as well, at this address and port, such as `\"127.0.0.1:8470\"`; each request needs a key. Beyond this machine \
                 `tls_certificate` and `tls_key` are required. See [api.md](api.md#over-tcp).",
            ),
            key(
                "http_names",
                Kind::Texts,
                NONE,
                "Names of hosts by which the API over TCP may be asked for while it is bound to a loopback address, besides addresses and `localhost`: those that a \
                 reverse proxy passes on.",
            ),
            key(
                "tls_certificate",
                Kind::Path,
                NONE,
                "The certificate of the API over TCP, with those above it, in PEM. Read at the start.",
            ),
            key(
                "tls_key",
                Kind::Path,
                NONE,
                "The private key that belongs to it, in PEM, without a password. Nobody but the daemon's user should be able to read it.",
            ),
        ],
    },
    Section {
        path: "access",
        repeated: true,
        doc: "Who may do what on the Unix socket, of those whom `listen.socket_mode` lets connect. A rule is for a `user`, a `group`, a `uid` or a `gid`, \
              one of them; the first that matches decides, and whom none matches is refused. Root and the daemon's own user are operators before any rule. Without \
              any rule everybody else is a producer of the account `default`. See [api.md](api.md#rights).",
        keys: &[
            key("user", Kind::Text, NONE, "This user, by name."),
            key(
                "group",
                Kind::Text,
                NONE,
                "Members of this group, by name: those whose own group it is when they connect, and whom the system's database has in it.",
            ),
            key("uid", Kind::Integer(0..=MAX_UID), NONE, "This user, by number."),
            key("gid", Kind::Integer(0..=MAX_UID), NONE, "Members of this group, by number."),
            key(
                "role",
                Kind::Choice(&["producer", "operator"]),
                Fallback::Required,
                "`producer`: hand in events, and see them and what becomes of them. `operator`: everything.",
            ),
            key(
                "account",
                Kind::Name,
                Fallback::Else("any"),
                "The only account that a producer may touch: what it hands in belongs there, and it sees nothing else.",
            ),
            key(
                "connections",
                Kind::Integer(1..=MAX_CONNECTIONS),
                Fallback::Else("`limits.connections_per_uid`"),
                "Connections that each of these users may have open at once.",
            ),
            key(
                "rate",
                Kind::Rate,
                NONE,
                "How many events each of these users may hand in over the socket, with a second's worth at once. What is more is refused (`quota_exceeded`).",
            ),
            key(
                "bytes",
                Kind::Throughput(KIB..=TIB),
                NONE,
                "The same, of the bytes of these events' payloads, ids, keys and URLs.",
            ),
        ],
    },
    Section {
        path: "store",
        repeated: false,
        doc: "The outbox: the one file that keeps events, deliveries and their history.",
        keys: &[
            key(
                "path",
                Kind::Path,
                Fallback::Value("\"/var/lib/posthaste/outbox.redb\""),
                "The outbox's file; its directory must be writable.",
            ),
            key(
                "cache",
                Kind::Size(MIB..=TIB),
                Fallback::Value("\"64MiB\""),
                "Memory for pages of the file.",
            ),
            key(
                "settle_delay",
                Kind::Duration(Duration::ZERO..=Duration::from_secs(10)),
                Fallback::Value("\"20ms\""),
                "How long an outcome may wait for company before it is committed; longer spares flash, shorter makes repeats after a crash rarer.",
            ),
            key(
                "dedup_window",
                Kind::Duration(Duration::ZERO..=YEAR),
                Fallback::Value("\"24h\""),
                "For how long a second event with the same account and id is not taken again.",
            ),
            key(
                "dedup_entries",
                Kind::Integer(0..=100_000_000),
                Fallback::Value("500000"),
                "How many ids are remembered at most, whatever the window.",
            ),
            key(
                "quick_repair",
                Kind::Boolean,
                Fallback::Value("false"),
                "Makes the repair after a crash instant, at the cost of larger commits.",
            ),
            key(
                "max_size",
                Kind::Size(MIB..=TIB),
                Fallback::Value("\"8GiB\""),
                "Bytes of rows, not of the file, with which new events are refused (507 `store_full`) until there are 5 % less; deliveries go on. Events, their deliveries and their attempts count, pending or ended.",
            ),
            key(
                "reserve",
                Kind::Size(0..=TIB),
                Fallback::Value("\"64MiB\""),
                "The size of a file `PATH.reserve` that is kept beside the store and given up when the disk is full, so that outcomes can still be recorded; `\"0B\"` for none. With less than a quarter of it free, 32KiB for each of `in_flight` and 1MiB at least, new events are refused (507 `disk_full`).",
            ),
            key(
                "retention",
                Kind::Duration(Duration::from_secs(1)..=YEAR),
                Fallback::Value("\"7d\""),
                "How long events are kept whose deliveries all succeeded, or that had none: from acceptance. Then they go, with their deliveries and attempts.",
            ),
            key(
                "retention_failed",
                Kind::Duration(Duration::from_secs(1)..=YEAR),
                Fallback::Value("\"30d\""),
                "How long other events are kept. One with a pending delivery is never removed.",
            ),
        ],
    },
    Section {
        path: "limits",
        repeated: false,
        doc: "Bounds on what is taken in and what is done at once.",
        keys: &[
            key("event_size", Kind::Size(KIB..=64 * MIB), Fallback::Value("\"1MiB\""), "The greatest event."),
            key(
                "connections_per_uid",
                Kind::Integer(1..=MAX_CONNECTIONS),
                Fallback::Value("256"),
                "Connections to the socket that one user may have open at once, of 1024 for all. Not for root and the daemon's own user.",
            ),
            key(
                "connections_per_address",
                Kind::Integer(1..=512),
                Fallback::Value("64"),
                "Connections to the API over TCP that one address may have open at once, of 512 for all. Of a reverse proxy all of them come from one.",
            ),
            key(
                "batch_size",
                Kind::Size(KIB..=GIB),
                Fallback::Value("\"16MiB\""),
                "The greatest request with many events; not less than `event_size`.",
            ),
            key(
                "batch_events",
                Kind::Integer(1..=1_000_000),
                Fallback::Value("10000"),
                "The most events of one request.",
            ),
            key(
                "file_size",
                Kind::Size(KIB..=GIB),
                Fallback::Value("\"64MiB\""),
                "The greatest spool file; not less than `event_size`.",
            ),
            key(
                "file_events",
                Kind::Integer(1..=1_000_000),
                Fallback::Value("100000"),
                "The most events of one spool file, which are all accepted at once or not at all. A file with more goes to `failed/`: split it.",
            ),
            key(
                "pending_per_endpoint",
                Kind::Integer(1..=1_000_000_000),
                Fallback::Value("1000000"),
                "Pending deliveries of one endpoint past which new ones fail as `endpoint_full`.",
            ),
            key(
                "in_flight",
                Kind::Integer(1..=65_536),
                Fallback::Value("512"),
                "Requests open at once; half of them only for endpoints whose last attempt succeeded. For the outcome of each 32KiB of the store's disk are kept free.",
            ),
            key(
                "in_flight_bytes",
                Kind::Size(64 * KIB..=64 * GIB),
                Fallback::Value("\"64MiB\""),
                "Bytes of payloads in open requests; not less than `event_size`.",
            ),
            key(
                "keys_in_memory",
                Kind::Integer(1_000..=1_000_000_000),
                Fallback::Value("4000000"),
                "Pending deliveries whose keys are held in memory, 8 to 18 bytes each; those of the others lie in the \
                 store until their turn comes.",
            ),
        ],
    },
    Section {
        path: "spool",
        repeated: true,
        doc: "A directory whose files are taken in as events. None unless written.",
        keys: &[
            key("path", Kind::Path, Fallback::Required, "The directory."),
            key("account", Kind::Name, Fallback::Value("\"default\""), "The account of its events."),
            key(
                "after",
                Kind::Choice(&["delete", "keep"]),
                Fallback::Value("\"delete\""),
                "What becomes of a file whose events are accepted. With `\"keep\"` it is moved to `done/` inside the directory, which nobody but the operator empties.",
            ),
            key(
                "rescan",
                Kind::Duration(Duration::from_secs(1)..=Duration::from_secs(3600)),
                Fallback::Value("\"30s\""),
                "From one look at the whole directory to the next. Where the file system tells of new files at once, these looks only make up for what it did not tell; on one that does not (NFS, SMB, FUSE) they are what finds files: take `\"2s\"` there.",
            ),
            key(
                "type",
                Kind::Text,
                NONE,
                "The type of files that carry none: with it every file is taken, and one whose name ends in none of `.json`, `.ndjson` and `.msgpack` is an event of this type, its bytes the payload, its content type told by the name's end (`.pdf`, `.png`, `.csv`, …; `application/octet-stream` otherwise).",
            ),
        ],
    },
    Section {
        path: "network",
        repeated: false,
        doc: "Where deliveries may go, checked on the very address that is dialled.",
        keys: &[
            key(
                "allow",
                Kind::Networks,
                Fallback::Value("[]"),
                "Networks that may be reached although they are special: link-local ones by endpoints of the configuration, all by those made over the API and by callbacks; see [network.md](network.md).",
            ),
            key(
                "deny",
                Kind::Networks,
                Fallback::Value("[]"),
                "Networks that may not be reached, not even by endpoints of the configuration; wins over `allow`.",
            ),
            key(
                "proxy",
                Kind::Proxy,
                NONE,
                "A proxy that deliveries go through, by CONNECT; user and password may stand in it. Variables of the environment are not read.",
            ),
            key(
                "proxy_authorization",
                Kind::Secret,
                NONE,
                "User and password for the proxy, `USER:PASSWORD`. While its credential is missing none are sent.",
            ),
            key(
                "no_proxy",
                Kind::Hosts,
                Fallback::Value("[]"),
                "What is reached without the proxy, by the host of the URL: names, `.suffix` for those below one, addresses, networks, or `*`.",
            ),
            key(
                "ca_bundle",
                Kind::Path,
                NONE,
                "A PEM file with certificates that are trusted besides the system's; read with the configuration.",
            ),
            key(
                "tls_min",
                Kind::Choice(&["1.2", "1.3"]),
                Fallback::Value("\"1.2\""),
                "The least version of TLS that is spoken with endpoints.",
            ),
            key(
                "require_clock",
                Kind::Boolean,
                Fallback::Value("true"),
                "Whether attempts that sign their time wait while the clock is not set: before the release's date, or before a time that the store has seen.",
            ),
        ],
    },
    Section {
        path: "accounts.NAME",
        repeated: false,
        doc: "An account: the tenant that events and endpoints belong to. `default` is always there. Others can be made over the API, too ([api.md](api.md#accounts)); one that stands here wins over one of its name there.",
        keys: &[
            key(
                "profile",
                Kind::Name,
                Fallback::Value("\"posthaste\""),
                "The profile of its endpoints that name none.",
            ),
            key(
                "max_endpoints",
                Kind::Integer(0..=65_536),
                Fallback::Value("10"),
                "How many endpoints the API may make. Those of the configuration do not count.",
            ),
            key(
                "https_only",
                Kind::Boolean,
                Fallback::Value("true"),
                "Whether its endpoints made over the API, and its callbacks, must be https. Those of the configuration need not be.",
            ),
            key(
                "allow",
                Kind::Networks,
                Fallback::Else("all of `network.allow`"),
                "What of `network.allow` is open to its endpoints made over the API and to its callbacks; each entry lies within one of those.",
            ),
            key(
                "deny",
                Kind::Networks,
                Fallback::Value("[]"),
                "Networks that none of its endpoints may reach, besides `network.deny`.",
            ),
            key(
                "secret",
                Kind::Secret,
                NONE,
                "What signs its callbacks, in the form that its profile's `signature.key` names. Without one, events with a `url` are refused if the profile signs.",
            ),
            key(
                "retention",
                Kind::Duration(Duration::from_secs(1)..=YEAR),
                Fallback::Else("`store.retention`"),
                "The same as `store.retention`, for this account's events.",
            ),
            key(
                "retention_failed",
                Kind::Duration(Duration::from_secs(1)..=YEAR),
                Fallback::Else("`store.retention_failed`"),
                "The same as `store.retention_failed`, for this account's events.",
            ),
            key(
                "max_origins",
                Kind::Integer(1..=1_000_000),
                Fallback::Value("10000"),
                "How many origins (scheme, host and port) its callbacks may have something pending for at once, and how many are remembered. A callback to one more than these fails as `endpoint_full`.",
            ),
        ],
    },
    Section {
        path: "accounts.NAME.event_type",
        repeated: true,
        doc: "The account's catalog of event types. Where it has one, an event of another type is refused, and so is a subscription that means none of them; without one every type is taken.",
        keys: &[
            key("name", Kind::EventType, Fallback::Required, "The type; each only once."),
            key("groups", Kind::Texts, NONE, "Groups that it belongs to, for people."),
            key("description", Kind::Text, NONE, "What it says, for people."),
            key(
                "effect",
                Kind::Choice(&["live", "partial", "none"]),
                Fallback::Value("\"live\""),
                "`none`: its events are accepted and kept, and not delivered. `partial`: they are delivered, and shown as such.",
            ),
        ],
    },
    Section {
        path: "endpoint",
        repeated: true,
        doc: "A subscriber's URL with its subscription, secrets and profile. With the account, `name` is its identity: the id stays as long as the name does.",
        keys: &[
            key("name", Kind::Name, Fallback::Required, "Its name, one of a kind in the account."),
            key("account", Kind::Name, Fallback::Value("\"default\""), "Whose it is."),
            key(
                "url",
                Kind::Url,
                Fallback::Required,
                "Where it is: http or https, without user, password and fragment; see [network.md](network.md).",
            ),
            key(
                "event_types",
                Kind::TypePatterns,
                Fallback::Required,
                "What it subscribes to: `*` as the last segment stands for one or more segments, as another for exactly one.",
            ),
            key(
                "secret",
                Kind::Secret,
                NONE,
                "What signs its deliveries, in the form that the profile's `signature.key` names; required if the profile signs.",
            ),
            key("profile", Kind::Name, Fallback::Else("the account's"), "How its webhooks look and behave."),
            key(
                "client_certificate",
                Kind::Pem,
                NONE,
                "The certificate that it is shown when it asks for one, those above it behind it; only with `client_key`, and for https.",
            ),
            key("client_key", Kind::Pem, NONE, "The private key of `client_certificate`."),
            key(
                "server_name",
                Kind::ServerName,
                Fallback::Else("the URL's host"),
                "The name or address that its certificate has to have; a name is also the one that is asked for (SNI). For endpoints that are reached under another.",
            ),
        ],
    },
    Section {
        path: "endpoint.headers",
        repeated: false,
        doc: "Headers sent to this endpoint with every request, besides the profile's; of two with the same name this one is sent. Written below its `[[endpoint]]`, or in it as `headers = { … }`.",
        keys: &[key(ANY, Kind::Secret, NONE, "The header's value.")],
    },
    Section {
        path: "profiles.NAME",
        repeated: false,
        doc: "How webhooks look and behave. A profile of a built-in's name changes only the keys that it gives; a new one has the defaults below, and `signature`, `headers` and `body` of `posthaste`.",
        keys: &[
            key("success", Kind::Success, Fallback::Value("\"2xx\""), "Which statuses are a success."),
            key(
                "timeout",
                Kind::Duration(Duration::from_millis(10)..=Duration::from_secs(600)),
                Fallback::Value("\"30s\""),
                "One deadline from resolving the name to the end of the body; the outcome stands once the headers are complete.",
            ),
            key(
                "retry",
                Kind::Schedule(Duration::ZERO..=YEAR),
                Fallback::Value("[\"0s\", \"1m\", \"5m\", \"30m\", \"2h\", \"12h\"]"),
                "The delay before each attempt, from the end of the one before (the first: from the event).",
            ),
            key(
                "jitter",
                Kind::Fraction,
                Fallback::Value("0.0"),
                "Each delay is lengthened by up to this fraction of itself, never shortened.",
            ),
            key(
                "expire",
                Kind::Duration(Duration::from_millis(1)..=Duration::from_secs(3650 * 86_400)),
                Fallback::Value("\"14d\""),
                "How long after its first due time a delivery that is still pending fails.",
            ),
            key(
                "concurrency",
                Kind::Integer(1..=1024),
                Fallback::Value("16"),
                "Requests open at once to one endpoint.",
            ),
            key(
                "retry_after",
                Kind::Boolean,
                Fallback::Value("false"),
                "Whether the next attempt waits as long as an answer that is no success asks for with `Retry-After`, in seconds or until a date: never less than the schedule says, 24 h at most, and not past `expire`.",
            ),
            key(
                "gone_disables",
                Kind::Boolean,
                Fallback::Value("false"),
                "Whether a 410 ends the delivery as failed (`gone`) and disables the endpoint until somebody enables it. Without it a 410 is a failure like any other.",
            ),
            key(
                "disable_after",
                Kind::Integer(0..=1_000_000),
                Fallback::Value("0"),
                "After so many attempts without success in a row at an endpoint, whatever their delivery, it is disabled (`failures`): what is pending is held until somebody enables it. A success, enabling and a new URL count from 0; the box's own trouble does not count. 0: never.",
            ),
            key(
                "circuit",
                Kind::Integer(0..=1_000_000),
                Fallback::Value("0"),
                "After so many failures in a row of the endpoint itself (no connection, TLS, time-out, no HTTP, 408, 429, 5xx) its circuit opens: until an attempt succeeds only probes are made, one at a time, and nothing else is attempted or spent. It is closed when the daemon starts. 0: never.",
            ),
            key(
                "probe",
                Kind::Schedule(Duration::ZERO..=YEAR),
                Fallback::Value("[\"10s\", \"30s\", \"1m\", \"5m\", \"15m\"]"),
                "How long before each of these probes, from the end of the attempt before; the last holds for all that follow. `jitter` lengthens them too.",
            ),
            key(
                "rate",
                Kind::Rate,
                NONE,
                "How many attempts may start to one endpoint in any second, minute or hour.",
            ),
            key(
                "order",
                Kind::Choice(&["none", "fifo"]),
                Fallback::Value("\"none\""),
                "`fifo`: to one endpoint deliveries go one after the other in the order of acceptance, each when the one before has ended, retries included; among those whose events have the same `key` (none: those without), while others go on. A delayed event joins at the end when it is due. What is pending when this is changed stays as it was accepted.",
            ),
        ],
    },
    Section {
        path: "profiles.NAME.signature",
        repeated: false,
        doc: "How requests are signed.",
        keys: &[
            key(
                "algorithm",
                Kind::Choice(&["hmac-sha256", "ed25519", "none"]),
                OF_POSTHASTE,
                "With what, or not at all.",
            ),
            key(
                "key",
                Kind::Choice(&["utf8", "hex", "base64", "whsec"]),
                OF_POSTHASTE,
                "How the secret becomes the key: its own bytes, hex, base64, or base64 after `whsec_`. With ed25519 the key is the 32 bytes of a private key, in hex, base64, or base64 after `whsk_`; receivers get the public one, `whpk_`.",
            ),
            key("signed", Kind::Placeholders, OF_POSTHASTE, "What is signed."),
            key(
                "encoding",
                Kind::Choice(&["hex", "base64"]),
                OF_POSTHASTE,
                "How a signature's bytes are written.",
            ),
            key(
                "each",
                Kind::Placeholders,
                OF_POSTHASTE,
                "The form of one signature in `{signatures}`. With ed25519 that of `posthaste` is `v1a,{signature}`.",
            ),
            key("join", Kind::Placeholders, OF_POSTHASTE, "What stands between several signatures."),
        ],
    },
    Section {
        path: "profiles.NAME.headers",
        repeated: false,
        doc: "Headers sent with every request. A new profile that has this table has these headers and none of `posthaste`; where nothing is signed, headers of a built-in profile that show a signature are left out.",
        keys: &[key(ANY, Kind::Placeholders, OF_POSTHASTE, "The header's value.")],
    },
    Section {
        path: "profiles.NAME.body",
        repeated: false,
        doc: "What is sent.",
        keys: &[
            key(
                "format",
                Kind::Choice(&["envelope", "raw", "template", "cloudevents"]),
                OF_POSTHASTE,
                "`raw`: the payload as it came; `envelope`: `{\"id\",\"type\",\"timestamp\",\"data\"}`; `cloudevents`: CloudEvents 1.0; or the `template`.",
            ),
            key(
                "mode",
                Kind::Choice(&["structured", "binary"]),
                Fallback::Value("\"structured\""),
                "With `format = \"cloudevents\"`: all in the body, or the attributes in `ce-…` headers and the payload as it came in the body.",
            ),
            key(
                "source",
                Kind::Placeholders,
                Fallback::Value("\"/posthaste/{account}\""),
                "With `format = \"cloudevents\"`: the attribute `source`, with `{account}`, `{event_type}` and `{endpoint_id}`.",
            ),
            key(
                "template",
                Kind::Template,
                NONE,
                "The template, with `format = \"template\"`. Variables: `id`, `type`, `account`, `time`, `time_unix`, `time_ms`, `data`, `data_json` (the very bytes), `data_text`, `delivery_id`, `endpoint_id`, `producer_id`, `content_type`.",
            ),
        ],
    },
];
