//! Section by section from the tree to the [`Config`], and what only several values together can say.

use std::{
    collections::{BTreeMap, btree_map},
    fs::File,
    io::Read as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

use super::{
    Account, After, Config, Limits, Network, Spool, Store,
    access::access,
    catalog::catalog,
    credential::{self, Found},
    directories::Directories,
    endpoint::{Endpoints, fits},
    error::{Problems, Reported},
    keys::Key,
    listen::listen,
    profile,
    raw::{Node, Table, Value},
    read::{self, Fault, Fields, choice},
    shape::suggest,
    source::Sources,
};
use crate::{
    model::{
        account::AccountName,
        event::{EventType, ParseTypeError},
        time::format_size,
    },
    policy::{
        address::{Narrowing, Rules},
        certificate::{TlsVersion, bundle},
        form::Form,
        proxy::{Direct, DirectError, Proxy, basic},
        retention::Ages,
    },
};

/// The longest path that a Unix socket's address holds.
const SOCKET_PATH: usize = 107;
/// The longest bundle of certificates; a system's own has some 250 KiB.
const MAX_BUNDLE: u64 = 16 << 20;

/// What a configuration is checked against besides its own text.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    /// The files.
    pub(super) sources: &'a Sources,
    /// Where relative paths start.
    pub(super) directory: &'a Path,
    /// Where credentials are, if anywhere.
    pub(super) credentials: Option<&'a Path>,
}

/// The profiles by name.
pub(super) type Forms = BTreeMap<String, Result<Arc<Form>, Reported>>;
/// The accounts by name.
pub(super) type Accounts = BTreeMap<AccountName, Result<Account, Reported>>;

/// Reads the whole document; what is wrong is noted in `problems`.
pub(super) fn config(
    context: &Context<'_>,
    built_in: &BTreeMap<String, Node>,
    document: &Table,
    problems: &mut Problems,
) -> Result<Config, Reported> {
    let forms = profile::compile(context, built_in, table(document, "profiles"), problems);
    let listen = listen(context, document.get("listen"), problems);
    let store = store(context, document.get("store"), problems);
    let limits = limits(document.get("limits"), problems);
    let network = network(context, document.get("network"), problems);
    let rules = network.as_ref().ok().map(|network| Rules::new(network.allow.clone(), Vec::new()));
    let shared = Shared { forms: &forms, rules: rules.as_ref(), credentials: context.credentials };
    let accounts = accounts(table(document, "accounts"), shared, problems);
    let access = access(items(document, "access"), &accounts, problems);
    let spools = spools(context, items(document, "spool"), &accounts, problems);
    let endpoints =
        Endpoints { context, forms: &forms, accounts: &accounts, problems }.read(items(document, "endpoint"));
    let accounts: Result<_, Reported> =
        accounts.into_iter().map(|(name, account)| Ok((name, account?))).collect();
    Ok(Config {
        listen: listen?,
        access: access?,
        store: store?,
        limits: limits?,
        spools: spools?,
        network: network?,
        forms: forms.into_iter().filter_map(|(name, form)| Some((name, form.ok()?))).collect(),
        accounts: accounts?,
        endpoints: endpoints?,
    })
}

/// The table of this name; of what is no table the walk over the tree has said so.
fn table<'a>(document: &'a Table, name: &str) -> Option<&'a Table> {
    match &document.get(name)?.value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

/// The tables of an array of tables, likewise.
fn items<'a>(document: &'a Table, name: &str) -> &'a [Node] {
    match document.get(name).map(|node| &node.value) {
        Some(Value::Array(items)) => items,
        _ => &[],
    }
}

impl Context<'_> {
    pub(super) fn path(&self, key: &Key, node: &Node) -> Result<PathBuf, Fault> {
        read::path(key, node).map(|path| self.directory.join(path))
    }

    /// The certificates of a file.
    fn bundle(&self, key: &Key, node: &Node) -> Result<Vec<CertificateDer<'static>>, Fault> {
        let path = self.path(key, node)?;
        let mut text = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_BUNDLE + 1).read_to_end(&mut text));
        if let Err(error) = read {
            let help = "the user that posthaste runs as must be able to read this file";
            return Err(Fault::new(format!("names a file that cannot be read: {error}"), help));
        }
        if text.len() as u64 > MAX_BUNDLE {
            let what = format!("names a file that is longer than {}", format_size(MAX_BUNDLE));
            return Err(Fault::new(what, "name one with the certificates alone"));
        }
        bundle(&text).map_err(|error| {
            let help = "the file has to have certificates in PEM, `-----BEGIN CERTIFICATE-----` and so on";
            Fault::new(format!("names a file that {error}"), help)
        })
    }

    pub(super) fn socket(&self, key: &Key, node: &Node) -> Result<PathBuf, Fault> {
        let path = self.path(key, node)?;
        let length = path.as_os_str().as_bytes().len();
        if length > SOCKET_PATH {
            let help = format!("a Unix socket's path has at most {SOCKET_PATH} bytes: write a shorter one");
            return Err(Fault::new(format!("is {length} bytes long"), help));
        }
        Ok(path)
    }
}

