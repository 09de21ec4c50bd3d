//! What an endpoint is to be, wherever that was said: in the configuration, or over the API and so in the store. From
//! here on nobody can tell.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use http::HeaderName;
use url::Url;

use super::{directory::Target, fingerprint::fingerprint};
use crate::{
    config::{self, Config, ConfigErrors},
    delivery::{
        client::{Client, Lane, TargetError},
        sign::Signer,
        tls::Terms,
    },
    model::{
        account::AccountName,
        attempt::Fingerprint,
        endpoint::{DisableReason, Disabled, Endpoint, EndpointNumber, Own, Source},
        id::IdKey,
        pattern::TypePattern,
        secret::{DatedSecret, Secret},
        tenant::Tenant,
    },
    outbox::{Configured, Judged},
    policy::{
        address::{Refusals, Rules, Scope, Stance},
        destination::{self, Problem},
        form::Form,
        key::KeyError,
        retention::{Ages, Retention},
    },
};

/// What an endpoint is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose they are.
    pub owner: Owner,
    /// Where it is.
    pub url: Url,
    /// What somebody has written down about it.
    pub description: Option<String>,
    /// What it subscribes to; nothing for the origin of callbacks, for all others something.
    pub event_types: Vec<TypePattern>,
    /// Its profile's name as it was given; `None`: its account's.
    pub profile: Option<String>,
    /// Its profile; `None`: it is not in the configuration.
    pub form: Option<Arc<Form>>,
    /// Headers besides the profile's; without those whose credential is missing.
    pub headers: Vec<(HeaderName, Secret)>,
    /// What signs its deliveries, newest first.
    pub secrets: Vec<DatedSecret>,
    /// How TLS is spoken with it.
    pub terms: Terms,
    /// The credentials that are not there.
    pub missing_credentials: Vec<String>,
}

/// Whose an endpoint's settings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    /// They were made over the API, and are changed there.
    Api,
    /// They are its account's: callbacks go there.
    Callback,
    /// They stand in the configuration.
    Configuration,
}

impl Owner {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Callback => "callback",
            Self::Configuration => "configuration",
        }
    }

    /// Who decides where it may be.
    const fn stance(self) -> Stance {
        match self {
            Self::Api | Self::Callback => Stance::Outside,
            Self::Configuration => Stance::Configuration,
        }
    }
}

/// What it takes to make an attempt. Clones share it.
#[derive(Clone)]
pub struct Active {
    /// What is sent, and what is a success.
    pub form: Arc<Form>,
    /// The connections.
    pub lane: Arc<Lane>,
    /// The keys.
    pub signer: Arc<Signer>,
    /// What makes the requests.
    pub fingerprint: Fingerprint,
}

