//! Accounts that are made over the API, by the same rules as those that stand in the configuration.
//!
//! What somebody gives becomes the tree that a file would have become, and is read by the same readers; what is wrong is said in
//! the same words, without a place. What was taken once is kept though the configuration has changed since: what it lacks then
//! is for who reads it, [`Account::of`], and closes no door.

use std::{collections::BTreeMap, fmt, sync::Arc};

use ipnet::IpNet;
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use zeroize::Zeroizing;

use super::{
    Account,
    check::{self, Forms},
    error::{ConfigErrors, Problems},
    raw::{Entry, Node, Table, Value},
    read::{self, Fields},
    shape,
    source::{Place, Sources},
};
use crate::{
    model::{
        account::AccountName,
        secret::Secret,
        tenant::{KnownType, Network, Tenant},
        time::{Timestamp, format_duration},
    },
    policy::{
        address::{Narrowing, Rules},
        catalog::{Catalog, Entry as CatalogEntry},
        form::Form,
        key::key,
    },
};

/// Nowhere: nothing of what is given over the API has a place in a file.
const NOWHERE: Place = Place { file: 0, start: 0, end: 0 };

/// The most types of a catalog.
const MAX_TYPES: usize = 10_000;
/// How deep what is given may nest.
const MAX_DEPTH: usize = 8;

/// A value as somebody gives it, of any kind.
#[derive(Clone)]
pub struct Given(Value);

impl fmt::Debug for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Given({})", self.0.kind())
    }
}

/// Something of an account is not as it can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What, and what to write instead.
    pub message: String,
}

impl Account {
    /// What holds for an account that was made over the API while the configuration has these profiles. A secret that fits the
    /// profile no more is none.
    pub fn of(tenant: &Tenant, forms: &BTreeMap<String, Arc<Form>>) -> Self {
        let form = forms.get(&tenant.profile).cloned();
        let fits = |secret: &&Secret| {
            let rule = form.as_ref().map(|form| (&form.profile().signature, form.signs()));
            rule.is_some_and(|(rule, signs)| !signs || key(rule.key, rule.algorithm, secret).is_ok())
        };
        let networks =
            |all: &[Network]| all.iter().filter_map(|(at, bits)| IpNet::new(*at, *bits).ok()).collect();
        let entry = |known: &KnownType| {
            let KnownType { name, groups, description, effect } = known;
            let entry =
                CatalogEntry { groups: groups.clone(), description: description.clone(), effect: *effect };
            (name.clone(), entry)
        };
        let catalog = |types: &Vec<KnownType>| Arc::new(Catalog::new(types.iter().map(entry).collect()));
        Self {
            max_endpoints: tenant.max_endpoints,
            catalog: tenant.event_types.as_ref().map(catalog),
            https_only: tenant.https_only,
            max_origins: tenant.max_origins,
            secret: tenant.secret.as_ref().filter(fits).cloned(),
            missing_credential: None,
            retention: tenant.retention,
            retention_failed: tenant.retention_failed,
            narrowing: Narrowing::new(tenant.allow.as_deref().map(networks), networks(&tenant.deny)),
            form,
        }
    }
}

