use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr},
    path::Path,
};

use super::*;

const BOTH: [Stance; 2] = [Stance::Configuration, Stance::Outside];

fn nets(entries: &[&str]) -> Vec<IpNet> {
    entries.iter().map(|entry| entry.parse().expect("a net")).collect()
}

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn account() -> AccountName {
    "acme".parse().expect("an account")
}

fn check(stance: Stance, allow: &[&str], deny: &[&str], text: &str) -> Result<(), Refusal> {
    Rules::new(nets(allow), nets(deny)).scope(stance, &account()).check(address(text))
}

/// `None`: it may pass; otherwise the entry that the refusal names, after `deny` or `allow`.
fn verdict(stance: Stance, allow: &[&str], deny: &[&str], text: &str) -> Option<String> {
    match check(stance, allow, deny, text) {
        Ok(()) => None,
        Err(Refusal::Denied { entry, .. }) => Some(format!("deny {entry}")),
        Err(Refusal::Special { entry, .. }) => Some(format!("allow {entry}")),
    }
}

/// All ways to write an IPv4 address, with whether it is certain that they lead there.
fn forms_of(v4: Ipv4Addr) -> Vec<(String, bool)> {
    let [a, b, c, d] = v4.octets();
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let of = |segments: [u16; 8]| Ipv6Addr::from(segments).to_string();
    let mut forms = vec![
        (v4.to_string(), true),
        (of([0, 0, 0, 0, 0, 0xffff, high, low]), true),
        (of([0, 0, 0, 0, 0xffff, 0, high, low]), true),
        (of([0x64, 0xff9b, 0, 0, 0, 0, high, low]), true),
        (of([0x2002, high, low, 0, 0, 0, 0, 1]), true),
        (of([0x2002, high, low, 7, 7, 7, 7, 7]), true),
    ];
    if !matches!(v4.octets(), [0, 0, 0, 0 | 1]) {
        forms.push((of([0, 0, 0, 0, 0, 0, high, low]), true));
    }
    if !v4.is_unspecified() {
        let split = |from: [u8; 10]| {
            let mut octets = [0x00, 0x64, 0xff, 0x9b, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
            octets[6..].copy_from_slice(&from);
            Ipv6Addr::from(octets).to_string()
        };
        forms.extend([
            (split([a, b, 0, c, d, 0, 0, 0, 0, 0]), false),
            (split([9, a, 0, b, c, d, 0, 0, 0, 0]), false),
            (split([9, 9, 0, a, b, c, d, 0, 0, 0]), false),
            (split([9, 9, 9, 9, 9, 9, a, b, c, d]), false),
            (of([0x2001, 0, high, low, 0, 0, 0xffff, 0xffff]), false),
            (of([0x2001, 0, 0x101, 0x101, 0, 0, !high, !low]), false),
            (of([0x2a00, 1, 2, 3, 0, 0x5efe, high, low]), false),
            (of([0x2a00, 1, 2, 3, 0x200, 0x5efe, high, low]), false),
        ]);
    }
    forms
}

/// Addresses at the ends of a range, and those beside it.
fn ends(net: IpNet) -> ([IpAddr; 2], Vec<IpAddr>) {
    let (first, last) = (net.network(), net.broadcast());
    let beside = match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let beside = [first.to_bits().checked_sub(1), last.to_bits().checked_add(1)];
            beside.into_iter().flatten().map(|bits| Ipv4Addr::from_bits(bits).into()).collect()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let beside = [first.to_bits().checked_sub(1), last.to_bits().checked_add(1)];
            beside.into_iter().flatten().map(|bits| Ipv6Addr::from_bits(bits).into()).collect()
        }
        _ => unreachable!("a net is of one family"),
    };
    ([first, last], beside)
}

/// Every range, in every form, for both stances, closed and opened and denied.
#[test]
fn every_special_range_in_every_form() {
    for range in RANGES {
        let (inside, _) = ends(range.net);
        for address in inside {
            let forms = match address {
                IpAddr::V4(v4) => forms_of(v4),
                IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => continue,
                IpAddr::V6(v6) => vec![(v6.to_string(), true)],
            };
            for (form, certain) in forms {
                holds_for(range, &form, certain);
            }
        }
    }
}