/// Settings that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The URL has an address that its rules close.
    #[error("the URL is refused: {0}")]
    Closed(#[from] Refusals),
    /// A header's name is none.
    #[error("a header's name cannot be sent")]
    Header,
    /// A secret is no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The URL is none for an endpoint from outside.
    #[error(transparent)]
    Refused(#[from] Problem),
    /// The URL is none that can be dialled.
    #[error(transparent)]
    Url(#[from] TargetError),
}

/// Makes targets of what the store keeps, with what the configuration has.
pub struct Workshop {
    /// Its rules are those of the accounts.
    client: Client,
    configuration: Arc<Configuration>,
    /// Those of the configuration, and of those that were made over the API the ones that it does not have.
    accounts: BTreeMap<AccountName, Arc<config::Account>>,
    /// Those that were made over the API, all of them.
    tenants: BTreeMap<AccountName, Arc<Tenant>>,
    /// What signs each account's callbacks.
    callbacks: BTreeMap<AccountName, Arc<CallbackKey>>,
}

/// What stays as it is while accounts are made and changed.
struct Configuration {
    forms: BTreeMap<String, Arc<Form>>,
    rules: Rules,
    /// How long the store keeps events.
    ages: Ages,
    accounts: BTreeSet<AccountName>,
    /// In its order.
    endpoints: Vec<Ready>,
    /// Where among them an endpoint is, by account and name.
    places: HashMap<(AccountName, String), usize>,
}

/// What signs an account's callbacks.
struct CallbackKey {
    missing_credentials: Vec<String>,
    /// `None`: a credential is missing, or there is none where one is needed.
    signer: Option<Arc<Signer>>,
}

impl CallbackKey {
    fn of(account: &config::Account) -> Self {
        let Some(form) = &account.form else { return Self { missing_credentials: Vec::new(), signer: None } };
        let needed = form.needs_secret();
        let secrets: Vec<_> = account.secret.iter().cloned().map(DatedSecret::lasting).collect();
        let missing_credentials: Vec<_> =
            account.missing_credential.iter().filter(|_| needed).cloned().collect();
        let there = !needed || !secrets.is_empty();
        let signer = if there { Signer::new(form, &secrets).ok().map(Arc::new) } else { None };
        Self { missing_credentials, signer }
    }
}

/// An endpoint of the configuration.
struct Ready {
    account: AccountName,
    name: String,
    settings: Arc<Settings>,
    /// `None`: it lacks a credential.
    active: Option<Active>,
}

impl Workshop {
    /// One for this configuration; everything about its endpoints that can be wrong is found here. What goes where it went
    /// with `before` goes over the same connections.
    ///
    /// # Errors
    /// Every endpoint whose URL or secret cannot be used.
    pub fn new(
        config: &Config,
        client: &Client,
        tenants: BTreeMap<AccountName, Arc<Tenant>>,
        before: Option<&Self>,
    ) -> Result<Self, ConfigErrors> {
        let of = |(name, tenant): (&AccountName, &Arc<Tenant>)| {
            (name.clone(), Arc::new(config::Account::of(tenant, &config.forms)))
        };
        let mut accounts: BTreeMap<_, _> = tenants.iter().map(of).collect();
        accounts.extend(config.accounts.iter().map(|(name, one)| (name.clone(), Arc::new(one.clone()))));
        let rules = config.network_rules();
        let client = client.with_rules(narrowed(&rules, &accounts));
        let (mut configured, mut errors) = (Vec::with_capacity(config.endpoints.len()), Vec::new());
        for endpoint in &config.endpoints {
            match ready(endpoint, &client, before) {
                Ok(ready) => configured.push(ready),
                Err(why) => {
                    let message = format!("the endpoint `{}` cannot be used: {why}", endpoint.name);
                    errors.push(endpoint.place.error(message, ""));
                }
            }
        }
        if let Some(errors) = ConfigErrors::of(errors) {
            return Err(errors);
        }
        let places = configured.iter().enumerate();
        let places = places.map(|(at, ready)| ((ready.account.clone(), ready.name.clone()), at)).collect();
        let callbacks = accounts
            .iter()
            .map(|(name, account)| (name.clone(), Arc::new(CallbackKey::of(account))))
            .collect();
        let configuration = Configuration {
            forms: config.forms.clone(),
            rules,
            ages: config.store.retention,
            accounts: config.accounts.keys().cloned().collect(),
            endpoints: configured,
            places,
        };
        Ok(Self { client, configuration: Arc::new(configuration), accounts, tenants, callbacks })
    }

    /// The same with these accounts that were made over the API, for a start that has none yet.
    #[must_use]
    pub fn with_tenants(mut self, tenants: BTreeMap<AccountName, Arc<Tenant>>) -> Self {
        for (name, tenant) in tenants.iter().filter(|(name, _)| !self.configuration.accounts.contains(*name))
        {
            let account = config::Account::of(tenant, &self.configuration.forms);
            self.callbacks.insert(name.clone(), Arc::new(CallbackKey::of(&account)));
            self.accounts.insert(name.clone(), Arc::new(account));
        }
        self.client = self.client.with_rules(narrowed(&self.configuration.rules, &self.accounts));
        Self { tenants, ..self }
    }

    /// The same with an account that was made over the API, as it is now; `None`: there is none any more. One of the
    /// configuration with its name wins.
    #[must_use]
    pub fn with_tenant(&self, name: &AccountName, tenant: Option<Arc<Tenant>>) -> Self {
        let (mut accounts, mut tenants) = (self.accounts.clone(), self.tenants.clone());
        let mut callbacks = self.callbacks.clone();
        let account = tenant.as_ref().map(|one| config::Account::of(one, &self.configuration.forms));
        match tenant {
            Some(tenant) => tenants.insert(name.clone(), tenant),
            None => tenants.remove(name),
        };
        if !self.is_configured(name) {
            accounts.remove(name);
            callbacks.remove(name);
            if let Some(account) = account {
                callbacks.insert(name.clone(), Arc::new(CallbackKey::of(&account)));
                accounts.insert(name.clone(), Arc::new(account));
            }
        }
        let client = self.client.with_rules(narrowed(&self.configuration.rules, &accounts));
        let configuration = Arc::clone(&self.configuration);
        Self { client, configuration, accounts, tenants, callbacks }
    }

    /// Whether an account stands in the configuration.
    pub fn is_configured(&self, account: &AccountName) -> bool {
        self.configuration.accounts.contains(account)
    }

    /// The accounts that were made over the API, also those of which the configuration has one of their name.
    pub const fn tenants(&self) -> &BTreeMap<AccountName, Arc<Tenant>> {
        &self.tenants
    }

    /// How long events are kept.
    pub fn retention(&self) -> Retention {
        config::retention(self.configuration.ages, self.all_accounts())
    }

    /// Where deliveries may go, whatever accounts say.
    pub fn network(&self) -> &Rules {
        &self.configuration.rules
    }

    /// What its endpoints are reached with.
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The accounts with their settings, in the order of their names.
    pub fn all_accounts(&self) -> impl Iterator<Item = (&AccountName, &config::Account)> {
        self.accounts.iter().map(|(name, account)| (name, &**account))
    }

    /// The accounts that there are.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountName> {
        self.accounts.keys()
    }

    /// An account, if there is one of this name.
    pub fn account(&self, name: &AccountName) -> Option<&config::Account> {
        self.accounts.get(name).map(|account| &**account)
    }

    /// Where endpoints of this account that are made over the API may be.
    pub fn scope(&self, account: &AccountName) -> Scope {
        self.client.rules().scope(Stance::Outside, account)
    }

    /// The profiles that there are, by name.
    pub fn forms(&self) -> &BTreeMap<String, Arc<Form>> {
        &self.configuration.forms
    }

    fn ready(&self, account: &AccountName, name: &str) -> Option<&Ready> {
        let place = self.configuration.places.get(&(account.clone(), name.to_owned()));
        place.map(|place| &self.configuration.endpoints[*place])
    }

    /// How many of the configuration's endpoints are of this account.
    pub fn configured_of(&self, account: &AccountName) -> usize {
        self.configuration.endpoints.iter().filter(|ready| ready.account == *account).count()
    }

    /// The configuration's endpoints, as the store wants to know them.
    pub fn wanted(&self) -> Vec<Configured> {
        let one = |ready: &Ready| Configured {
            account: ready.account.clone(),
            name: ready.name.clone(),
            url: ready.settings.url.to_string(),
            unavailable: lacks(&ready.settings),
            lasting: ready.settings.form.as_ref().map(|form| form.profile().lasting()),
        };
        self.configuration.endpoints.iter().map(one).collect()
    }

    /// Whether the endpoints that were made over the API, and the origins of callbacks, can be used as the configuration is.
    pub fn judge(&self, stored: &[(EndpointNumber, Endpoint)]) -> Vec<Judged> {
        stored.iter().filter_map(|(number, endpoint)| self.judge_one(*number, endpoint)).collect()
    }

    fn judge_one(&self, number: EndpointNumber, endpoint: &Endpoint) -> Option<Judged> {
        let account = &endpoint.account;
        let (unavailable, profile) = match &endpoint.source {
            Source::Api(own) => (self.refuses(account, own), own.profile.as_deref()),
            Source::Callback { origin } => (self.refuses_callbacks(account, origin), None),
            Source::Configuration { .. } | Source::Deleted { .. } => return None,
        };
        let lasting = self.form(account, profile).map(|form| form.profile().lasting());
        Some(Judged { number, unavailable, lasting })
    }

    /// An origin that was made while another configuration held, perhaps, as it is under this one. What the store has of that
    /// is judged anew by each start.
    pub fn origin(
        &self,
        number: EndpointNumber,
        stored: Endpoint,
        id_key: &IdKey,
        before: Option<&Target>,
    ) -> Target {
        let reason = self.judge_one(number, &stored).and_then(|judged| judged.unavailable);
        let same = stored.unavailable.map(|unavailable| unavailable.reason) == reason;
        let since = stored.created_at;
        let unavailable =
            if same { stored.unavailable } else { reason.map(|reason| Disabled { reason, since }) };
        self.target(number, Endpoint { unavailable, ..stored }, id_key, before)
    }

    /// Why no callback could go to an origin, if so.
    fn refuses_callbacks(&self, account: &AccountName, origin: &str) -> Option<DisableReason> {
        let scope = self.scope(account);
        let (Some(account), Some(key)) = (self.accounts.get(account), self.callbacks.get(account)) else {
            return Some(DisableReason::NotConfigured);
        };
        if !key.missing_credentials.is_empty() {
            return Some(DisableReason::NoCredential);
        }
        let url = destination::judge(origin, Stance::Outside, account.https_only);
        let taken = url.is_ok_and(|url| destination::judge_literal(&url, &scope).is_ok());
        (key.signer.is_none() || !taken).then_some(DisableReason::Unfit)
    }

    /// The credentials that accounts lack to sign their callbacks.
    pub fn missing_for_callbacks(&self) -> impl Iterator<Item = (&AccountName, &str)> {
        self.callbacks.iter().flat_map(|(account, key)| {
            key.missing_credentials.iter().map(move |name| (account, name.as_str()))
        })
    }

    /// Why an endpoint of these settings could not be used, if so.
    fn refuses(&self, account: &AccountName, own: &Own) -> Option<DisableReason> {
        if !self.accounts.contains_key(account) {
            return Some(DisableReason::NotConfigured);
        }
        let Some(form) = self.form(account, own.profile.as_deref()) else {
            return Some(DisableReason::NoProfile);
        };
        self.check(account, own, &form).is_err().then_some(DisableReason::Unfit)
    }

    /// The profile of this name, else the account's.
    pub fn form(&self, account: &AccountName, profile: Option<&str>) -> Option<Arc<Form>> {
        let account = self.accounts.get(account)?;
        match profile {
            Some(name) => self.configuration.forms.get(name).cloned(),
            None => account.form.clone(),
        }
    }

    /// An endpoint as it is stored from now on, in the place of `before`: to the same URL it goes on over the same
    /// connections.
    pub fn target(
        &self,
        number: EndpointNumber,
        stored: Endpoint,
        id_key: &IdKey,
        before: Option<&Target>,
    ) -> Target {
        let (settings, active) = match &stored.source {
            Source::Deleted { .. } => (None, None),
            Source::Configuration { name, .. } => {
                let ready = self.ready(&stored.account, name);
                let settings = ready.map(|ready| Arc::clone(&ready.settings));
                (settings, ready.and_then(|ready| ready.active.clone()))
            }
            Source::Callback { origin } => {
                let settings = self.callback(&stored.account, origin);
                let active =
                    settings.as_ref().and_then(|settings| self.call(&stored.account, settings, before));
                (settings.map(Arc::new), active)
            }
            Source::Api(own) => {
                let settings = self.own(&stored.account, own).ok();
                let active =
                    settings.as_ref().and_then(|settings| self.reach(&stored.account, settings, before));
                (settings.map(Arc::new), active)
            }
        };
        Target::new(number, stored, id_key, settings, active)
    }

    /// What it takes to reach an endpoint of these settings; `None` where they cannot be used.
    fn reach(&self, account: &AccountName, settings: &Settings, before: Option<&Target>) -> Option<Active> {
        activate(account, settings, settings.form.as_ref()?, &self.client, lane_to(before, &settings.url))
            .ok()
    }

    /// What holds for callbacks to an origin; `None`: their account is not in the configuration.
    fn callback(&self, account: &AccountName, origin: &str) -> Option<Settings> {
        let (form, key) = (self.form(account, None)?, self.callbacks.get(account)?);
        Some(Settings {
            owner: Owner::Callback,
            url: origin.parse().ok()?,
            description: None,
            event_types: Vec::new(),
            profile: None,
            form: Some(form),
            headers: Vec::new(),
            // Its account's key signs: see `call`.
            secrets: Vec::new(),
            terms: Terms::default(),
            missing_credentials: key.missing_credentials.clone(),
        })
    }

    /// What it takes to make callbacks; `None` where they cannot be made. All of an account share a key.
    fn call(&self, account: &AccountName, settings: &Settings, before: Option<&Target>) -> Option<Active> {
        let signer = Arc::clone(self.callbacks.get(account)?.signer.as_ref()?);
        let lane = lane(account, settings, &self.client, lane_to(before, &settings.url)).ok()?;
        let form = Arc::clone(settings.form.as_ref()?);
        // The rest of the URL is the event's, which never is another.
        let fingerprint = fingerprint(&settings.url, &settings.headers, &form);
        Some(Active { form, lane, signer, fingerprint })
    }

    /// The settings of an endpoint that was made over the API.
    ///
    /// # Errors
    /// A header's name is none.
    pub fn own(&self, account: &AccountName, own: &Own) -> Result<Settings, Unusable> {
        let header = |(name, value): &(String, Secret)| {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Unusable::Header)?;
            Ok::<_, Unusable>((name, value.clone()))
        };
        Ok(Settings {
            owner: Owner::Api,
            url: own.url.clone(),
            description: own.description.clone(),
            event_types: own.event_types.clone(),
            profile: own.profile.clone(),
            form: self.form(account, own.profile.as_deref()),
            headers: own.headers.iter().map(header).collect::<Result<_, _>>()?,
            secrets: own.secrets.clone(),
            terms: Terms::default(),
            missing_credentials: Vec::new(),
        })
    }

    /// Whether deliveries could be made with these settings under `form`, as the configuration is now: the one rule for
    /// an endpoint that is made, changed, tested, or found in the store at a start.
    ///
    /// # Errors
    /// The URL, a header or a secret cannot be used.
    pub fn check(&self, account: &AccountName, own: &Own, form: &Arc<Form>) -> Result<(), Unusable> {
        let https_only = self.accounts.get(account).is_none_or(|account| account.https_only);
        let url = destination::judge(own.url.as_str(), Stance::Outside, https_only)?;
        destination::judge_literal(&url, &self.scope(account))?;
        activate(account, &self.own(account, own)?, form, &self.client, None).map(drop)
    }
}

