//! The configuration: from files as people write them to a [`Config`] that cannot be wrong.
//!
//! The files become one tree in which every value knows its place (`raw`); the tree is held against the table of all
//! keys ([`keys`]) for names that nobody knows (`shape`); then each section is read (`read`, `check`, `profile`).
//! Nothing stops at the first error: [`ConfigErrors`] has all of them, each with its line and what to write instead.
//! Files that are no TOML, or cannot be read, are told first and alone, since nothing can be said of the rest.
//!
//! Format: TOML, the keys of `docs/configuration.md`, which is written from the table ([`manual()`]). Beside FILE, the files
//! `conf.d/*.toml` are read after it in name order; tables merge key by key, the later file wins, arrays of tables
//! add up. A path that is not absolute starts at FILE's directory, in whichever file it is written.
//!
//! Secrets are nowhere shown: neither by [`describe()`] nor by an error, whose source line has `"…"` in their place.

mod access;
mod catalog;
mod check;
mod credential;
mod describe;
mod directories;
mod endpoint;
mod error;
pub mod keys;
mod listen;
mod live;
mod manual;
mod origin;
mod profile;
mod raw;
mod read;
mod shape;
mod source;
mod tenant;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    env, fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use http::HeaderName;
use ipnet::IpNet;
use rustls::pki_types::{CertificateDer, ServerName};
use toml::de::DeTable;
use url::Url;
use zeroize::Zeroizing;

pub use self::{
    describe::describe,
    error::{ConfigError, ConfigErrors, Position, Written},
    live::Difference,
    manual::{manual, profiles},
    origin::{DEFAULT_DIRECTORY, DEFAULT_FILE, Origin},
    tenant::{Given, Wrong, tenant},
};
use self::{error::Problems, raw::Table, source::Place, source::Sources};
use crate::{
    model::{account::AccountName, event::EventType, secret::Secret},
    policy::{
        access::Rule,
        address::{Narrowing, Rules},
        catalog::Catalog,
        certificate::{Identity, TlsVersion},
        form::Form,
        proxy::Proxy,
        retention::{Ages, Retention},
        route::TypePattern,
    },
};

/// A configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where producers and the command line reach the daemon.
    pub listen: Listen,
    /// Who may do what on the socket, in the order in which the rules are tried.
    pub access: Vec<Rule>,
    /// The outbox.
    pub store: Store,
    /// Bounds on what is taken in and what is done at once.
    pub limits: Limits,
    /// Directories whose files are taken in; no two the same.
    pub spools: Vec<Spool>,
    /// Where deliveries may go.
    pub network: Network,
    /// The profiles by name: those built in and its own.
    pub forms: BTreeMap<String, Arc<Form>>,
    /// The accounts; `default` is always there.
    pub accounts: BTreeMap<AccountName, Account>,
    /// The endpoints; no two of an account with the same name.
    pub endpoints: Vec<Endpoint>,
}

impl Config {
    /// Where deliveries may go, by address.
    pub fn rules(&self) -> Rules {
        let narrowed = self.accounts.iter().map(|(name, account)| (name.clone(), account.narrowing.clone()));
        self.network_rules().narrowed(narrowed)
    }

    /// The same, whatever accounts say.
    pub fn network_rules(&self) -> Rules {
        Rules::new(self.network.allow.clone(), self.network.deny.clone())
    }
}

/// How long events are kept: as long as the store's `ages` say, but for `accounts` that say something else.
pub fn retention<'a>(
    ages: Ages,
    accounts: impl Iterator<Item = (&'a AccountName, &'a Account)>,
) -> Retention {
    let of_one = |account: &Account| Ages {
        succeeded: account.retention.unwrap_or(ages.succeeded),
        failed: account.retention_failed.unwrap_or(ages.failed),
    };
    let accounts = accounts.map(|(name, account)| (name.clone(), of_one(account)));
    Retention { ages, accounts: accounts.filter(|(_, own)| *own != ages).collect() }
}

/// Where the daemon listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The Unix socket; at most 107 bytes.
    pub socket: PathBuf,
    /// Its permissions, at most `0o777`.
    pub socket_mode: u32,
    /// The API over TCP, if it is served there.
    pub http: Option<Http>,
}

/// Where and how the API is served over TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where; beyond this machine never without an identity.
    pub address: SocketAddr,
    /// The names by which it may be asked on a loopback address, in lower case; besides `localhost`.
    pub names: Vec<String>,
    /// With which certificate and key.
    pub identity: Option<Identity>,
    /// The file of the key, if everybody may read it.
    pub open_key: Option<PathBuf>,
}

