//! Endpoints: where they are, what they subscribe to, and that they have what their profile needs.

use std::{collections::BTreeMap, path::Path, str::FromStr as _, sync::Arc};

use http::{HeaderName, HeaderValue};
use rustls::pki_types::ServerName;
use url::Url;

use super::{
    Endpoint,
    check::{Accounts, Context, Forms, known_account, known_profile},
    credential::{self, Found},
    error::{Problems, Reported, Written},
    keys::Key,
    raw::{Node, Value},
    read::{self, Fault, Fields},
    source::Place,
};
use crate::{
    model::{account::AccountName, secret::Secret},
    policy::{
        address::Stance,
        catalog::Catalog,
        certificate::{Identity, IdentityError},
        destination,
        form::{Form, is_reserved},
        key::key,
        placeholder::Placeholder,
        route::TypePattern,
    },
};

/// An event can have at most so many deliveries besides its callback: their slots are counted in 16 bits.
const MAX_ENDPOINTS: usize = (1 << 16) - 1;

/// Reads the endpoints.
pub(super) struct Endpoints<'a, 'p> {
    pub(super) context: &'a Context<'a>,
    pub(super) forms: &'a Forms,
    pub(super) accounts: &'a Accounts,
    pub(super) problems: &'p mut Problems,
}

/// What of an endpoint comes from credentials.
#[derive(Default)]
struct Secrets {
    secret: Option<Secret>,
    headers: Vec<(HeaderName, Secret)>,
    identity: Option<Identity>,
    missing: Vec<String>,
}

impl Endpoints<'_, '_> {
    /// All of them; what is wrong is noted.
    pub(super) fn read(mut self, items: &[Node]) -> Result<Vec<Endpoint>, Reported> {
        if let Some(item) = items.get(MAX_ENDPOINTS) {
            let message = format!("more than {MAX_ENDPOINTS} endpoints");
            return Err(self.problems.add(
                item.place,
                message,
                "an event can have no more deliveries; leave some out",
            ));
        }
        let mut taken = BTreeMap::new();
        let endpoints: Vec<_> = items.iter().map(|item| self.endpoint(item, &mut taken)).collect();
        endpoints.into_iter().collect()
    }

    fn endpoint(
        &mut self,
        item: &Node,
        taken: &mut BTreeMap<(String, AccountName), Place>,
    ) -> Result<Endpoint, Reported> {
        let fields = Fields::new("endpoint", Some(item))?;
        let problems = &mut *self.problems;
        let name = fields.get(problems, "name", |key, node| Ok((read::name(key, node)?, node.place)));
        let accounts = self.accounts;
        let account = fields.get(problems, "account", |key, node| known_account(accounts, key, node));
        let url = fields.get(problems, "url", |_, node| url(node));
        let catalog = account.as_ref().ok().and_then(|account| catalog(accounts, account));
        let event_types = fields.get(problems, "event_types", |_, node| type_patterns(node, catalog));
        let form = self.form(fields, account.as_ref().ok());
        let secrets = self.secrets(fields, item, form.as_deref().ok());
        let server_name = fields.given(self.problems, "server_name", |_, node| server_name(node));
        self.only_https(fields, url.as_ref().ok());
        let (name, place) = name?;
        let account = account?;
        if let Some(first) = taken.insert((name.clone(), account.clone()), place) {
            let message = format!("two endpoints of the account `{account}` are named `{name}`");
            let help = "give one of them another name";
            return Err(self.problems.add_related(place, message, help, ("the first is", first)));
        }
        let Secrets { secret, headers, identity, missing } = secrets?;
        Ok(Endpoint {
            account,
            name,
            url: url?,
            event_types: event_types?,
            secret,
            form: form?,
            headers,
            identity,
            server_name: server_name?,
            missing_credentials: missing,
            place: Written::new(place, self.context.sources),
        })
    }

    /// The endpoint's profile, else its account's.
    fn form(&mut self, fields: Fields<'_>, account: Option<&AccountName>) -> Result<Arc<Form>, Reported> {
        let forms = self.forms;
        match fields.given(self.problems, "profile", |key, node| known_profile(forms, key, node))? {
            Some(form) => form,
            None => match account.and_then(|account| self.accounts.get(account)) {
                Some(Ok(account)) => account.form.clone().ok_or(Reported),
                _ => Err(Reported),
            },
        }
    }

