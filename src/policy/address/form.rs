//! An address's forms: what it is, and where it leads.
//!
//! IPv4 written as IPv6 is IPv4. Translators and tunnels take an IPv4 address out of an IPv6 one: for some prefixes it
//! is certain where it stands, for others (a NAT64 prefix of one's own, Teredo, ISATAP) there are several places where it
//! may. What may be so counts against an address, and never for it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The forms of one address.
pub(super) struct Forms {
    /// The address; never IPv4 written as IPv6.
    own: IpAddr,
    /// Where it leads for certain: an IPv4 address, and this machine by an unspecified one.
    leads: [Option<IpAddr>; 2],
    /// Where it may lead.
    perhaps: [Option<IpAddr>; 4],
}

impl Forms {
    pub(super) fn of(address: IpAddr) -> Self {
        let own = address.to_canonical();
        let IpAddr::V6(v6) = own else {
            return Self { own, leads: [this_machine(own), None], perhaps: [None; 4] };
        };
        let v4 = embedded(v6).map(IpAddr::V4);
        Self { own, leads: [v4, this_machine(v4.unwrap_or(own))], perhaps: perhaps(v6) }
    }

    /// The address itself.
    pub(super) const fn own(&self) -> IpAddr {
        self.own
    }

    /// What it is and where it leads for certain.
    pub(super) fn certain(&self) -> impl Iterator<Item = IpAddr> {
        [Some(self.own)].into_iter().chain(self.leads).flatten()
    }

    /// All of its forms.
    pub(super) fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.certain().chain(self.perhaps.into_iter().flatten())
    }
}

/// Where the kernel connects for an unspecified address.
const fn this_machine(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        _ => None,
    }
}

/// The IPv4 address that stands where everybody looks for it.
const fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    match address.octets() {
        // `::` and `::1` are themselves.
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        // IPv4-compatible, IPv4-translated, NAT64.
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        | [0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, a, b, c, d]
        | [0x00, 0x64, 0xff, 0x9b, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d]
        // 6to4.
        | [0x20, 0x02, a, b, c, d, ..] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

/// The IPv4 addresses that somebody may take out of `address`.
fn perhaps(address: Ipv6Addr) -> [Option<IpAddr>; 4] {
    let octets = address.octets();
    let known = |v4: Ipv4Addr| (!v4.is_unspecified()).then_some(IpAddr::V4(v4));
    let at = |places: [usize; 4]| known(Ipv4Addr::from(places.map(|place| octets[place])));
    match octets {
        // Local NAT64: with a prefix of 48, 56, 64 and 96 bits (RFC 6052).
        [0x00, 0x64, 0xff, 0x9b, 0, 1, ..] => {
            [at([6, 7, 9, 10]), at([7, 9, 10, 11]), at([9, 10, 11, 12]), at([12, 13, 14, 15])]
        }
        // Teredo: the server, and the client, whose bits are inverted.
        [0x20, 0x01, 0, 0, .., a, b, c, d] => {
            [at([4, 5, 6, 7]), known(Ipv4Addr::new(!a, !b, !c, !d)), None, None]
        }
        // ISATAP.
        [_, _, _, _, _, _, _, _, 0 | 2, 0, 0x5e, 0xfe, ..] => [at([12, 13, 14, 15]), None, None, None],
        _ => [None; 4],
    }
}
