//! Where deliveries may go, by URL: one rule for every URL that somebody gives, wherever it is given.
//!
//! A URL is judged by its text before anything else is done with it; whoever keeps it keeps what came out of that. The
//! `url` crate reads it as browsers do, so that no two readers see different hosts in it, and what it would quietly put
//! right (blanks, backslashes, a user that is empty) is an error here. What a host's *address* may be is not said by the
//! text: [`judge_literal`] says it of an address in the URL, and the guard of every address when it is dialled.
//!
//! No message shows the URL: its path may be a secret. `docs/network.md` has the rule as a table.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
};

use thiserror::Error;
use url::{Host, ParseError, Url};

use super::address::{Refusals, Scope, Stance};

/// Bytes of a URL at most, as written and as sent.
pub const MAX_LENGTH: usize = 2_048;

/// Ports that endpoints from outside may not name: those that the Fetch standard keeps browsers from, ascending. What
/// listens there may take a request for one of its own protocol.
pub const BAD_PORTS: [u16; 82] = [
    1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103, 104,
    109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514, 515,
    526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723, 2049,
    3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// Why nothing is delivered to a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Problem {
    /// A port that is closed to endpoints from outside.
    BadPort(u16),
    /// A character that has no place in a URL.
    Character(char),
    /// A fragment.
    Fragment,
    /// A host that is no name of the DNS.
    Host,
    /// `http` where the account has https only.
    HttpsRequired,
    /// Too many bytes.
    Length(usize),
    /// Letters beyond ASCII in the host.
    Letters,
    /// Port 0.
    Port0,
    /// Neither `http` nor `https`.
    Scheme,
    /// Not two slashes between scheme and host.
    Slashes,
    /// No URL.
    Syntax(ParseError),
    /// A user, a password, or the `@` that they would stand before.
    UserInfo,
    /// The zone of an IPv6 address.
    Zone,
}

impl Problem {
    /// What is wrong: a clause whose subject is the URL, or what it is called where it is written.
    pub fn what(self) -> String {
        match self {
            Self::BadPort(port) => format!("has the port {port}, which belongs to another protocol"),
            Self::Character(' ') => "has a space in it".to_owned(),
            Self::Character(c) => format!("has the character {c:?} in it"),
            Self::Fragment => "has a fragment".to_owned(),
            Self::Host => "has a host that is no name or address".to_owned(),
            Self::HttpsRequired => "is http, and only https is taken here".to_owned(),
            Self::Length(bytes) => format!("is {bytes} bytes long"),
            Self::Letters => "has a host with letters beyond ASCII".to_owned(),
            Self::Port0 => "has the port 0".to_owned(),
            Self::Scheme => "is neither http nor https".to_owned(),
            Self::Slashes => "has not two slashes behind its scheme, and then its host".to_owned(),
            Self::Syntax(error) => format!("is not a URL: {error}"),
            Self::UserInfo => "has a user or password in it".to_owned(),
            Self::Zone => "has an IPv6 address with a zone".to_owned(),
        }
    }

    /// What to write instead.
    pub fn help(self) -> String {
        const EXAMPLE: &str = "write one such as \"https://erp.example/hooks\"";
        match self {
            Self::BadPort(_) => "let the receiver listen on another, best on that of https, 443",
            Self::Character('\\') => "write / between segments, and %5C for the character itself",
            Self::Character(_) => "take it out, or percent-encode it: %20 is a space",
            Self::Fragment => "take out the # and what follows; it would not be sent",
            Self::Host => {
                "a name has labels of A-Z a-z 0-9 - _, 63 characters at most and 253 in all, with dots between"
            }
            Self::HttpsRequired => {
                "write https, or let the account have `https_only = false` under its [accounts.NAME]"
            }
            Self::Length(_) => return format!("make it {MAX_LENGTH} bytes at most, percent-encoding included"),
            Self::Letters => "write the host in punycode: xn--…",
            Self::Port0 => "write the receiver's port",
            Self::Scheme | Self::Slashes | Self::Syntax(_) => EXAMPLE,
            Self::UserInfo => {
                "take them out; `headers = { Authorization = \"@credential:NAME\" }` sends them"
            }
            Self::Zone => "write a name or an address without %; link-local addresses cannot be dialled by zone",
        }
        .to_owned()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the URL {}: {}", self.what(), self.help())
    }
}