    fn secrets(&mut self, fields: Fields<'_>, item: &Node, form: Option<&Form>) -> Result<Secrets, Reported> {
        let mut secrets = Secrets::default();
        let secret = self.secret(fields, item, form, &mut secrets);
        let headers = self.headers(fields.node("headers"), &mut secrets);
        let identity = self.identity(fields, &mut secrets);
        secret.and(headers).and(identity)?;
        secrets.missing.sort();
        secrets.missing.dedup();
        Ok(secrets)
    }

    fn secret(
        &mut self,
        fields: Fields<'_>,
        item: &Node,
        form: Option<&Form>,
        secrets: &mut Secrets,
    ) -> Result<(), Reported> {
        let directory = self.context.credentials;
        let found = fields.given(self.problems, "secret", |_, node| {
            let found = credential::resolve(read::string(node)?, directory)?;
            match (&found, form) {
                (Found::Secret(secret), Some(form)) => fits(secret, form)?,
                (Found::Missing(_), _) | (_, None) => {}
            }
            Ok(found)
        })?;
        match (found, form) {
            (Some(Found::Secret(secret)), _) => secrets.secret = Some(secret),
            (Some(Found::Missing(name)), _) => secrets.missing.push(name),
            (None, Some(form)) if form.needs_secret() => {
                let profile = &form.profile().name;
                let why = if form.signs() { "signs" } else { "sends a secret" };
                let help = format!("add `secret = \"@credential:NAME\"`: the profile `{profile}` {why}");
                return Err(self.problems.add(item.place, "`endpoint.secret` is missing".to_owned(), help));
            }
            (None, _) => {}
        }
        Ok(())
    }

    /// What is shown of this machine: certificate and key, or neither.
    fn identity(&mut self, fields: Fields<'_>, secrets: &mut Secrets) -> Result<(), Reported> {
        let directory = self.context.credentials;
        let mut pem = |name| {
            let read = |_: &Key, node: &Node| credential::resolve_pem(read::string(node)?, directory);
            fields.given(self.problems, name, read)
        };
        let (certificate, key) = (pem("client_certificate"), pem("client_key"));
        let (given, other) = match (certificate?, key?) {
            (None, None) => return Ok(()),
            (Some(Found::Secret(certificate)), Some(Found::Secret(key))) => {
                match Identity::new(&certificate, &key) {
                    Ok(identity) => secrets.identity = Some(identity),
                    Err(error) => return Err(self.no_identity(fields, error)),
                }
                return Ok(());
            }
            (Some(certificate), Some(key)) => {
                secrets.missing.extend([certificate, key].into_iter().filter_map(Found::missing));
                return Ok(());
            }
            (Some(_), None) => ("client_certificate", "client_key"),
            (None, Some(_)) => ("client_key", "client_certificate"),
        };
        let node = fields.node(given).expect("it is given");
        let help = format!("a certificate and its key go together: add `{other} = \"@credential:NAME\"`");
        let fault = Fault::new(format!("is there without `{other}`"), help);
        Err(fields.wrong(self.problems, given, node, fault))
    }

    fn no_identity(&mut self, fields: Fields<'_>, error: IdentityError) -> Reported {
        let name = if error.is_of_key() { "client_key" } else { "client_certificate" };
        let node = fields.node(name).expect("both are given");
        fields.wrong(self.problems, name, node, Fault::new("cannot be used", error.to_string()))
    }

    /// Notes what is about TLS where there is none.
    fn only_https(&mut self, fields: Fields<'_>, url: Option<&Url>) {
        if url.is_none_or(|url| url.scheme() == "https") {
            return;
        }
        for name in ["client_certificate", "client_key", "server_name"] {
            if let Some(node) = fields.node(name) {
                let help = "leave it out, or write an https URL";
                fields.wrong(self.problems, name, node, Fault::new("is for https alone", help));
            }
        }
    }