impl Settings {
    fn configured(endpoint: &config::Endpoint) -> Self {
        Self {
            owner: Owner::Configuration,
            url: endpoint.url.clone(),
            description: None,
            event_types: endpoint.event_types.clone(),
            profile: Some(endpoint.form.profile().name.clone()),
            form: Some(Arc::clone(&endpoint.form)),
            headers: endpoint.headers.clone(),
            secrets: endpoint.secret.iter().cloned().map(DatedSecret::lasting).collect(),
            terms: Terms { identity: endpoint.identity.clone(), server_name: endpoint.server_name.clone() },
            missing_credentials: endpoint.missing_credentials.clone(),
        }
    }
}

fn lacks(settings: &Settings) -> Option<DisableReason> {
    (!settings.missing_credentials.is_empty()).then_some(DisableReason::NoCredential)
}

fn narrowed(rules: &Rules, accounts: &BTreeMap<AccountName, Arc<config::Account>>) -> Rules {
    let narrowing =
        |(name, account): (&AccountName, &Arc<config::Account>)| (name.clone(), account.narrowing.clone());
    rules.clone().narrowed(accounts.iter().map(narrowing))
}

/// An endpoint of the configuration, which goes over the same connections as before if it goes where it went.
fn ready(endpoint: &config::Endpoint, client: &Client, before: Option<&Workshop>) -> Result<Ready, Unusable> {
    let settings = Settings::configured(endpoint);
    let (account, name) = (endpoint.account.clone(), endpoint.name.clone());
    let active = match lacks(&settings) {
        None => {
            let before = before.and_then(|before| before.ready(&account, &name));
            let before = before.filter(|before| before.settings.url == settings.url);
            let lane =
                before.and_then(|before| before.active.as_ref()).map(|active| Arc::clone(&active.lane));
            Some(activate(&account, &settings, &endpoint.form, client, lane)?)
        }
        Some(_) => None,
    };
    Ok(Ready { account, name, settings: Arc::new(settings), active })
}

