//! Where deliveries may go, by address: `allow` and `deny` of `[network]`, what an account narrows of them, and the
//! special ranges.
//!
//! Endpoints of the configuration may be anywhere but link-local. Endpoints made over the API, and callbacks, may be
//! on the public internet, and nowhere in a special [`Range`]. `allow` opens what is closed by these rules; `deny`
//! closes, and wins over all. An address is judged by all its forms: as what it is, and as where it leads.
//!
//! Pure: whoever dials asks of the very address that is about to be dialled, and of nothing that was looked up before.

mod form;
mod range;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, net::IpAddr, sync::Arc};

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

use self::form::Forms;
pub use self::range::{RANGES, Range};
use crate::model::account::AccountName;

/// Who says where an endpoint is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stance {
    /// The configuration, which is root's decision.
    Configuration,
    /// Somebody outside: a user of the API, or an event that brings its callback's URL.
    Outside,
}

/// `allow` and `deny` of `[network]` and of the accounts. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    network: Arc<Lists>,
    accounts: Arc<BTreeMap<AccountName, Arc<Narrowing>>>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Lists {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

/// `allow` and `deny` of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    allow: Option<Vec<IpNet>>,
    deny: Vec<IpNet>,
}

impl Narrowing {
    /// `allow` says what of `[network] allow` holds for the account, `None`: all of it; `deny` is besides that of
    /// `[network]`. Entries are taken as they are written; those that write IPv4 as IPv6 mean the IPv4 addresses.
    pub fn new(allow: Option<Vec<IpNet>>, deny: Vec<IpNet>) -> Self {
        Self { allow: allow.map(canonical), deny: canonical(deny) }
    }

    /// What of `[network] allow` holds; `None`: all of it.
    pub fn allow(&self) -> Option<&[IpNet]> {
        self.allow.as_deref()
    }

    /// What is closed besides.
    pub fn deny(&self) -> &[IpNet] {
        &self.deny
    }
}

impl Rules {
    /// The rules of `[network]`; its entries are taken as those of [`Narrowing::new`].
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        let network = Lists { allow: canonical(allow), deny: canonical(deny) };
        Self { network: Arc::new(network), accounts: Arc::default() }
    }

    /// The same, with what these accounts narrow.
    #[must_use]
    pub fn narrowed(self, accounts: impl IntoIterator<Item = (AccountName, Narrowing)>) -> Self {
        let accounts = accounts.into_iter().map(|(name, narrowing)| (name, Arc::new(narrowing))).collect();
        Self { accounts: Arc::new(accounts), ..self }
    }

    /// What holds for an endpoint of `account`.
    pub fn scope(&self, stance: Stance, account: &AccountName) -> Scope {
        let narrowing = self.accounts.get(account).cloned().unwrap_or_default();
        Scope { stance, network: Arc::clone(&self.network), account: account.clone(), narrowing }
    }

    /// Whether an entry of `[network] allow` has all of `net`, so that an account may keep it.
    pub fn allows(&self, net: IpNet) -> bool {
        let net = canonical_net(net);
        self.network.allow.iter().any(|entry| entry.contains(&net))
    }
}

/// What holds for an endpoint: the rules, by whose it is and who made it. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    stance: Stance,
    network: Arc<Lists>,
    account: AccountName,
    narrowing: Arc<Narrowing>,
}

impl Scope {
    /// Whether an endpoint may be at `address`.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        let forms = Forms::of(address);
        self.check_denied(address, &forms)?;
        let Some((form, range)) = self.special(&forms) else { return Ok(()) };
        let Some(sections) = self.missing_in(&forms) else { return Ok(()) };
        // An entry for what an address leads to only perhaps would not let it pass.
        let entry = if forms.certain().any(|certain| certain == form) { form } else { forms.own() };
        let leads_to = (form != forms.own()).then_some(form);
        let entry = IpNet::from(entry);
        Err(Refusal::Special { address, leads_to, range, stance: self.stance, entry, sections })
    }

    /// Whether an endpoint may be where a name leads that has these addresses: at one of them is enough, for the others
    /// are not dialled. Without any there is nothing to refuse.
    pub fn check_any(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Result<(), Refusals> {
        let mut refusals = Vec::new();
        for address in addresses {
            match self.check(address) {
                Ok(()) => return Ok(()),
                Err(refusal) => refusals.push(refusal),
            }
        }
        Refusals::new(refusals).map_or(Ok(()), Err)
    }

    fn check_denied(&self, address: IpAddr, forms: &Forms) -> Result<(), Refusal> {
        let covering =
            |nets: &[IpNet]| nets.iter().copied().find(|net| forms.all().any(|form| net.contains(&form)));
        if let Some(entry) = covering(&self.network.deny) {
            return Err(Refusal::Denied { address, entry, account: None });
        }
        match covering(&self.narrowing.deny) {
            Some(entry) => Err(Refusal::Denied { address, entry, account: Some(self.account.clone()) }),
            None => Ok(()),
        }
    }

    /// The form for which the address is closed unless `allow` opens it, and the range that it is in.
    fn special(&self, forms: &Forms) -> Option<(IpAddr, &'static Range)> {
        let mut special = forms.all().filter_map(|form| Some((form, Range::of(form)?)));
        match self.stance {
            Stance::Configuration => special.find(|(_, range)| range.is_link_local()),
            Stance::Outside => special.next(),
        }
    }

    /// Where `allow` would have to have an entry for the address and has none.
    fn missing_in(&self, forms: &Forms) -> Option<Sections> {
        let covers = |nets: &[IpNet]| nets.iter().any(|net| forms.certain().any(|form| net.contains(&form)));
        let network = covers(&self.network.allow);
        let account = match (self.stance, &self.narrowing.allow) {
            (Stance::Configuration, _) | (Stance::Outside, None) => true,
            (Stance::Outside, Some(allow)) => covers(allow),
        };
        match (network, account) {
            (true, true) => None,
            (false, true) => Some(Sections { network: true, account: None }),
            (network, false) => Some(Sections { network: !network, account: Some(self.account.clone()) }),
        }
    }
}

