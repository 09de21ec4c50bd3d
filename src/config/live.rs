//! What is different from one configuration to the next, and what of it a running daemon takes.
//!
//! Which keys wait for a start stands in the table of keys ([`keys::is_live`]). A value that waits stays as it was, while the
//! rest is taken: [`Config::retaining`] is the configuration that a daemon then runs with.

use std::{collections::BTreeMap, sync::Arc};

use super::{Account, Config, Endpoint, keys};
use crate::{model::account::AccountName, policy::form::Form};

/// What is different in another configuration, by key, name or section: `store.settle_delay`, `accounts.media`, `access`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What a running daemon takes.
    pub live: Vec<String>,
    /// What waits for a start.
    pub at_start: Vec<String>,
}

impl Config {
    /// What is different in `next`.
    pub fn difference(&self, next: &Self) -> Difference {
        let mut difference = Difference::default();
        for (key, _) in self.single(next).into_iter().filter(|(_, same)| !same) {
            let list = if keys::is_live(key) { &mut difference.live } else { &mut difference.at_start };
            list.push(key.to_owned());
        }
        let live = &mut difference.live;
        let forms = |config: &Self| -> BTreeMap<_, _> {
            config.forms.iter().map(|(name, form)| (name.clone(), form.profile().clone())).collect()
        };
        named(live, "profiles.", &forms(self), &forms(next), PartialEq::eq);
        let accounts = |config: &Self| -> BTreeMap<_, _> {
            config.accounts.iter().map(|(name, account)| (name.to_string(), account.clone())).collect()
        };
        named(live, "accounts.", &accounts(self), &accounts(next), same_account);
        let endpoints = |config: &Self| -> BTreeMap<_, _> {
            config.endpoints.iter().map(|endpoint| (label(endpoint), endpoint.clone())).collect()
        };
        named(live, "endpoint.", &endpoints(self), &endpoints(next), same_endpoint);
        difference
    }

    /// This configuration, with what `running` has where that cannot change while the daemon runs.
    #[must_use]
    pub fn retaining(mut self, running: &Self) -> Self {
        let (store, limits) = (&running.store, &running.limits);
        self.listen = running.listen.clone();
        self.spools.clone_from(&running.spools);
        self.store.path.clone_from(&store.path);
        self.store.cache = store.cache;
        self.store.quick_repair = store.quick_repair;
        self.store.reserve = store.reserve;
        self.limits.connections_per_address = limits.connections_per_address;
        self.limits.event_size = limits.event_size;
        self.limits.batch_size = limits.batch_size;
        self.limits.file_size = limits.file_size;
        self.limits.file_events = limits.file_events;
        self.limits.in_flight = limits.in_flight;
        self.limits.in_flight_bytes = limits.in_flight_bytes;
        self.limits.keys_in_memory = limits.keys_in_memory;
        self
    }

    /// Each key of a section that is there once, and each section of which nothing has a name: whether `next` has the same.
    fn single(&self, next: &Self) -> Vec<(&'static str, bool)> {
        let (listen, store, limits, network) = (&self.listen, &self.store, &self.limits, &self.network);
        let proxy = |config: &Self| config.network.proxy.clone();
        vec![
            ("listen.socket", listen.socket == next.listen.socket),
            ("listen.socket_mode", listen.socket_mode == next.listen.socket_mode),
            // With its names and its certificate.
            ("listen.http", listen.http == next.listen.http),
            ("access", self.access == next.access),
            ("store.path", store.path == next.store.path),
            ("store.cache", store.cache == next.store.cache),
            ("store.settle_delay", store.settle_delay == next.store.settle_delay),
            ("store.dedup_window", store.dedup_window == next.store.dedup_window),
            ("store.dedup_entries", store.dedup_entries == next.store.dedup_entries),
            ("store.quick_repair", store.quick_repair == next.store.quick_repair),
            ("store.max_size", store.max_size == next.store.max_size),
            ("store.reserve", store.reserve == next.store.reserve),
            ("store.retention", store.retention.succeeded == next.store.retention.succeeded),
            ("store.retention_failed", store.retention.failed == next.store.retention.failed),
            ("limits.event_size", limits.event_size == next.limits.event_size),
            ("limits.batch_size", limits.batch_size == next.limits.batch_size),
            ("limits.batch_events", limits.batch_events == next.limits.batch_events),
            ("limits.file_size", limits.file_size == next.limits.file_size),
            ("limits.file_events", limits.file_events == next.limits.file_events),
            ("limits.connections_per_uid", limits.connections_per_uid == next.limits.connections_per_uid),
            (
                "limits.connections_per_address",
                limits.connections_per_address == next.limits.connections_per_address,
            ),
            ("limits.pending_per_endpoint", limits.pending_per_endpoint == next.limits.pending_per_endpoint),
            ("limits.in_flight", limits.in_flight == next.limits.in_flight),
            ("limits.in_flight_bytes", limits.in_flight_bytes == next.limits.in_flight_bytes),
            ("limits.keys_in_memory", limits.keys_in_memory == next.limits.keys_in_memory),
            ("spool", self.spools == next.spools),
            ("network.allow", network.allow == next.network.allow),
            ("network.deny", network.deny == next.network.deny),
            // With its user, and what goes without it.
            ("network.proxy", proxy(self) == proxy(next)),
            ("network.ca_bundle", network.ca_bundle == next.network.ca_bundle),
            ("network.tls_min", network.tls_min == next.network.tls_min),
            ("network.require_clock", network.require_clock == next.network.require_clock),
        ]
    }
}