fn holds_for(range: &Range, form: &str, certain: bool) {
    let (written, about) = (range.net.to_string(), format!("{form} of {}", range.net));
    let outside = check(Stance::Outside, &[], &[], form).expect_err(&about);
    let configuration = check(Stance::Configuration, &[], &[], form);
    assert_eq!(configuration.is_err(), range.is_link_local(), "{about}");
    for refusal in [Some(outside), configuration.err()].into_iter().flatten() {
        let Refusal::Special { stance, entry, ref sections, .. } = refusal else {
            panic!("{about}: {refusal}")
        };
        let line = format!("add `allow = [\"{entry}\"]` under [network]");
        assert!(refusal.to_string().ends_with(&line), "{about}: {refusal}");
        assert_eq!(sections, &Sections { network: true, account: None }, "{about}");
        let entry = entry.to_string();
        assert_eq!(check(stance, &[&entry], &[], form), Ok(()), "{about} with the entry it asked for");
        assert_eq!(check(stance, &[&written], &[], form).is_ok(), certain, "{about} with its range");
        let denied = Some(format!("deny {entry}"));
        assert_eq!(verdict(stance, &[&entry], &[&entry], form), denied, "{about}: deny wins");
    }
    for stance in BOTH {
        let said = verdict(stance, &["0.0.0.0/0", "::/0"], &[&written], form);
        assert_eq!(said, Some(format!("deny {written}")), "{about}: what may lead there is denied");
    }
}

#[test]
fn beside_every_special_range() {
    for range in RANGES {
        for beside in ends(range.net).1 {
            let special = RANGES.iter().find(|range| range.net.contains(&beside));
            let expected =
                special.is_some() && !"64:ff9b::/96".parse::<IpNet>().expect("a net").contains(&beside);
            let refused = check(Stance::Outside, &[], &[], &beside.to_string());
            assert_eq!(refused.is_err(), expected, "{beside} beside {}: {refused:?}", range.net);
        }
    }
}

#[test]
fn the_public_internet_is_open_in_every_form() {
    for text in ["1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "172.32.0.1", "223.255.255.255"] {
        for (form, _) in forms_of(text.parse().expect("IPv4")) {
            let closed = Range::of(address(&form).to_canonical()).is_some();
            assert_eq!(check(Stance::Outside, &[], &[], &form).is_err(), closed, "{form}");
            assert_eq!(check(Stance::Configuration, &[], &[], &form), Ok(()), "{form}");
        }
    }
    for text in [
        "2606:4700:4700::1111",
        "2a00:1450::1",
        "2001:200::1",
        "2003::1",
        "2002:101:101::1",
        "64:ff9b::1.1.1.1",
    ] {
        assert_eq!(check(Stance::Outside, &[], &[], text), Ok(()), "{text}");
    }
}

#[test]
fn metadata_services_are_closed() {
    for text in ["169.254.169.254", "169.254.170.2", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"] {
        for stance in BOTH {
            assert!(check(stance, &[], &[], text).is_err(), "{text} {stance:?}");
        }
    }
    for text in ["fd00:ec2::254", "100.100.100.200", "192.0.0.192"] {
        assert!(check(Stance::Outside, &[], &[], text).is_err(), "{text}");
    }
}

#[test]
fn what_the_configuration_says_goes_anywhere_but_link_local() {
    for text in [
        "1.1.1.1",
        "10.0.0.1",
        "127.0.0.1",
        "0.0.0.0",
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
        assert_eq!(verdict(Stance::Configuration, &[], &[], text), None, "{text}");
    }
    for (text, entry) in [
        ("169.254.0.0", "169.254.0.0/32"),
        ("::ffff:169.254.10.7", "169.254.10.7/32"),
        ("64:ff9b::169.254.10.7", "169.254.10.7/32"),
        ("2002:a9fe:a07::1", "169.254.10.7/32"),
        ("64:ff9b:1::169.254.10.7", "64:ff9b:1::a9fe:a07/128"),
        ("febf:ffff::1", "febf:ffff::1/128"),
    ] {
        assert_eq!(verdict(Stance::Configuration, &[], &[], text), Some(format!("allow {entry}")), "{text}");
    }
}