fn store(context: &Context<'_>, node: Option<&Node>, problems: &mut Problems) -> Result<Store, Reported> {
    let fields = Fields::new("store", node)?;
    let path = fields.get(problems, "path", |key, node| context.path(key, node));
    let cache = fields.get(problems, "cache", read::size);
    let settle_delay = fields.get(problems, "settle_delay", read::duration);
    let dedup_window = fields.get(problems, "dedup_window", read::duration);
    let dedup_entries = fields.get(problems, "dedup_entries", read::integer);
    let quick_repair = fields.get(problems, "quick_repair", read::boolean);
    let max_size = fields.get(problems, "max_size", read::size);
    let reserve = fields.get(problems, "reserve", read::size);
    let succeeded = fields.get(problems, "retention", read::duration);
    let failed = fields.get(problems, "retention_failed", read::duration);
    Ok(Store {
        path: path?,
        cache: cache?,
        settle_delay: settle_delay?,
        dedup_window: dedup_window?,
        dedup_entries: to_usize(dedup_entries?),
        quick_repair: quick_repair?,
        max_size: max_size?,
        reserve: reserve?,
        retention: Ages { succeeded: succeeded?, failed: failed? },
    })
}

fn limits(node: Option<&Node>, problems: &mut Problems) -> Result<Limits, Reported> {
    let fields = Fields::new("limits", node)?;
    let event_size = fields.get(problems, "event_size", read::size);
    let batch_size = fields.get(problems, "batch_size", read::size);
    let batch_events = fields.get(problems, "batch_events", read::integer);
    let file_size = fields.get(problems, "file_size", read::size);
    let file_events = fields.get(problems, "file_events", read::integer);
    let connections = fields.get(problems, "connections_per_uid", read::integer);
    let per_address = fields.get(problems, "connections_per_address", read::integer);
    let pending = fields.get(problems, "pending_per_endpoint", read::integer);
    let in_flight = fields.get(problems, "in_flight", read::integer);
    let in_flight_bytes = fields.get(problems, "in_flight_bytes", read::size);
    let keys_in_memory = fields.get(problems, "keys_in_memory", read::integer);
    let event = event_size?;
    for (name, size) in
        [("batch_size", batch_size), ("file_size", file_size), ("in_flight_bytes", in_flight_bytes)]
    {
        holds_an_event(fields, (name, size?), event, problems);
    }
    Ok(Limits {
        event_size: to_usize(event),
        batch_size: to_usize(batch_size?),
        batch_events: to_usize(batch_events?),
        file_size: file_size?,
        file_events: to_usize(file_events?),
        connections_per_uid: to_usize(connections?),
        connections_per_address: to_usize(per_address?),
        pending_per_endpoint: pending?,
        in_flight: to_usize(in_flight?),
        in_flight_bytes: to_usize(in_flight_bytes?),
        keys_in_memory: to_usize(keys_in_memory?),
    })
}

/// Notes a size that is too small for the greatest event, at whichever of the two is written.
fn holds_an_event(fields: Fields<'_>, (name, size): (&str, u64), event: u64, problems: &mut Problems) {
    if size >= event {
        return;
    }
    let (size, event) = (format_size(size), format_size(event));
    if let Some(node) = fields.node(name) {
        let help = format!("write at least {event}, or lower `event_size`");
        fields.wrong(problems, name, node, Fault::new("is less than `limits.event_size`", help));
    } else if let Some(node) = fields.node("event_size") {
        let help = format!("raise `{name}` as well, which is {size}");
        fields.wrong(problems, "event_size", node, Fault::new(format!("is more than `limits.{name}`"), help));
    }
}

/// A number that the table of keys bounds by far less than any machine's words.
pub(super) fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn network(context: &Context<'_>, node: Option<&Node>, problems: &mut Problems) -> Result<Network, Reported> {
    let fields = Fields::new("network", node)?;
    let allow = fields.get(problems, "allow", read::networks);
    let deny = fields.get(problems, "deny", read::networks);
    let ca_bundle = fields.given(problems, "ca_bundle", |key, node| context.bundle(key, node));
    let tls_min =
        fields.get(problems, "tls_min", choice(&[("1.2", TlsVersion::V1_2), ("1.3", TlsVersion::V1_3)]));
    let proxy = proxy(context, fields, problems);
    let require_clock = fields.get(problems, "require_clock", read::boolean);
    Ok(Network {
        allow: allow?,
        deny: deny?,
        ca_bundle: ca_bundle?.unwrap_or_default(),
        tls_min: tls_min?,
        proxy: proxy?,
        require_clock: require_clock?,
    })
}