fn label(endpoint: &Endpoint) -> String {
    let Endpoint { account, name, .. } = endpoint;
    if account.as_str() == AccountName::DEFAULT { name.clone() } else { format!("{account}/{name}") }
}

/// Adds the names under which the two have something else.
fn named<T>(
    found: &mut Vec<String>,
    before_name: &str,
    before: &BTreeMap<String, T>,
    after: &BTreeMap<String, T>,
    same: impl Fn(&T, &T) -> bool,
) {
    let stays = |name: &String, one: &T| after.get(name).is_some_and(|other| same(one, other));
    let gone_or_changed = before.iter().filter(|(name, one)| !stays(name, one)).map(|(name, _)| name);
    let new = after.keys().filter(|name| !before.contains_key(*name));
    let mut names: Vec<_> = gone_or_changed.chain(new).collect();
    names.sort();
    found.extend(names.into_iter().map(|name| format!("{before_name}{name}")));
}

/// What a profile says in them is the profile's.
fn same_account(one: &Account, other: &Account) -> bool {
    let Account {
        form,
        max_endpoints,
        catalog,
        https_only,
        max_origins,
        secret,
        missing_credential,
        narrowing,
        retention,
        retention_failed,
    } = one;
    let profile = |form: &Option<_>| form.as_ref().map(|form: &Arc<Form>| form.profile().name.clone());
    profile(form) == profile(&other.form)
        && *max_endpoints == other.max_endpoints
        && *catalog == other.catalog
        && *https_only == other.https_only
        && *max_origins == other.max_origins
        && *secret == other.secret
        && *missing_credential == other.missing_credential
        && *narrowing == other.narrowing
        && *retention == other.retention
        && *retention_failed == other.retention_failed
}