    fn headers(&mut self, node: Option<&Node>, secrets: &mut Secrets) -> Result<(), Reported> {
        let fields = Fields::new("endpoint.headers", node)?;
        let Some(Node { value: Value::Table(table), .. }) = node else { return Ok(()) };
        let mut entries: Vec<_> = table.entries.iter().collect();
        entries.sort_by_key(|(_, entry)| entry.key);
        let mut all = Ok(());
        let mut seen: Vec<(HeaderName, Place)> = Vec::new();
        for (written, entry) in entries {
            let directory = self.context.credentials;
            let value = fields.get(self.problems, written, |_, node| header_value(node, directory));
            let name = match header_name(written) {
                Ok(name) => name,
                Err(help) => {
                    all = Err(self.problems.add(
                        entry.key,
                        format!("`{written}` cannot be a header here"),
                        help,
                    ));
                    continue;
                }
            };
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let message = format!("the header `{written}` is there twice");
                let help = "leave one of them; case does not count in names";
                all = Err(self.problems.add_related(entry.key, message, help, ("the first is", *first)));
                continue;
            }
            seen.push((name.clone(), entry.key));
            match value {
                Ok(Found::Secret(value)) => secrets.headers.push((name, value)),
                Ok(Found::Missing(credential)) => secrets.missing.push(credential),
                Err(reported) => all = Err(reported),
            }
        }
        all
    }
}

/// Whether a secret is a key in the form that the profile needs.
pub(super) fn fits(secret: &Secret, form: &Form) -> Result<(), Fault> {
    let in_header = form.headers().iter().any(|header| header.value.holds(Placeholder::Secret));
    if in_header && HeaderValue::from_str(secret.expose()).is_err() {
        return Err(no_header_value());
    }
    if !form.signs() {
        return Ok(());
    }
    key(form.profile().signature.key, form.profile().signature.algorithm, secret).map(drop).map_err(|error| {
        let help = format!("{error} (profile `{}`)", form.profile().name);
        Fault::new("does not fit its profile", help)
    })
}

fn header_name(written: &str) -> Result<HeaderName, &'static str> {
    match HeaderName::from_bytes(written.as_bytes()) {
        Ok(name) if is_reserved(&name) => {
            Err("posthaste sets this header itself, or the connection would break; leave it out")
        }
        Ok(name) => Ok(name),
        Err(_) => Err("a header's name has the characters A-Z a-z 0-9 and !#$%&'*+-.^_`|~"),
    }
}

fn header_value(node: &Node, directory: Option<&Path>) -> Result<Found, Fault> {
    let found = credential::resolve(read::string(node)?, directory)?;
    match &found {
        Found::Secret(value) if HeaderValue::from_str(value.expose()).is_err() => Err(no_header_value()),
        _ => Ok(found),
    }
}

fn no_header_value() -> Fault {
    Fault::new(
        "has a value that no header can carry",
        "a header's value is visible ASCII without line ends and control characters",
    )
}

/// The catalog of an account; none either where something is wrong with the account, which is noted there.
fn catalog<'a>(accounts: &'a Accounts, account: &AccountName) -> Option<&'a Catalog> {
    accounts.get(account)?.as_ref().ok()?.catalog.as_deref()
}

fn type_patterns(node: &Node, catalog: Option<&Catalog>) -> Result<Vec<TypePattern>, Fault> {
    let items = read::list(node)?;
    if items.is_empty() {
        return Err(Fault::new("is empty", "write [\"*\"] for all types"));
    }
    let pattern = |item: &Node| {
        let text = read::string(item).map_err(|_| {
            Fault::new("has an entry that is no string", "write patterns such as \"*\" or \"video.media.*\"")
                .at(item.place)
        })?;
        let pattern = TypePattern::from_str(text).map_err(|error| {
            Fault::new("has an entry that is no pattern", error.to_string()).at(item.place)
        })?;
        match catalog.map_or(Ok(()), |catalog| catalog.covers(&pattern)) {
            Ok(()) => Ok(pattern),
            Err(unknown) => {
                let what = "has an entry that means no type of the account's catalog";
                Err(Fault::new(what, unknown.to_string()).at(item.place))
            }
        }
    };
    items.iter().map(pattern).collect()
}

/// A name or an address; the dot at a name's end is the resolver's, and no certificate has it.
fn server_name(node: &Node) -> Result<ServerName<'static>, Fault> {
    let text = read::string(node)?;
    let text = text.strip_suffix('.').unwrap_or(text);
    ServerName::try_from(text.to_owned()).map_err(|_| {
        let help = "write a name such as \"erp.example\", or an address";
        Fault::new("is neither a name nor an address", help)
    })
}

fn url(node: &Node) -> Result<Url, Fault> {
    destination::judge(read::string(node)?, Stance::Configuration, false)
        .map_err(|problem| Fault::new(problem.what(), problem.help()))
}