#[test]
fn allow_is_read_in_any_form() {
    for (allow, text) in [
        ("169.254.0.0/16", "169.254.10.7"),
        ("169.254.0.0/16", "::ffff:169.254.10.7"),
        ("169.254.0.0/16", "2002:a9fe:a07::1"),
        ("2002::/16", "2002:a9fe:a07::1"),
        ("::ffff:169.254.0.0/112", "169.254.10.7"),
        ("0.0.0.0/0", "169.254.10.7"),
        ("fe80::/10", "fe80::1"),
        ("127.0.0.1/32", "0.0.0.0"),
        ("::1/128", "::"),
    ] {
        for stance in BOTH {
            assert_eq!(verdict(stance, &[allow], &[], text), None, "{allow} {text}");
        }
    }
    // What leads somewhere only perhaps is not opened by it.
    for (allow, text) in [
        ("10.0.0.0/8", "169.254.10.7"),
        ("0.0.0.0/0", "fe80::1"),
        ("0.0.0.0/0", "64:ff9b:1::169.254.10.7"),
        ("0.0.0.0/0", "2001:0:101:101::5601:f5f8"),
    ] {
        for stance in BOTH {
            assert!(verdict(stance, &[allow], &[], text).is_some(), "{allow} {text}");
        }
    }
}

#[test]
fn deny_is_read_in_any_form() {
    for (deny, text) in [
        ("127.0.0.0/8", "127.0.0.1"),
        ("127.0.0.0/8", "0.0.0.0"),
        ("127.0.0.0/8", "::ffff:0.0.0.0"),
        ("127.0.0.0/8", "64:ff9b::"),
        ("::1/128", "::"),
        ("10.0.0.0/8", "64:ff9b::10.1.2.3"),
        ("64:ff9b::/96", "64:ff9b::1.1.1.1"),
        ("8.8.8.8/32", "64:ff9b:1::8.8.8.8"),
        ("fd00::/8", "fd00:ec2::254"),
    ] {
        for stance in BOTH {
            assert_eq!(
                verdict(stance, &[deny], &[deny], text),
                Some(format!("deny {deny}")),
                "{deny} {text}"
            );
        }
    }
    let mapped = verdict(Stance::Configuration, &[], &["::ffff:10.0.0.0/104"], "10.1.2.3");
    assert_eq!(mapped, Some("deny 10.0.0.0/8".to_owned()));
    assert_eq!(verdict(Stance::Configuration, &[], &["10.0.0.0/8"], "11.0.0.1"), None);
}

/// Rules with `10.0.0.0/8` and `fd00::/8` open, and an account that narrows them.
fn narrowed(allow: Option<&[&str]>, deny: &[&str]) -> Rules {
    let narrowing = Narrowing::new(allow.map(nets), nets(deny));
    Rules::new(nets(&["10.0.0.0/8", "fd00::/8"]), Vec::new()).narrowed([(account(), narrowing)])
}

#[test]
fn an_account_narrows_what_is_open_to_it() {
    let rules = narrowed(Some(&["10.1.0.0/16"]), &["10.1.2.0/24", "1.1.1.1/32"]);
    let (account, other) = (account(), AccountName::default());
    for (text, mine, others, configuration) in [
        ("10.1.1.1", true, true, true),
        ("::ffff:10.1.1.1", true, true, true),
        ("10.2.0.1", false, true, true),
        ("fd00::1", false, true, true),
        ("10.1.2.3", false, true, false),
        ("1.1.1.1", false, true, false),
        ("1.0.0.1", true, true, true),
        ("192.168.0.1", false, false, true),
    ] {
        let passes = |stance, account| rules.scope(stance, account).check(address(text)).is_ok();
        assert_eq!(passes(Stance::Outside, &account), mine, "{text}");
        assert_eq!(passes(Stance::Outside, &other), others, "{text} of another account");
        assert_eq!(passes(Stance::Configuration, &account), configuration, "{text} of the configuration");
        assert!(passes(Stance::Configuration, &other), "{text} of another account's configuration");
    }
    let scope = narrowed(Some(&[]), &[]).scope(Stance::Outside, &account);
    assert!(scope.check(address("10.1.1.1")).is_err(), "an empty list opens nothing");
    let scope = narrowed(None, &[]).scope(Stance::Outside, &account);
    assert_eq!(scope.check(address("10.1.1.1")), Ok(()), "without a list all of the network's holds");
}