/// Why somebody from outside may not have something delivered to a URL.
#[derive(Debug, Error)]
pub enum Inadmissible {
    /// For what its text says.
    #[error(transparent)]
    Problem(#[from] Problem),
    /// For the address in it.
    #[error("the URL is refused: {0}")]
    Refused(#[from] Refusals),
}

/// The URL that `text` is, if those from outside may have something delivered to it for all that can be said before it is
/// dialled.
pub fn admit(text: &str, https_only: bool, scope: &Scope) -> Result<Url, Inadmissible> {
    let url = judge(text, Stance::Outside, https_only)?;
    judge_literal(&url, scope)?;
    Ok(url)
}

/// The URL that `text` is, if something may be delivered to it for all that its text says. `who` gives it;
/// `https_only` is their account's, and binds those from outside alone.
pub fn judge(text: &str, who: Stance, https_only: bool) -> Result<Url, Problem> {
    length(text)?;
    characters(text)?;
    let url = Url::parse(text).map_err(|error| unreadable(text, error))?;
    // The same text with its blanks percent-encoded may be three times as long.
    length(url.as_str())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Problem::Scheme);
    }
    let authority = authority(text).ok_or(Problem::Slashes)?;
    if authority.contains('@') {
        return Err(Problem::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(Problem::Fragment);
    }
    host(&url)?;
    port(&url, who)?;
    if who == Stance::Outside && https_only && url.scheme() != "https" {
        return Err(Problem::HttpsRequired);
    }
    Ok(url)
}

/// Whether a URL whose host is an address may be delivered to, where `scope` says what holds for its endpoint. Names are
/// judged by what they lead to when they are dialled, but for `localhost` and what is below it, which is this machine.
pub fn judge_literal(url: &Url, scope: &Scope) -> Result<(), Refusals> {
    match url.host() {
        Some(Host::Ipv4(address)) => scope.check_any([address.into()]),
        Some(Host::Ipv6(address)) => scope.check_any([address.into()]),
        Some(Host::Domain(name)) if is_localhost(name) => {
            scope.check_any([Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()])
        }
        Some(Host::Domain(_)) | None => Ok(()),
    }
}

fn length(text: &str) -> Result<(), Problem> {
    if text.len() > MAX_LENGTH { Err(Problem::Length(text.len())) } else { Ok(()) }
}

fn characters(text: &str) -> Result<(), Problem> {
    let wrong = |c: &char| c.is_whitespace() || c.is_control() || *c == '\\';
    text.chars().find(wrong).map_or(Ok(()), |c| Err(Problem::Character(c)))
}

/// What the `url` crate's error means for `text`.
fn unreadable(text: &str, error: ParseError) -> Problem {
    match error {
        ParseError::IdnaError if !text.is_ascii() => Problem::Letters,
        ParseError::InvalidPort if authority(text).is_some_and(|authority| authority.contains('@')) => {
            Problem::UserInfo
        }
        ParseError::InvalidIpv6Address
            if authority(text).is_some_and(|authority| authority.contains('%')) =>
        {
            Problem::Zone
        }
        error => Problem::Syntax(error),
    }
}

/// What stands between the scheme's two slashes and the path, as written; never empty.
fn authority(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(':')?;
    let rest = rest.strip_prefix("//")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    (end > 0).then_some(&rest[..end])
}

fn host(url: &Url) -> Result<(), Problem> {
    match url.host() {
        Some(Host::Domain(name)) if is_name(name) => Ok(()),
        Some(Host::Ipv4(_) | Host::Ipv6(_)) => Ok(()),
        Some(Host::Domain(_)) | None => Err(Problem::Host),
    }
}

/// Whether a name can be asked for, and be in a certificate. The dot at its end says that it is absolute.
fn is_name(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(is_label)
}

/// RFC 6761: these names are this machine, whatever a resolver would say. The `url` crate writes them in lower case.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.rsplit('.').next() == Some("localhost")
}