fn same_endpoint(one: &Endpoint, other: &Endpoint) -> bool {
    let Endpoint {
        account: _,
        name: _,
        url,
        event_types,
        secret,
        form,
        headers,
        identity,
        server_name,
        missing_credentials,
        place: _,
    } = one;
    *url == other.url
        && *event_types == other.event_types
        && *secret == other.secret
        && form.profile().name == other.form.profile().name
        && *headers == other.headers
        && *identity == other.identity
        && *server_name == other.server_name
        && *missing_credentials == other.missing_credentials
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{super::parse, *};
    use crate::config::keys::SECTIONS;

    fn config(text: &str) -> Config {
        let texts = vec![(PathBuf::from("a.toml"), text.to_owned().into())];
        parse(texts, Path::new("/"), None).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Everything else than by default.
    const OTHER: &str = "
        [listen]
        socket = \"/s\"
        socket_mode = \"0600\"
        http = \"127.0.0.1:1\"
        [[access]]
        uid = 1
        role = \"operator\"
        [store]
        path = \"/o\"
        cache = \"1MiB\"
        settle_delay = \"1ms\"
        dedup_window = \"1s\"
        dedup_entries = 1
        quick_repair = true
        max_size = \"1MiB\"
        reserve = \"1MiB\"
        retention = \"1s\"
        retention_failed = \"1s\"
        [limits]
        event_size = \"1KiB\"
        batch_size = \"1KiB\"
        batch_events = 1
        file_size = \"1KiB\"
        file_events = 1
        connections_per_uid = 1
        connections_per_address = 1
        pending_per_endpoint = 1
        in_flight = 1
        in_flight_bytes = \"64KiB\"
        keys_in_memory = 1000
        [[spool]]
        path = \"/in\"
        [network]
        allow = [\"10.0.0.0/8\"]
        deny = [\"10.0.0.0/9\"]
        proxy = \"http://p:1\"
        tls_min = \"1.3\"
        require_clock = false
        ";

    #[test]
    fn what_is_different_is_taken_or_waits() {
        let (running, next) = (config(""), config(OTHER));
        assert_eq!(running.difference(&running), Difference::default());
        let difference = running.difference(&next);
        let (live, waiting) = (&difference.live, &difference.at_start);
        for (key, _) in running.single(&next).into_iter().filter(|(key, _)| *key != "network.ca_bundle") {
            assert!(live.iter().chain(waiting).any(|one| one == key), "{key}");
        }
        assert!(waiting.iter().all(|key| !keys::is_live(key)) && live.iter().all(|key| keys::is_live(key)));
        // What waits is as it was, and the rest is not.
        let taken = next.clone().retaining(&running);
        let now = running.difference(&taken);
        assert_eq!((&now.live, &now.at_start), (live, &Vec::new()));
        let later = taken.difference(&next);
        assert_eq!((&later.live, &later.at_start), (&Vec::new(), waiting));
    }

    #[test]
    fn no_key_is_overlooked() {
        let one = config("");
        let known: Vec<_> = one.single(&one).into_iter().map(|(key, _)| key).collect();
        for section in SECTIONS {
            if !["listen", "store", "limits", "network"].contains(&section.path) {
                continue;
            }
            for key in section.keys {
                let path = format!("{}.{}", section.path, key.name);
                let of_another = [
                    "listen.http_names",
                    "listen.tls_certificate",
                    "listen.tls_key",
                    "network.proxy_authorization",
                    "network.no_proxy",
                ];
                assert!(of_another.contains(&path.as_str()) || known.contains(&path.as_str()), "{path}");
            }
        }
    }

    #[test]
    fn what_has_a_name_is_named() {
        let shop = "[accounts.shop]\n[profiles.mine]\n";
        let endpoint = |name: &str, url: &str, account: &str| {
            format!(
                "[[endpoint]]\nname = \"{name}\"\nurl = \"https://{url}/\"\nevent_types = [\"*\"]\naccount = \"{account}\"\nsecret = \"whsec_c2VjcmV0\"\n"
            )
        };
        let a = |url: &str| endpoint("a", url, "default");
        for (before, after, named) in [
            ("", shop, &["profiles.mine", "accounts.shop"][..]),
            (shop, "", &["profiles.mine", "accounts.shop"]),
            (shop, "[accounts.shop]\n[profiles.mine]\njitter = 0.5\n", &["profiles.mine"]),
            (shop, "[accounts.shop]\nprofile = \"mine\"\n[profiles.mine]\n", &["accounts.shop"]),
            (shop, "[accounts.shop]\ndeny = [\"10.0.0.0/8\"]\n[profiles.mine]\n", &["accounts.shop"]),
            (
                shop,
                "[accounts.shop]\n[[accounts.shop.event_type]]\nname = \"a\"\n[profiles.mine]\n",
                &["accounts.shop"],
            ),
            (&a("x"), &a("y"), &["endpoint.a"]),
            (&a("x"), &a("x").replace("whsec_c2VjcmV0", "whsec_c2VjcmV1"), &["endpoint.a"]),
            (&a("x"), &format!("# a comment\n{}", a("x")), &[]),
            (
                &(shop.to_owned() + &a("x")),
                &(shop.to_owned() + &a("x") + &endpoint("a", "x", "shop")),
                &["endpoint.shop/a"],
            ),
        ] {
            assert_eq!(config(before).difference(&config(after)).live, named, "{before} to {after}");
        }
    }
}