/// The outbox's file and how it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The file.
    pub path: PathBuf,
    /// Bytes of memory for pages of the file.
    pub cache: u64,
    /// How long an outcome may wait for company.
    pub settle_delay: Duration,
    /// For how long a second event with the same account and id is not taken again.
    pub dedup_window: Duration,
    /// How many ids are remembered at most.
    pub dedup_entries: usize,
    /// Whether every commit prepares for an instant repair.
    pub quick_repair: bool,
    /// With so many bytes of rows no more events are taken.
    pub max_size: u64,
    /// Bytes of the file that is given up when the disk is full.
    pub reserve: u64,
    /// How long events are kept once they have ended, where their account says nothing else.
    pub retention: Ages,
}

/// Bounds; sizes in bytes. None of the others' sizes is less than `event_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The greatest event.
    pub event_size: usize,
    /// The greatest request with many events.
    pub batch_size: usize,
    /// The most events of one request; at least 1.
    pub batch_events: usize,
    /// The greatest spool file.
    pub file_size: u64,
    /// The most events of one spool file; at least 1.
    pub file_events: usize,
    /// Connections that one user may have open at once; at least 1.
    pub connections_per_uid: usize,
    /// Connections over TCP that one address may have open at once; at least 1.
    pub connections_per_address: usize,
    /// Pending deliveries of one endpoint past which new ones fail; at least 1.
    pub pending_per_endpoint: u64,
    /// Requests open at once; at least 1.
    pub in_flight: usize,
    /// Bytes of payloads in open requests.
    pub in_flight_bytes: usize,
    /// Keys of pending deliveries that memory holds, besides one for each endpoint.
    pub keys_in_memory: usize,
}

/// A spool directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spool {
    /// The directory.
    pub path: PathBuf,
    /// The account of its events.
    pub account: AccountName,
    /// The type of files that are payloads; `None`: none are taken.
    pub event_type: Option<EventType>,
    /// What becomes of a file that is taken.
    pub after: After,
    /// From one look at the whole directory to the next.
    pub rescan: Duration,
}

/// What becomes of a file whose events are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is removed.
    Delete,
    /// It is moved to `done/` inside its directory.
    Keep,
}

impl Spool {
    /// The spool directory `path`, all else as by default.
    pub fn by_default(path: PathBuf) -> Self {
        let rescan = Duration::from_secs(30);
        Self { path, account: AccountName::default(), event_type: None, after: After::Delete, rescan }
    }
}

/// Where deliveries may go, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// Networks that may be reached although they are special.
    pub allow: Vec<IpNet>,
    /// Networks that may not be reached; wins over `allow`.
    pub deny: Vec<IpNet>,
    /// Certificates trusted besides the system's; each can be a root.
    pub ca_bundle: Vec<CertificateDer<'static>>,
    /// The least version of TLS.
    pub tls_min: TlsVersion,
    /// What deliveries go through.
    pub proxy: Option<Proxy>,
    /// Attempts that sign their time wait while the clock is not set.
    pub require_clock: bool,
}

/// An account.
#[derive(Clone, Debug)]
pub struct Account {
    /// The profile of its endpoints that name none. `None`: it was made over the API, with a profile that is not in the
    /// configuration any more.
    pub form: Option<Arc<Form>>,
    /// How many endpoints the API may make.
    pub max_endpoints: u64,
    /// Its event types; without a catalog every type is taken.
    pub catalog: Option<Arc<Catalog>>,
    /// Whether its endpoints made over the API, and its callbacks, must be https.
    pub https_only: bool,
    /// How many origins its callbacks may have.
    pub max_origins: u64,
    /// How long events are kept whose deliveries all succeeded, if not as long as the store's others.
    pub retention: Option<Duration>,
    /// The same, of other events.
    pub retention_failed: Option<Duration>,
    /// What signs its callbacks; fits the form's key.
    pub secret: Option<Secret>,
    /// The credential of that, if it is not there.
    pub missing_credential: Option<String>,
    /// What it narrows of `network`; its `allow` has nothing that the network's has not.
    pub narrowing: Narrowing,
}

/// An endpoint. Account and name are its identity.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Whose it is.
    pub account: AccountName,
    /// Its name, 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    pub name: String,
    /// Where it is, as [`crate::policy::destination`] judges it.
    pub url: Url,
    /// What it subscribes to; never empty.
    pub event_types: Vec<TypePattern>,
    /// What signs its deliveries; fits the form's key. There if the form needs one, unless its credential is missing.
    pub secret: Option<Secret>,
    /// How its webhooks look and behave.
    pub form: Arc<Form>,
    /// Headers besides the form's, no name twice; without those whose credential is missing.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What it is shown of this machine, if it asks. `None` also where a credential of it is missing.
    pub identity: Option<Identity>,
    /// The name that its certificate has to have, if not the URL's host.
    pub server_name: Option<ServerName<'static>>,
    /// The credentials that are not there; while any is missing the endpoint cannot be delivered to.
    pub missing_credentials: Vec<String>,
    /// Where its name stands.
    pub place: Written,
}