/// The proxy, if there is one, with what goes without it.
fn proxy(
    context: &Context<'_>,
    fields: Fields<'_>,
    problems: &mut Problems,
) -> Result<Option<Proxy>, Reported> {
    let proxy = fields.given(problems, "proxy", |_, node| {
        let help = "write http://HOST:PORT, or http://USER:PASSWORD@HOST:PORT";
        read::string(node)?.parse::<Proxy>().map_err(|error| Fault::new(error.to_string(), help))
    });
    let authorization = fields.given(problems, "proxy_authorization", |_, node| {
        match credential::resolve(read::string(node)?, context.credentials)? {
            Found::Missing(_) => Ok(None),
            Found::Secret(user) => basic(user.expose()).map(Some).map_err(|_| {
                Fault::new("is no user and password", "write USER:PASSWORD, without control characters")
            }),
        }
    });
    let direct = fields.get(problems, "no_proxy", |_, node| {
        let entry = |item: &Node| {
            let wrong = |help: String| Fault::new("has an entry that is no host", help).at(item.place);
            let text = read::string(item).map_err(|_| wrong(DirectError.to_string()))?;
            text.parse().map_err(|error: DirectError| wrong(error.to_string()))
        };
        read::list(node)?.iter().map(entry).collect::<Result<Vec<Direct>, _>>()
    });
    let (proxy, authorization, direct) = (proxy?, authorization?, direct?);
    let Some(mut proxy) = proxy else { return Ok(None) };
    proxy.direct = direct;
    if let (Some(node), Some(_)) = (fields.node("proxy_authorization"), &proxy.authorization) {
        let help = "leave it out, or take user and password out of `proxy`";
        let fault = Fault::new("is there besides the user in `network.proxy`", help);
        return Err(fields.wrong(problems, "proxy_authorization", node, fault));
    }
    proxy.authorization = proxy.authorization.or(authorization.flatten());
    Ok(Some(proxy))
}

/// What accounts refer to.
#[derive(Clone, Copy)]
struct Shared<'a> {
    forms: &'a Forms,
    /// With `[network] allow`, unless that is wrong itself.
    rules: Option<&'a Rules>,
    credentials: Option<&'a Path>,
}

fn accounts(written: Option<&Table>, shared: Shared<'_>, problems: &mut Problems) -> Accounts {
    let mut accounts = BTreeMap::new();
    for (name, entry) in written.into_iter().flat_map(|table| &table.entries) {
        match name.parse::<AccountName>() {
            Ok(name) => {
                let account = account(Some((&name, &entry.node)), shared, problems);
                accounts.insert(name, account);
            }
            Err(error) => {
                problems.add(entry.key, "an account cannot be named so".to_owned(), error.to_string());
            }
        }
    }
    if let btree_map::Entry::Vacant(vacant) = accounts.entry(AccountName::default()) {
        vacant.insert(account(None, shared, problems));
    }
    accounts
}

/// An account that stands in no file, by itself.
pub(super) fn account_alone(
    written: (&AccountName, &Node),
    (forms, rules): (&Forms, &Rules),
    problems: &mut Problems,
) -> Result<Account, Reported> {
    account(Some(written), Shared { forms, rules: Some(rules), credentials: None }, problems)
}