/// Reads the settings of the account `name`: those of `before`, or the defaults, with what is `given` in their place, where
/// nothing stands for what holds if the key is not written. `rules` has what is open at all.
///
/// # Errors
/// All that is wrong with them.
pub fn tenant(
    name: &AccountName,
    before: Option<&Tenant>,
    given: Vec<(&'static str, Option<Given>)>,
    (forms, rules): (&BTreeMap<String, Arc<Form>>, &Rules),
) -> Result<Tenant, Vec<Wrong>> {
    let mut table = before.map(written).unwrap_or_default();
    for (key, value) in given {
        match value {
            Some(Given(value)) => put(&mut table, key, value),
            None => {
                table.entries.remove(key);
            }
        }
    }
    read(name, table, (forms, rules)).map_err(|problems| {
        let mut sources = Sources::default();
        sources.add("".into(), Zeroizing::new(String::new()));
        let errors = problems.finish(&sources).err();
        let errors = errors.iter().flat_map(ConfigErrors::errors);
        errors.map(|error| wrong(name, &error.message, &error.help)).collect()
    })
}

fn read(
    name: &AccountName,
    table: Table,
    (forms, rules): (&BTreeMap<String, Arc<Form>>, &Rules),
) -> Result<Tenant, Problems> {
    let mut problems = Problems::default();
    if let Some(Value::Array(types)) = table.get("event_type").map(|node| &node.value)
        && types.len() > MAX_TYPES
    {
        problems.add(NOWHERE, format!("`event_type` has more than {MAX_TYPES} entries"), "leave some out");
        return Err(problems);
    }
    let credential = |node: &Node| matches!(&node.value, Value::String(text) if text.starts_with(super::credential::PREFIX));
    if table.get("secret").is_some_and(credential) {
        let help = "give the secret itself: credentials are for the configuration";
        problems.add(NOWHERE, "`secret` names a credential".to_owned(), help);
    }
    let node = Node { place: NOWHERE, value: Value::Table(table) };
    let (mut accounts, mut document) = (Table::default(), Table::default());
    put_node(&mut accounts, name.as_str(), node.clone());
    put(&mut document, "accounts", Value::Table(accounts));
    shape::check(&document, &mut problems);
    let forms: Forms = forms.iter().map(|(name, form)| (name.clone(), Ok(Arc::clone(form)))).collect();
    let account = check::account_alone((name, &node), (&forms, rules), &mut problems);
    let (Ok(account), true) = (account, problems.is_empty()) else { return Err(problems) };
    let networks = |key: &str, problems: &mut Problems| {
        let fields = Fields::new("accounts.NAME", Some(&node)).ok()?;
        fields.given(problems, key, read::networks).ok().flatten()
    };
    let plain =
        |all: Vec<IpNet>| all.into_iter().map(|net| (net.addr(), net.prefix_len())).collect::<Vec<_>>();
    let (allow, deny) = (networks("allow", &mut problems), networks("deny", &mut problems));
    let known = |(name, entry): (&_, &CatalogEntry)| KnownType {
        name: Clone::clone(name),
        groups: entry.groups.clone(),
        description: entry.description.clone(),
        effect: entry.effect,
    };
    Ok(Tenant {
        description: None,
        profile: account.form.map(|form| form.profile().name.clone()).unwrap_or_default(),
        max_endpoints: account.max_endpoints,
        https_only: account.https_only,
        max_origins: account.max_origins,
        retention: account.retention,
        retention_failed: account.retention_failed,
        secret: account.secret,
        allow: allow.map(plain),
        deny: deny.map(plain).unwrap_or_default(),
        event_types: account.catalog.map(|catalog| catalog.iter().map(known).collect()),
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
    })
}

/// Names of keys are those of the API: without their section, and the catalog's in the plural.
fn wrong(name: &AccountName, message: &str, help: &str) -> Wrong {
    let plain = |text: &str| {
        let text = text.replace(&format!("accounts.{name}."), "").replace("accounts.NAME.", "");
        let list = "write a list of objects, each with a `name`";
        let text = text.replace("write `[[event_type]]` and its keys below it", list);
        let text = text.replace("write `[[event_type]]`, in double brackets", list);
        text.replace("`event_type`", "`event_types`").replace("`event_type.", "`event_types.")
    };
    let (message, help) = (plain(message), plain(help));
    Wrong { message: if help.is_empty() { message } else { format!("{message}: {help}") } }
}

/// As they would be written.
fn written(tenant: &Tenant) -> Table {
    let text = |text: &str| Value::String(Zeroizing::new(text.to_owned()));
    let number = |number: u64| Value::Integer(i64::try_from(number).ok());
    let list = |items: Vec<Value>| {
        Value::Array(items.into_iter().map(|value| Node { place: NOWHERE, value }).collect())
    };
    let networks =
        |all: &[Network]| list(all.iter().map(|(at, bits)| text(&format!("{at}/{bits}"))).collect());
    let mut table = Table::default();
    put(&mut table, "profile", text(&tenant.profile));
    put(&mut table, "max_endpoints", number(tenant.max_endpoints));
    put(&mut table, "https_only", Value::Boolean(tenant.https_only));
    put(&mut table, "max_origins", number(tenant.max_origins));
    for (key, age) in [("retention", tenant.retention), ("retention_failed", tenant.retention_failed)] {
        if let Some(age) = age {
            put(&mut table, key, text(&format_duration(age)));
        }
    }
    if let Some(secret) = &tenant.secret {
        put(&mut table, "secret", text(secret.expose()));
    }
    if let Some(allow) = &tenant.allow {
        put(&mut table, "allow", networks(allow));
    }
    put(&mut table, "deny", networks(&tenant.deny));
    if let Some(types) = &tenant.event_types {
        let entry = |known: &KnownType| {
            let mut entry = Table::default();
            put(&mut entry, "name", text(known.name.as_str()));
            put(&mut entry, "groups", list(known.groups.iter().map(|group| text(group)).collect()));
            put(&mut entry, "description", text(&known.description));
            put(&mut entry, "effect", text(known.effect.as_str()));
            Value::Table(entry)
        };
        put(&mut table, "event_type", list(types.iter().map(entry).collect()));
    }
    table
}

fn put(table: &mut Table, key: &str, value: Value) {
    put_node(table, key, Node { place: NOWHERE, value });
}

fn put_node(table: &mut Table, key: &str, node: Node) {
    table.entries.insert(key.to_owned(), Entry { key: NOWHERE, node });
}

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Depth(value, depth) = deserializer.deserialize_any(GivenVisitor)?;
        if depth > MAX_DEPTH {
            return Err(D::Error::custom("it nests too deep"));
        }
        Ok(Self(value))
    }
}

