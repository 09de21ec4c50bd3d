//! The guard: where deliveries may go, asked of the very address that is about to be dialled.
//!
//! An address is judged by all its forms: an IPv4 address written as IPv6 (`::ffff:0:0/96`) as what it is; one
//! that leads to an IPv4 address (NAT64 `64:ff9b::/96`, 6to4 `2002::/16`) as itself and as that one; the
//! unspecified address, which the kernel connects to this machine, as itself and as loopback. `deny` wins over
//! all, then `allow` over the rule.

use std::{
    iter,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ipnet::{IpNet, Ipv4Net};
use thiserror::Error;

/// `allow` and `deny` of `[network]`, with the rule for endpoints of configuration: anywhere but link-local.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    allow: Vec<IpNet>,
    deny: Vec<IpNet>,
}

impl Rules {
    /// Takes the entries as they are written; those that write IPv4 as IPv6 mean the IPv4 addresses.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self {
            allow: allow.into_iter().map(canonical_net).collect(),
            deny: deny.into_iter().map(canonical_net).collect(),
        }
    }

    /// Whether an endpoint of configuration may be at `address`.
    pub fn check(&self, address: IpAddr) -> Result<(), Refusal> {
        if let Some(entry) = covering(&self.deny, address) {
            return Err(Refusal::Denied { address, entry });
        }
        let Some(link_local) = forms(address).find(|form| is_link_local(*form)) else {
            return Ok(());
        };
        match covering(&self.allow, address) {
            Some(_) => Ok(()),
            None => Err(Refusal::LinkLocal { address, entry: IpNet::from(link_local) }),
        }
    }
}

/// Why an address is not dialled.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// An entry of `deny` covers it.
    #[error("{address} is denied by the entry \"{entry}\" of `deny` under [network]")]
    Denied {
        /// The address as it came.
        address: IpAddr,
        /// The entry that covers it.
        entry: IpNet,
    },
    /// It is link-local, and no entry of `allow` covers it.
    #[error(
        "{address} is link-local, where nothing is delivered unless configuration says so: add `allow = [\"{entry}\"]` under [network]"
    )]
    LinkLocal {
        /// The address as it came.
        address: IpAddr,
        /// The entry that would let it pass.
        entry: IpNet,
    },
}

/// The first of `nets` that covers a form of `address`.
fn covering(nets: &[IpNet], address: IpAddr) -> Option<IpNet> {
    nets.iter().copied().find(|net| forms(address).any(|form| net.contains(&form)))
}

/// What the address is, and where it leads.
fn forms(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let canonical = address.to_canonical();
    let leads_to = match canonical {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded(v6).map(IpAddr::V4),
    };
    iter::once(canonical).chain(leads_to)
}

/// The IPv4 address that a translator or a tunnel takes out of `address`.
const fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.octets() {
        [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d] | [0x20, 0x02, a, b, c, d, ..] => {
            Some(Ipv4Addr::new(a, b, c, d))
        }
        _ => None,
    }
}

const fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`; without this it would cover nothing, for addresses are canonical.
fn canonical_net(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else { return net };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    mapped.and_then(|(v4, prefix)| Ipv4Net::new(v4, prefix).ok()).map_or(net, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nets(entries: &[&str]) -> Vec<IpNet> {
        entries.iter().map(|entry| entry.parse().expect("a net")).collect()
    }

    /// `None`: it may pass; otherwise the entry that the refusal names, after `deny` or `allow`.
    fn verdict(allow: &[&str], deny: &[&str], address: &str) -> Option<String> {
        let rules = Rules::new(nets(allow), nets(deny));
        match rules.check(address.parse().expect("an address")) {
            Ok(()) => None,
            Err(Refusal::Denied { entry, .. }) => Some(format!("deny {entry}")),
            Err(Refusal::LinkLocal { entry, .. }) => Some(format!("allow {entry}")),
        }
    }

    #[test]
    fn anywhere_but_link_local() {
        for address in [
            "1.1.1.1",
            "10.0.0.1",
            "127.0.0.1",
            "169.253.255.255",
            "169.255.0.0",
            "::1",
            "fd00::1",
            "fec0::1",
            "2001:db8::1",
            "::ffff:10.0.0.1",
            "64:ff9b::10.0.0.1",
            "2002:a00:1::",
        ] {
            assert_eq!(verdict(&[], &[], address), None, "{address}");
        }
        for (address, entry) in [
            ("169.254.0.0", "169.254.0.0/32"),
            ("169.254.169.254", "169.254.169.254/32"),
            ("::ffff:169.254.10.7", "169.254.10.7/32"),
            ("64:ff9b::169.254.10.7", "169.254.10.7/32"),
            ("2002:a9fe:a07::1", "169.254.10.7/32"),
            ("fe80::1", "fe80::1/128"),
            ("febf:ffff::1", "febf:ffff::1/128"),
        ] {
            assert_eq!(verdict(&[], &[], address), Some(format!("allow {entry}")), "{address}");
            assert_eq!(verdict(&[entry], &[], address), None, "{address} with the entry it asked for");
        }
    }

    #[test]
    fn allow_opens_link_local() {
        for (allow, address) in [
            ("169.254.0.0/16", "169.254.10.7"),
            ("169.254.0.0/16", "::ffff:169.254.10.7"),
            ("169.254.0.0/16", "2002:a9fe:a07::1"),
            ("2002::/16", "2002:a9fe:a07::1"),
            ("::ffff:169.254.0.0/112", "169.254.10.7"),
            ("0.0.0.0/0", "169.254.10.7"),
            ("fe80::/10", "fe80::1"),
        ] {
            assert_eq!(verdict(&[allow], &[], address), None, "{allow} {address}");
        }
        assert!(verdict(&["10.0.0.0/8"], &[], "169.254.10.7").is_some());
        assert!(verdict(&["0.0.0.0/0"], &[], "fe80::1").is_some());
    }

    #[test]
    fn deny_wins() {
        for (deny, address) in [
            ("127.0.0.0/8", "127.0.0.1"),
            ("127.0.0.0/8", "0.0.0.0"),
            ("::1/128", "::"),
            ("127.0.0.0/8", "::ffff:127.0.0.1"),
            ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
            ("10.0.0.0/8", "2002:a01:203::1"),
            ("64:ff9b::/96", "64:ff9b::1.1.1.1"),
            ("169.254.0.0/16", "169.254.10.7"),
            ("fd00::/8", "fd00:ec2::254"),
        ] {
            assert_eq!(verdict(&[deny], &[deny], address), Some(format!("deny {deny}")), "{deny} {address}");
        }
        assert_eq!(verdict(&[], &["::ffff:10.0.0.0/104"], "10.1.2.3"), Some("deny 10.0.0.0/8".to_owned()));
        assert_eq!(verdict(&[], &["10.0.0.0/8"], "11.0.0.1"), None);
    }

    #[test]
    fn a_refusal_prints_the_line() {
        let rules = Rules::new(Vec::new(), nets(&["10.0.0.0/8"]));
        let refusal = rules.check("169.254.10.7".parse().expect("an address")).expect_err("link-local");
        assert!(
            refusal.to_string().contains("add `allow = [\"169.254.10.7/32\"]` under [network]"),
            "{refusal}"
        );
        let refusal = rules.check("10.0.0.1".parse().expect("an address")).expect_err("denied");
        assert_eq!(
            refusal.to_string(),
            "10.0.0.1 is denied by the entry \"10.0.0.0/8\" of `deny` under [network]"
        );
    }
}