/// Reads FILE and the files `conf.d/*.toml` beside it, and credentials from `$CREDENTIALS_DIRECTORY`.
///
/// # Errors
/// Everything that is wrong with them.
pub fn load(file: &Path) -> Result<Config, ConfigErrors> {
    let credentials = env::var_os("CREDENTIALS_DIRECTORY").filter(|directory| !directory.is_empty());
    load_with(file, credentials.map(PathBuf::from).as_deref())
}

/// Like [`load`], with the directory of the credentials named; without one, all credentials are missing.
pub fn load_with(file: &Path, credentials: Option<&Path>) -> Result<Config, ConfigErrors> {
    let directory = file.parent().unwrap_or(Path::new(""));
    let mut problems = Problems::default();
    let mut texts = Vec::new();
    for path in files(file, directory, &mut problems) {
        match read_text(&path) {
            Ok(text) => texts.push((path, Zeroizing::new(text))),
            Err(fault) => problems.add_file(path, fault.message, fault.help),
        }
    }
    if !problems.is_empty() {
        problems.finish(&Sources::default())?;
    }
    parse(texts, directory, credentials)
}

/// What `serve` runs with when there is no configuration file: outbox, socket and one spool in `directory`, all else
/// as by default. No endpoints.
pub fn defaults(directory: &Path) -> Config {
    let mut config = parse(Vec::new(), directory, None).expect("the defaults are a valid configuration");
    config.listen.socket = directory.join("posthaste.sock");
    config.store.path = directory.join("outbox.redb");
    config.spools = vec![Spool::by_default(directory.join("spool"))];
    config
}

/// Makes a configuration of texts with their files' names; `directory` is where relative paths start.
fn parse(
    texts: Vec<(PathBuf, Zeroizing<String>)>,
    directory: &Path,
    credentials: Option<&Path>,
) -> Result<Config, ConfigErrors> {
    let mut sources = Sources::default();
    let mut problems = Problems::default();
    let built_in = profile::built_in(&mut sources);
    let mut document = Table::default();
    for (path, text) in texts {
        let file = sources.add(path, text);
        if let Some(table) = parse_file(&mut sources, file, &mut problems) {
            document.merge(table);
        }
    }
    if problems.is_empty() {
        shape::check(&document, &mut problems);
        let context = check::Context { sources: &sources, directory, credentials };
        if let Ok(config) = check::config(&context, &built_in, &document, &mut problems)
            && problems.is_empty()
        {
            return Ok(config);
        }
    }
    match problems.finish(&sources) {
        Err(errors) => Err(errors),
        Ok(()) => unreachable!("a configuration is there, or what is wrong with it"),
    }
}

/// The tree of one file, whose secrets are hidden from then on; notes a file that is no TOML.
fn parse_file(sources: &mut Sources, file: usize, problems: &mut Problems) -> Option<Table> {
    let parsed = DeTable::parse(sources.text(file));
    match parsed.map(|document| Table::from_document(file, document.get_ref())) {
        Ok(table) => {
            let secrets = shape::secrets(&table);
            sources.hide(file, secrets);
            Some(table)
        }
        Err(error) => {
            let place = Place::new(file, &error.span().unwrap_or(0..0));
            let message = format!("not TOML: {}", error.message());
            let hidden = sources.hidden_in_line(place, shape::hidden_in_broken_line);
            sources.hide(file, hidden);
            problems.add(place, message, "");
            None
        }
    }
}

/// FILE, and what is in `conf.d` beside it, in name order.
fn files(file: &Path, directory: &Path, problems: &mut Problems) -> Vec<PathBuf> {
    let mut files = vec![file.to_owned()];
    let more = directory.join("conf.d");
    match toml_files(&more) {
        Ok(found) => files.extend(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => problems.add_file(more, format!("cannot read the directory: {error}"), ""),
    }
    files
}

/// The files of a directory that `*.toml` means, in name order.
fn toml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// What is wrong with a file as a whole.
struct Unreadable {
    message: String,
    help: &'static str,
}

fn read_text(path: &Path) -> Result<String, Unreadable> {
    let bytes = fs::read(path).map_err(|error| Unreadable {
        message: format!("cannot read the file: {error}"),
        help: match error.kind() {
            io::ErrorKind::NotFound => "name another with --config FILE",
            io::ErrorKind::PermissionDenied => "the user that posthaste runs as must be allowed to read it: chgrp posthaste FILE && chmod 640 FILE",
            _ => "",
        },
    })?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        Unreadable { message: format!("line {line} is not UTF-8"), help: "save the file as UTF-8" }
    })
}