/// A value, and how deep it nests.
struct Depth(Value, usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GivenVisitor)
    }
}

struct GivenVisitor;

impl<'de> Visitor<'de> for GivenVisitor {
    type Value = Depth;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, and not null")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Depth, E> {
        Ok(Depth(Value::Boolean(value), 0))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Depth, E> {
        Ok(Depth(Value::Integer(Some(value)), 0))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Depth, E> {
        Ok(Depth(Value::Integer(i64::try_from(value).ok()), 0))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Depth, E> {
        Ok(Depth(Value::Float(value), 0))
    }

    fn visit_str<E>(self, value: &str) -> Result<Depth, E> {
        Ok(Depth(Value::String(Zeroizing::new(value.to_owned())), 0))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Depth, A::Error> {
        let (mut all, mut deepest) = (Vec::new(), 0);
        while let Some(Depth(value, depth)) = items.next_element()? {
            deepest = depth.max(deepest);
            all.push(Node { place: NOWHERE, value });
        }
        Ok(Depth(Value::Array(all), deepest + 1))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Depth, A::Error> {
        let (mut table, mut deepest) = (Table::default(), 0);
        while let Some((key, Depth(value, depth))) = entries.next_entry::<String, Depth>()? {
            deepest = depth.max(deepest);
            if table.entries.contains_key(&key) {
                return Err(A::Error::custom("a name is there twice"));
            }
            put(&mut table, &key, value);
        }
        Ok(Depth(Value::Table(table), deepest + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(before: Option<&Tenant>, given: &[(&'static str, &str)]) -> Result<Tenant, Vec<Wrong>> {
        let config = super::super::defaults(std::path::Path::new("/"));
        let rules = Rules::new(vec!["10.0.0.0/8".parse().expect("a network")], Vec::new());
        let value = |json: &str| (json != "null").then(|| serde_json::from_str(json).expect("a value"));
        let given = given.iter().map(|(key, json)| (*key, value(json))).collect();
        tenant(&"shop".parse().expect("a name"), before, given, (&config.forms, &rules))
    }

    /// Whatever was taken is the same when it is read again as it is kept, and in it every key can be another.
    #[test]
    fn what_is_kept_is_what_was_given() {
        let whole = [
            ("profile", "\"transcodely\""),
            ("max_endpoints", "3"),
            ("https_only", "false"),
            ("max_origins", "4"),
            ("retention", "\"1500ms\""),
            ("retention_failed", "\"365d\""),
            ("secret", "\"hush\""),
            ("allow", "[\"10.1.0.0/16\"]"),
            ("deny", "[\"10.1.2.3\", \"fd00::/8\"]"),
            (
                "event_type",
                "[{\"name\":\"b\",\"groups\":[\"g\"],\"description\":\"d\",\"effect\":\"none\"},{\"name\":\"a\"}]",
            ),
        ];
        let full = read(None, &whole).expect("an account");
        assert_eq!(read(Some(&full), &[]).as_ref(), Ok(&full));
        let none = read(None, &[]).expect("an account");
        assert_eq!((none.max_endpoints, none.https_only, none.event_types.as_ref()), (10, true, None));
        for (key, json) in whole.iter().filter(|(key, _)| *key != "secret") {
            let one = read(Some(&none), &[(*key, *json)]).expect("an account");
            assert_ne!(one, none, "{key}");
            assert_eq!(read(Some(&one), &[(*key, "null")]).as_ref(), Ok(&none), "{key}");
        }
    }

    #[test]
    fn words_are_those_of_the_api() {
        for (given, said) in [
            (
                ("max_endpoints", "65537"),
                "`max_endpoints` is out of bounds: write a whole number from 0 to 65536",
            ),
            (
                ("max_endpoints", "1.5"),
                "`max_endpoints` cannot be a float: write a whole number from 0 to 65536",
            ),
            (
                ("max_endpoints", "99999999999999999999"),
                "`max_endpoints` cannot be a float: write a whole number from 0 to 65536",
            ),
            (
                ("event_type", "[1]"),
                "`event_types` is a section, not an integer: write a list of objects, each with a `name`",
            ),
            (("event_type", "[{}]"), "`event_types.name` is missing"),
            (
                ("retention", "\"0s\""),
                "`retention` is out of bounds: write a duration such as \"30s\", from 1s to 365d",
            ),
            (
                ("retention_failed", "30"),
                "`retention_failed` cannot be an integer: write a duration such as \"30s\", from 1s to 365d",
            ),
        ] {
            let wrong = read(None, &[given]).expect_err("it cannot be");
            assert!(wrong[0].message.starts_with(said), "{given:?}: {}", wrong[0].message);
        }
        let many = format!("[{}]", vec!["{\"name\":\"a\"}"; MAX_TYPES + 1].join(","));
        assert!(
            read(None, &[("event_type", &many)]).expect_err("too many")[0]
                .message
                .contains("more than 10000")
        );
    }

    /// A profile that goes, or wants another key, leaves an account that closes no door.
    #[test]
    fn what_has_been_taken_is_kept_whatever_comes() {
        let mut forms = super::super::defaults(std::path::Path::new("/")).forms;
        let kept = read(None, &[("secret", "\"whsec_c2VjcmV0\"")]).expect("an account");
        assert!(Account::of(&kept, &forms).secret.is_some());
        let other = Tenant { secret: Some(Secret::new("hush".to_owned())), ..kept.clone() };
        assert!(Account::of(&other, &forms).secret.is_none(), "it is no key");
        forms.remove("posthaste");
        let account = Account::of(&kept, &forms);
        assert!(account.form.is_none() && account.secret.is_none());
    }

    #[test]
    fn what_nests_too_deep_or_is_there_twice_is_none() {
        for json in ["null", "[null]", "{\"a\":1,\"a\":2}", "[[[[[[[[[1]]]]]]]]]"] {
            assert!(serde_json::from_str::<Given>(json).is_err(), "{json}");
        }
        assert!(serde_json::from_str::<Given>("[[[[[[[[1]]]]]]]]").is_ok());
    }
}