/// The connections that `before` has to this URL.
fn lane_to(before: Option<&Target>, url: &Url) -> Option<Arc<Lane>> {
    let same = before.filter(|target| target.settings.as_ref().is_some_and(|settings| settings.url == *url));
    same.and_then(|target| target.active.as_ref()).map(|active| Arc::clone(&active.lane))
}

/// The connections `before`, if they are made now as they were; else others.
fn lane(
    account: &AccountName,
    settings: &Settings,
    client: &Client,
    before: Option<Arc<Lane>>,
) -> Result<Arc<Lane>, TargetError> {
    let (stance, terms) = (settings.owner.stance(), &settings.terms);
    match before.filter(|lane| client.would_make(lane, stance, account, terms)) {
        Some(lane) => Ok(lane),
        None => client.lane(&settings.url, stance, account, terms).map(Arc::new),
    }
}

/// Makes the keys, and a lane where `before` is none that would be made now.
fn activate(
    account: &AccountName,
    settings: &Settings,
    form: &Arc<Form>,
    client: &Client,
    before: Option<Arc<Lane>>,
) -> Result<Active, Unusable> {
    let lane = lane(account, settings, client, before)?;
    let signer = Arc::new(Signer::new(form, &settings.secrets)?);
    let fingerprint = fingerprint(&settings.url, &settings.headers, form);
    Ok(Active { form: Arc::clone(form), lane, signer, fingerprint })
}