/// Why an address is not dialled. What it says names the range, and the line that would open it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An entry of `deny` covers it.
    #[error("{address} is denied by the entry \"{entry}\" of `deny` under {}", Header(.account.as_ref()))]
    Denied {
        /// The address as it came.
        address: IpAddr,
        /// The entry that covers it.
        entry: IpNet,
        /// Whose entry it is; `None`: that of `[network]`.
        account: Option<AccountName>,
    },
    /// It is special, and no entry of `allow` covers it.
    #[error(
        "{address} {}{} ({}), closed to {}: add `allow = [\"{entry}\"]` under {sections}",
        LeadsTo(*.leads_to), .range.name, .range.net, closed_to(*.stance)
    )]
    Special {
        /// The address as it came.
        address: IpAddr,
        /// The address that it leads to, if it is for that one's sake.
        leads_to: Option<IpAddr>,
        /// The range that it is in.
        range: &'static Range,
        /// Whose endpoint is kept out.
        stance: Stance,
        /// The entry that would let it pass.
        entry: IpNet,
        /// Where that entry would have to stand.
        sections: Sections,
    },
}

/// Sections of the configuration: one at least.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sections {
    /// `[network]`.
    pub network: bool,
    /// `[accounts.NAME]`.
    pub account: Option<AccountName>,
}

impl fmt::Display for Sections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.network, &self.account) {
            (true, Some(_)) => write!(f, "{} and {}", Header(None), Header(self.account.as_ref())),
            (_, account) => Header(account.as_ref()).fmt(f),
        }
    }
}

/// A section's header as it is written in TOML.
struct Header<'a>(Option<&'a AccountName>);

impl fmt::Display for Header<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("[network]"),
            Some(account) if account.as_str().contains('.') => write!(f, "[accounts.\"{account}\"]"),
            Some(account) => write!(f, "[accounts.{account}]"),
        }
    }
}

struct LeadsTo(Option<IpAddr>);

impl fmt::Display for LeadsTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("is "),
            Some(address) => write!(f, "leads to {address}, which is "),
        }
    }
}

const fn closed_to(stance: Stance) -> &'static str {
    match stance {
        Stance::Configuration => "every endpoint",
        Stance::Outside => "endpoints of the API and callbacks",
    }
}

/// Why none of several addresses is dialled; of one that `allow` could open the whole is said.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Refusals(Vec<Refusal>);

impl Refusals {
    /// Takes them in the addresses' order; `None` where there are none.
    pub fn new(mut refusals: Vec<Refusal>) -> Option<Self> {
        // Stable: among those that something can be done about the first stays first.
        refusals.sort_by_key(|refusal| matches!(refusal, Refusal::Denied { .. }));
        (!refusals.is_empty()).then_some(Self(refusals))
    }
}

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, refusal) in self.0.iter().enumerate() {
            match index {
                0 => refusal.fmt(f)?,
                1 => write!(f, "; refused as well: {}", refusal.address())?,
                _ => write!(f, ", {}", refusal.address())?,
            }
        }
        Ok(())
    }
}

impl Refusal {
    /// The address as it came.
    pub const fn address(&self) -> IpAddr {
        match self {
            Self::Denied { address, .. } | Self::Special { address, .. } => *address,
        }
    }
}

fn canonical(nets: Vec<IpNet>) -> Vec<IpNet> {
    nets.into_iter().map(canonical_net).collect()
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`; without this it would cover nothing, for addresses are canonical.
fn canonical_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(v4, prefix)| Ipv4Net::new(v4, prefix).ok()).map_or(net, IpNet::V4)
}