fn account(
    written: Option<(&AccountName, &Node)>,
    shared: Shared<'_>,
    problems: &mut Problems,
) -> Result<Account, Reported> {
    let mut fields = Fields::new("accounts.NAME", written.map(|(_, node)| node))?;
    if let Some((name, _)) = written {
        fields = fields.named(name.as_str());
    }
    let form = fields.get(problems, "profile", |key, node| known_profile(shared.forms, key, node));
    let max_endpoints = fields.get(problems, "max_endpoints", read::integer);
    let https_only = fields.get(problems, "https_only", read::boolean);
    let max_origins = fields.get(problems, "max_origins", read::integer);
    let retention = fields.given(problems, "retention", read::duration);
    let retention_failed = fields.given(problems, "retention_failed", read::duration);
    let fitting = form.as_ref().ok().and_then(|form| form.as_deref().ok());
    let secret = fields.given(problems, "secret", |_, node| {
        let found = credential::resolve(read::string(node)?, shared.credentials)?;
        match (&found, fitting) {
            (Found::Secret(secret), Some(form)) => fits(secret, form).map(|()| found),
            (Found::Missing(_), _) | (_, None) => Ok(found),
        }
    });
    let allow = fields.given(problems, "allow", |key, node| kept(shared.rules, key, node));
    let deny = fields.get(problems, "deny", read::networks);
    let name = written.map_or("default", |(name, _)| name.as_str());
    let catalog = catalog(name, fields.node("event_type"), problems);
    let (secret, missing_credential) = match secret? {
        Some(Found::Secret(secret)) => (Some(secret), None),
        Some(Found::Missing(name)) => (None, Some(name)),
        None => (None, None),
    };
    Ok(Account {
        form: Some(form??),
        catalog: catalog?,
        max_endpoints: max_endpoints?,
        https_only: https_only?,
        max_origins: max_origins?,
        retention: retention?,
        retention_failed: retention_failed?,
        secret,
        missing_credential,
        narrowing: Narrowing::new(allow?, deny?),
    })
}

/// What an account's `allow` keeps of the network's.
fn kept(rules: Option<&Rules>, key: &Key, node: &Node) -> Result<Vec<IpNet>, Fault> {
    let networks = read::networks(key, node)?;
    for (network, item) in networks.iter().zip(read::list(node)?) {
        if rules.is_some_and(|rules| !rules.allows(*network)) {
            let help = format!(
                "an account opens nothing that [network] does not: add \"{network}\" to `allow` there, or take it out here"
            );
            let what = "has an entry that is in none of `network.allow`";
            return Err(Fault::new(what, help).at(item.place));
        }
    }
    Ok(networks)
}

/// The profile that a key names; the inner error: it is there, and something is wrong with it.
pub(super) fn known_profile(
    forms: &Forms,
    key: &Key,
    node: &Node,
) -> Result<Result<Arc<Form>, Reported>, Fault> {
    let name = read::name(key, node)?;
    let unknown = || Fault::new("names an unknown profile", suggest(&name, forms.keys().map(String::as_str)));
    forms.get(&name).cloned().ok_or_else(unknown)
}

/// The account that a key names.
pub(super) fn known_account(accounts: &Accounts, key: &Key, node: &Node) -> Result<AccountName, Fault> {
    let name = read::name(key, node)?;
    let known = accounts.keys().find(|account| account.as_str() == name).cloned();
    known.ok_or_else(|| {
        let help = suggest(&name, accounts.keys().map(AccountName::as_str));
        Fault::new("names an unknown account", format!("{help}; add another as [accounts.NAME]"))
    })
}

fn spools(
    context: &Context<'_>,
    items: &[Node],
    accounts: &Accounts,
    problems: &mut Problems,
) -> Result<Vec<Spool>, Reported> {
    let mut directories = Directories::new();
    let spools: Vec<_> = items
        .iter()
        .map(|item| {
            let fields = Fields::new("spool", Some(item))?;
            let path = fields.get(problems, "path", |key, node| Ok((context.path(key, node)?, node.place)));
            let account = fields.get(problems, "account", |key, node| known_account(accounts, key, node));
            let after =
                fields.get(problems, "after", choice(&[("delete", After::Delete), ("keep", After::Keep)]));
            let rescan = fields.get(problems, "rescan", read::duration);
            let (path, place) = path?;
            if let Err((message, first)) = directories.add(&path, place) {
                let help = "leave one of them out, or give it a directory of its own";
                return Err(problems.add_related(place, message, help, ("the first is", first)));
            }
            let (after, rescan) = (after?, rescan?);
            let account = account?;
            // What is wrong with the account has been said.
            let known = accounts.get(&account).and_then(|account| account.as_ref().ok());
            let event_type = fields.given(problems, "type", |key, node| spool_type(known, key, node));
            Ok(Spool { path, account, event_type: event_type?, after, rescan })
        })
        .collect();
    spools.into_iter().collect()
}

/// A type that the account takes: files of another would all be refused.
fn spool_type(account: Option<&Account>, key: &Key, node: &Node) -> Result<EventType, Fault> {
    let wrong = |error: ParseTypeError| Fault::new("is no event type", error.to_string());
    let event_type: EventType = read::text(key, node)?.parse().map_err(wrong)?;
    let catalog = account.and_then(|account| account.catalog.as_deref());
    match catalog.filter(|catalog| catalog.get(&event_type).is_none()) {
        None => Ok(event_type),
        Some(catalog) => {
            let unknown = catalog.unknown(&event_type);
            Err(Fault::new("is not in its account's catalog", unknown.to_string()))
        }
    }
}
