//! The special ranges: addresses that are not of the public internet, as IANA's registries of special-purpose
//! addresses, of multicast and of IPv6 space have them.
//!
//! Ranges that the registries call reachable, yet where no receiver can be (anycast of AS112, AMT and 6to4 relays), are
//! special here too. `docs/network.md` has the same table.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// A special range.
#[derive(Debug, PartialEq, Eq)]
pub struct Range {
    /// Its addresses.
    pub net: IpNet,
    /// What it is, to stand after "is".
    pub name: &'static str,
}

/// All of them. Of two that cover an address the first says what it is. IPv4 written as IPv6 (`::ffff:0:0/96`) is not
/// among them: such an address is judged as what it is.
pub const RANGES: &[Range] = &[
    v4([0, 0, 0, 0], 32, "unspecified"),
    v4([0, 0, 0, 0], 8, "of \"this network\""),
    v4([10, 0, 0, 0], 8, "private"),
    v4([100, 64, 0, 0], 10, "shared (carrier NAT)"),
    v4([127, 0, 0, 0], 8, "loopback"),
    v4([169, 254, 0, 0], 16, LINK_LOCAL),
    v4([172, 16, 0, 0], 12, "private"),
    v4([192, 0, 0, 0], 24, "for protocols"),
    v4([192, 0, 2, 0], 24, "documentation"),
    v4([192, 31, 196, 0], 24, "AS112 anycast"),
    v4([192, 52, 193, 0], 24, "AMT anycast"),
    v4([192, 88, 99, 0], 24, "6to4 anycast"),
    v4([192, 168, 0, 0], 16, "private"),
    v4([192, 175, 48, 0], 24, "AS112 anycast"),
    v4([198, 18, 0, 0], 15, "benchmarking"),
    v4([198, 51, 100, 0], 24, "documentation"),
    v4([203, 0, 113, 0], 24, "documentation"),
    v4([224, 0, 0, 0], 4, "multicast"),
    v4([255, 255, 255, 255], 32, "broadcast"),
    v4([240, 0, 0, 0], 4, "reserved"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 128, "unspecified"),
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, "loopback"),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 96, "IPv4-compatible"),
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, "IPv4-translated"),
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, "local NAT64"),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, "discard-only"),
    v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64, "a dummy prefix"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32, "Teredo"),
    v6([0x2001, 2, 0, 0, 0, 0, 0, 0], 48, "benchmarking"),
    v6([0x2001, 0x10, 0, 0, 0, 0, 0, 0], 28, "ORCHID"),
    v6([0x2001, 0x20, 0, 0, 0, 0, 0, 0], 28, "ORCHID"),
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, "for protocols"),
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, "documentation"),
    v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48, "AS112 anycast"),
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, "documentation"),
    v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16, "segment routing"),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, "unique-local"),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, LINK_LOCAL),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, "site-local"),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8, "multicast"),
    // What is left of IPv6 outside of 2000::/3, from where all public addresses are given out.
    v6([0, 0, 0, 0, 0, 0, 0, 0], 3, "reserved"),
    v6([0x4000, 0, 0, 0, 0, 0, 0, 0], 2, "reserved"),
    v6([0x8000, 0, 0, 0, 0, 0, 0, 0], 1, "reserved"),
];

/// The one kind that is closed to everybody.
const LINK_LOCAL: &str = "link-local";

/// NAT64's well-known prefix: what is behind it is public or not as the IPv4 address in it is.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Range {
    /// The range that `address`, which is not IPv4 written as IPv6, is in; `None`: it is public.
    pub(super) fn of(address: IpAddr) -> Option<&'static Self> {
        if matches!(address, IpAddr::V6(v6) if NAT64.contains(&v6)) {
            return None;
        }
        RANGES.iter().find(|range| range.net.contains(&address))
    }

    /// Whether it is link-local, where metadata services of clouds are.
    pub(super) fn is_link_local(&self) -> bool {
        self.name == LINK_LOCAL
    }
}

const fn v4(octets: [u8; 4], prefix: u8, name: &'static str) -> Range {
    let first = Ipv4Addr::from_bits(u32::from_be_bytes(octets));
    Range { net: IpNet::V4(Ipv4Net::new_assert(first, prefix)), name }
}

const fn v6(s: [u16; 8], prefix: u8, name: &'static str) -> Range {
    let first = Ipv6Addr::new(s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7]);
    Range { net: IpNet::V6(Ipv6Net::new_assert(first, prefix)), name }
}