#[test]
fn an_account_keeps_what_the_network_allows() {
    let rules = Rules::new(nets(&["10.0.0.0/8", "::ffff:192.168.0.0/112"]), Vec::new());
    for (entry, kept) in [
        ("10.0.0.0/8", true),
        ("10.1.0.0/16", true),
        ("::ffff:10.1.0.0/112", true),
        ("192.168.7.0/24", true),
        ("10.0.0.0/7", false),
        ("11.0.0.0/8", false),
        ("::/0", false),
    ] {
        assert_eq!(rules.allows(entry.parse().expect("a net")), kept, "{entry}");
    }
}

#[test]
fn a_refusal_prints_the_line_and_where_it_belongs() {
    let said = |rules: &Rules, stance, name: &str, text| {
        let account = name.parse().expect("an account");
        rules.scope(stance, &account).check(address(text)).expect_err("it is closed").to_string()
    };
    let rules = narrowed(Some(&["10.1.0.0/16"]), &["10.1.2.0/24"]);
    for (stance, text, line) in [
        (
            Stance::Configuration,
            "169.254.10.7",
            "169.254.10.7 is link-local (169.254.0.0/16), closed to every endpoint: \
             add `allow = [\"169.254.10.7/32\"]` under [network]",
        ),
        (
            Stance::Outside,
            "64:ff9b::7f00:1",
            "64:ff9b::7f00:1 leads to 127.0.0.1, which is loopback (127.0.0.0/8), closed to endpoints of the API \
             and callbacks: add `allow = [\"127.0.0.1/32\"]` under [network] and [accounts.acme]",
        ),
        (
            Stance::Outside,
            "10.2.0.1",
            "10.2.0.1 is private (10.0.0.0/8), closed to endpoints of the API and callbacks: \
             add `allow = [\"10.2.0.1/32\"]` under [accounts.acme]",
        ),
        (
            Stance::Outside,
            "10.1.2.3",
            "10.1.2.3 is denied by the entry \"10.1.2.0/24\" of `deny` under [accounts.acme]",
        ),
    ] {
        assert_eq!(said(&rules, stance, "acme", text), line);
    }
    let rules = Rules::new(Vec::new(), nets(&["10.0.0.0/8"]));
    let denied = "10.0.0.1 is denied by the entry \"10.0.0.0/8\" of `deny` under [network]";
    assert_eq!(said(&rules, Stance::Configuration, "acme", "10.0.0.1"), denied);
    let dotted = Narrowing::new(Some(Vec::new()), Vec::new());
    let rules = Rules::default().narrowed([("a.b".parse().expect("an account"), dotted)]);
    let line = said(&rules, Stance::Outside, "a.b", "10.0.0.1");
    assert!(line.ends_with(" under [network] and [accounts.\"a.b\"]"), "{line}");
}

/// History keeps 300 characters of a message.
#[test]
fn the_longest_refusal_is_kept_whole() {
    let name: AccountName = "a.".repeat(32).parse().expect("an account");
    let rules = Rules::default().narrowed([(name.clone(), Narrowing::new(Some(Vec::new()), Vec::new()))]);
    let scope = rules.scope(Stance::Outside, &name);
    for range in RANGES {
        let last = range.net.broadcast();
        let said = scope.check(last).err().map(|refusal| refusal.to_string()).unwrap_or_default();
        assert!(said.chars().count() <= 300, "{}: {said}", said.chars().count());
    }
}

#[test]
fn one_good_address_of_a_name_is_enough() {
    let scope = Rules::new(Vec::new(), nets(&["10.0.0.0/8"])).scope(Stance::Outside, &account());
    let any = |texts: &[&str]| scope.check_any(texts.iter().map(|text| address(text)));
    assert_eq!(any(&[]), Ok(()));
    assert_eq!(any(&["127.0.0.1", "1.1.1.1"]), Ok(()));
    let said = any(&["10.0.0.1", "127.0.0.1", "::1"]).expect_err("none of them is open").to_string();
    assert!(said.starts_with("127.0.0.1 is loopback (127.0.0.0/8), "), "{said}");
    assert!(said.ends_with("; refused as well: ::1, 10.0.0.1"), "{said}");
}

#[test]
fn the_manual_has_every_range() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/network.md");
    let manual = fs::read_to_string(file).expect("docs/network.md");
    for range in RANGES {
        let row = format!("| `{}` | {} |", range.net, range.name);
        assert!(manual.contains(&row), "docs/network.md has no row {row}");
    }
}