fn port(url: &Url, who: Stance) -> Result<(), Problem> {
    match url.port() {
        Some(0) => Err(Problem::Port0),
        Some(port) if who == Stance::Outside && BAD_PORTS.binary_search(&port).is_ok() => {
            Err(Problem::BadPort(port))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use ipnet::IpNet;

    use super::*;
    use crate::{model::account::AccountName, policy::address::Rules};

    const BOTH: [Stance; 2] = [Stance::Configuration, Stance::Outside];

    #[test]
    fn what_is_taken_and_what_becomes_of_it() {
        for (text, url) in [
            ("https://erp.example/hooks", "https://erp.example/hooks"),
            ("HTTPS://ERP.Example:443", "https://erp.example/"),
            ("https://erp.example.:8443/a?b=c&d", "https://erp.example.:8443/a?b=c&d"),
            ("https://a_b.x-y.example/%0a[x]|ü", "https://a_b.x-y.example/%0a[x]|%C3%BC"),
            ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
            ("https://ex%61mple.com/@a", "https://example.com/@a"),
            ("https://127.1/", "https://127.0.0.1/"),
            ("https://127.0.0.1./", "https://127.0.0.1/"),
            ("https://0x7f.1/", "https://127.0.0.1/"),
            ("https://017700000001/", "https://127.0.0.1/"),
            ("https://2130706433/", "https://127.0.0.1/"),
            ("https://0xA9FE0A07/", "https://169.254.10.7/"),
            ("https://[::FFFF:127.0.0.1]/", "https://[::ffff:7f00:1]/"),
            ("https://localhost:8443/", "https://localhost:8443/"),
            ("https://erp.example/a/../b", "https://erp.example/b"),
        ] {
            for who in BOTH {
                assert_eq!(judge(text, who, true).as_ref().map(Url::as_str), Ok(url), "{text}");
            }
        }
    }

    #[test]
    fn what_is_refused_to_everybody() {
        let long = format!("https://erp.example/{}", "x".repeat(MAX_LENGTH));
        let grows = format!("https://erp.example/{}", "ü".repeat(1_000));
        let label = format!("https://{}.example/", "x".repeat(64));
        let name = format!("https://{}example/", "x.".repeat(130));
        for (text, problem) in [
            (long.as_str(), Problem::Length(long.len())),
            (&grows, Problem::Length(6_020)),
            (" https://erp.example/", Problem::Character(' ')),
            ("https://erp.example/ ", Problem::Character(' ')),
            ("https://erp.example/a b", Problem::Character(' ')),
            ("https://erp.\texample/", Problem::Character('\t')),
            ("https://erp.example/\n", Problem::Character('\n')),
            ("https://erp.example/\u{85}", Problem::Character('\u{85}')),
            ("https:\\\\erp.example/", Problem::Character('\\')),
            ("https://erp.example\\@evil.example/", Problem::Character('\\')),
            ("", Problem::Syntax(ParseError::RelativeUrlWithoutBase)),
            ("erp.example", Problem::Syntax(ParseError::RelativeUrlWithoutBase)),
            ("//erp.example/", Problem::Syntax(ParseError::RelativeUrlWithoutBase)),
            ("https://", Problem::Syntax(ParseError::EmptyHost)),
            ("https://:443/", Problem::Syntax(ParseError::EmptyHost)),
            ("https://a:65536/", Problem::Syntax(ParseError::InvalidPort)),
            ("https://1.2.3.4.5/", Problem::Syntax(ParseError::InvalidIpv4Address)),
            ("https://256.1.1.1/", Problem::Syntax(ParseError::InvalidIpv4Address)),
            ("https://[::1/", Problem::Syntax(ParseError::InvalidIpv6Address)),
            ("https://[fe80::1%25eth0]/", Problem::Zone),
            ("https://[fe80::1%eth0]/", Problem::Zone),
            ("ftp://erp.example/", Problem::Scheme),
            ("javascript:alert(1)", Problem::Scheme),
            ("unix:/run/x.sock", Problem::Scheme),
            ("file:///etc/passwd", Problem::Scheme),
            ("erp.example:443", Problem::Scheme),
            ("https:erp.example", Problem::Slashes),
            ("https:/erp.example", Problem::Slashes),
            ("https:///erp.example", Problem::Slashes),
            ("https://user@erp.example/", Problem::UserInfo),
            ("https://user:pass@erp.example/", Problem::UserInfo),
            ("https://:pass@erp.example/", Problem::UserInfo),
            ("https://@erp.example/", Problem::UserInfo),
            ("https://good.example@evil.example/", Problem::UserInfo),
            ("https://user:pass@erp.example:x/", Problem::UserInfo),
            ("https://erp.example/#a", Problem::Fragment),
            ("https://erp.example/#", Problem::Fragment),
            ("https://bücher.example/", Problem::Letters),
            ("https://１２７.0.0.1/", Problem::Letters),
            ("https://a~b.example/", Problem::Host),
            ("https://*.example/", Problem::Host),
            ("https://-a.example/", Problem::Host),
            ("https://a-.example/", Problem::Host),
            ("https://a..example/", Problem::Host),
            ("https://./", Problem::Host),
            ("https://erp.example../", Problem::Host),
            (&label, Problem::Host),
            (&name, Problem::Host),
            ("https://erp.example:0/", Problem::Port0),
        ] {
            for who in BOTH {
                assert_eq!(judge(text, who, false), Err(problem), "{text:.60}");
            }
        }
    }

    #[test]
    fn what_is_refused_to_those_from_outside() {
        assert!(BAD_PORTS.is_sorted());
        for port in [22, 25, 6667, 10080] {
            let text = format!("https://erp.example:{port}/");
            assert!(judge(&text, Stance::Configuration, true).is_ok(), "{port}");
            assert_eq!(judge(&text, Stance::Outside, true), Err(Problem::BadPort(port)));
        }
        for port in [80, 443, 8080, 8443, 3000, 6060, 65535] {
            assert!(judge(&format!("https://erp.example:{port}/"), Stance::Outside, true).is_ok(), "{port}");
        }
        for (who, https_only, taken) in [
            (Stance::Configuration, true, true),
            (Stance::Configuration, false, true),
            (Stance::Outside, true, false),
            (Stance::Outside, false, true),
        ] {
            let judged = judge("http://erp.example/", who, https_only).map(drop);
            let expected = if taken { Ok(()) } else { Err(Problem::HttpsRequired) };
            assert_eq!(judged, expected, "{who:?} {https_only}");
        }
    }

    #[test]
    fn a_problem_says_what_to_do_and_shows_nothing_of_the_url() {
        let secret = "tops3cret";
        for text in [
            format!("https://erp.example/{secret}#"),
            format!("https://{secret}@erp.example/"),
            format!("https://erp.example:0/{secret}"),
            format!("http://erp.example/{secret}"),
            format!("{secret}/hooks"),
            format!("https://a~b/{secret}"),
        ] {
            let said = judge(&text, Stance::Outside, true).expect_err("it is wrong").to_string();
            assert!(said.starts_with("the URL ") && said.contains(": "), "{said}");
            assert!(!said.contains(secret), "{said}");
        }
    }

    fn nets(entries: &[&str]) -> Vec<IpNet> {
        entries.iter().map(|entry| entry.parse().expect("a net")).collect()
    }

    #[test]
    fn addresses_in_urls_are_judged_at_the_door() {
        let refused = |text: &str, who, allow: &[&str]| {
            let url = judge(text, who, false).expect("a URL");
            let scope = Rules::new(nets(allow), Vec::new()).scope(who, &AccountName::default());
            judge_literal(&url, &scope).map_err(|refusals| refusals.to_string()).err()
        };
        for text in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://0177.0.0.1/",
            "http://0x7f000001/",
            "http://2130706433:8080/",
            "http://127.0.0.1./",
            "http://[::ffff:127.0.0.1]/",
            "http://localhost/",
            "http://LOCALHOST./",
            "http://a.localhost:8080/",
            "http://0/",
        ] {
            assert_eq!(refused(text, Stance::Configuration, &[]), None, "{text}");
            let said = refused(text, Stance::Outside, &[]).unwrap_or_else(|| panic!("{text}"));
            assert!(said.contains("add `allow = [\""), "{text}: {said}");
            assert_eq!(refused(text, Stance::Outside, &["127.0.0.0/8"]), None, "{text}");
        }
        for text in
            ["http://erp.example/", "http://localhost.example/", "http://1.1.1.1/", "http://notlocalhost/"]
        {
            assert_eq!(refused(text, Stance::Outside, &[]), None, "{text}");
        }
        for who in BOTH {
            let said = refused("http://169.254.169.254/", who, &[]).expect("link-local");
            assert!(said.contains("add `allow = [\"169.254.169.254/32\"]` under [network]"), "{said}");
        }
    }
}
