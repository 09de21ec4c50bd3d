//! Judges what somebody gives as an endpoint's settings: what is well-formed comes out, or a sentence that says what to
//! write instead. Nothing of a secret is in it, nor of a URL: its path may be one.

use http::{HeaderName, HeaderValue};
use url::Url;

use super::endpoints::EndpointError;
use crate::{
    model::{pattern::TypePattern, secret::Secret},
    policy::{
        address::Scope,
        catalog::Catalog,
        destination,
        form::{Form, is_reserved},
        placeholder::Placeholder,
    },
};

/// Characters of a description.
const DESCRIPTION: usize = 1_000;
/// Patterns of one endpoint.
const PATTERNS: usize = 256;
/// Headers of one endpoint.
const HEADERS: usize = 32;
/// Bytes of a header's value.
const VALUE_BYTES: usize = 4_096;
/// Bytes of a secret.
const SECRET_BYTES: usize = 1_024;

/// Where it is to be: by the rule for URLs of endpoints from outside, and for the address in it, if it has one.
pub(super) fn url(text: &str, https_only: bool, scope: &Scope) -> Result<Url, EndpointError> {
    destination::admit(text, https_only, scope)
        .map_err(|error| EndpointError::UrlRefused { message: error.to_string() })
}

/// What somebody has written down about it.
pub(super) fn description(text: Option<String>) -> Result<Option<String>, EndpointError> {
    match text {
        Some(text) if text.chars().count() > DESCRIPTION => {
            Err(field("description", format!("has more than {DESCRIPTION} characters: shorten it")))
        }
        Some(text) if text.chars().any(|c| c.is_control() && c != '\n') => {
            Err(field("description", "has a control character: take it out".to_owned()))
        }
        text => Ok(text),
    }
}

/// What it subscribes to; each pattern means a type of the account's `catalog`, if it has one.
pub(super) fn event_types(
    texts: &[String],
    catalog: Option<&Catalog>,
) -> Result<Vec<TypePattern>, EndpointError> {
    if texts.is_empty() {
        return Err(field("event_types", "is empty: name at least one type, or \"*\" for all".to_owned()));
    }
    if texts.len() > PATTERNS {
        let message = format!("has more than {PATTERNS} entries: say several in one, as video.*");
        return Err(field("event_types", message));
    }
    texts.iter().map(|text| pattern(text, catalog)).collect()
}

fn pattern(text: &str, catalog: Option<&Catalog>) -> Result<TypePattern, EndpointError> {
    let pattern: TypePattern = text
        .parse()
        .map_err(|error| field("event_types", format!("has an entry that is no pattern: {error}")))?;
    match catalog.map_or(Ok(()), |catalog| catalog.covers(&pattern)) {
        Ok(()) => Ok(pattern),
        Err(unknown) => {
            let message = format!("has `{pattern}`, which means no type of the account's catalog: {unknown}");
            Err(field("event_types", message))
        }
    }
}

/// What is sent besides the profile's own headers.
pub(super) fn headers(given: Vec<(String, Secret)>) -> Result<Vec<(String, Secret)>, EndpointError> {
    if given.len() > HEADERS {
        return Err(field("headers", format!("has more than {HEADERS} entries: leave some out")));
    }
    let mut headers: Vec<(String, Secret)> = Vec::with_capacity(given.len());
    for (written, value) in given {
        let name = header_name(&written)?;
        if headers.iter().any(|(other, _)| *other == name.as_str()) {
            let message = format!("has `{name}` twice: leave one of them; case does not count in names");
            return Err(field("headers", message));
        }
        if value.expose().len() > VALUE_BYTES {
            let message = format!("has a value of more than {VALUE_BYTES} bytes for `{name}`: shorten it");
            return Err(field("headers", message));
        }
        if HeaderValue::from_str(value.expose()).is_err() {
            let message = format!(
                "has a value for `{name}` that no header can carry: one is visible ASCII without line ends"
            );
            return Err(field("headers", message));
        }
        headers.push((name.as_str().to_owned(), value));
    }
    Ok(headers)
}

fn header_name(written: &str) -> Result<HeaderName, EndpointError> {
    match HeaderName::from_bytes(written.as_bytes()) {
        Ok(name) if is_reserved(&name) => Err(field(
            "headers",
            format!("has `{name}`, which posthaste sets itself, or the connection would break: leave it out"),
        )),
        Ok(name) => Ok(name),
        Err(_) => Err(field(
            "headers",
            "has a name that is none: one has the characters A-Z a-z 0-9 and !#$%&'*+-.^_`|~".to_owned(),
        )),
    }
}

/// Whether a secret can be shown and kept; whether it is a key, the keys' making says.
pub(super) fn secret(secret: &Secret, form: &Form) -> Result<(), EndpointError> {
    let unfit = |message: String| Err(EndpointError::SecretUnfit { message });
    let text = secret.expose();
    if text.is_empty() {
        return unfit("the secret is empty: leave it out, and one is made".to_owned());
    }
    if text.len() > SECRET_BYTES {
        return unfit(format!("the secret has more than {SECRET_BYTES} bytes: give a shorter one"));
    }
    let in_header = form.headers().iter().any(|header| header.value.holds(Placeholder::Secret));
    if in_header && HeaderValue::from_str(text).is_err() {
        return unfit(
            "no header can carry the secret, as its profile wants it: one is visible ASCII without line ends"
                .to_owned(),
        );
    }
    Ok(())
}

pub(super) const fn field(field: &'static str, message: String) -> EndpointError {
    EndpointError::Field { field, message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::account::AccountName,
        policy::{
            address::{Rules, Stance},
            catalog::Entry,
        },
    };

    #[test]
    fn urls() {
        let allow = vec!["10.0.0.7/32".parse().expect("a network")];
        let scope = Rules::new(allow, Vec::new()).scope(Stance::Outside, &AccountName::default());
        let long = format!("https://erp.example/{}", "x".repeat(2_048));
        for (text, https_only, wrong) in [
            ("https://erp.example/hooks?a=b", true, ""),
            ("http://erp.example/", true, "https_only = false"),
            ("http://erp.example/", false, ""),
            ("http://10.0.0.7:8080", false, ""),
            ("http://10.0.0.8:8080", false, "add `allow = [\"10.0.0.8/32\"]` under [network]"),
            ("https://127.0.0.1/", true, "loopback"),
            ("https://localhost/", true, "loopback"),
            ("https://[2606:4700::1111]/", true, ""),
            ("https://[2001:db8::1]/", true, "documentation"),
            ("erp.example", true, "URL"),
            ("ftp://erp.example/", true, "neither http nor https"),
            ("https://u:p@erp.example/", true, "user or password"),
            ("https://erp.example/#there", true, "fragment"),
            ("https://erp.example:0/", true, "port 0"),
            (long.as_str(), true, "2048"),
        ] {
            match url(text, https_only, &scope) {
                Ok(_) => assert_eq!(wrong, "", "{text:.60}"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(!wrong.is_empty() && error.contains(wrong), "{text:.60}: {error}");
                    assert!(!error.contains("erp.example/x"), "the URL is not shown: {error}");
                }
            }
        }
    }

    #[test]
    fn types() {
        let of = |texts: &[&str]| {
            event_types(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), None)
        };
        assert_eq!(of(&["a.*", "b"]).expect("patterns").len(), 2);
        for (texts, wrong) in [(&[][..], "is empty"), (&["a", "b*"], "whole segments"), (&[""], "not empty")]
        {
            let error = of(texts).expect_err("no patterns").to_string();
            assert!(error.contains(wrong) && error.contains("event_types"), "{texts:?}: {error}");
        }
        let known = ["video.ready".parse().expect("a type")].map(|name| (name, Entry::default()));
        let catalog = Catalog::new(known.into());
        let in_catalog = |text: &str| event_types(&[text.to_owned()], Some(&catalog));
        assert!(in_catalog("video.*").is_ok());
        let error = in_catalog("vide.*").expect_err("no type").to_string();
        assert!(error.contains("video.*"), "the nearest is named: {error}");
        assert!(of(&["a"; PATTERNS]).is_ok() && of(&["a"; PATTERNS + 1]).is_err());
    }

    #[test]
    fn header_lists() {
        let of = |all: &[(&str, &str)]| {
            let header =
                |(name, value): &(&str, &str)| ((*name).to_owned(), Secret::new((*value).to_owned()));
            headers(all.iter().map(header).collect())
        };
        let names = of(&[("Authorization", "Bearer x"), ("X-A", "")]).expect("headers");
        assert!(names.iter().map(|(name, _)| name.as_str()).eq(["authorization", "x-a"]));
        let long = "x".repeat(VALUE_BYTES + 1);
        for (all, wrong) in [
            (&[("Host", "hushhush")][..], "sets itself"),
            (&[("a b", "hushhush")], "name that is none"),
            (&[("X-A", "hushhush"), ("x-a", "2")], "twice"),
            (&[("X-A", "hushhush\r\n")], "no header can carry"),
            (&[("X-A", long.as_str())], "more than"),
        ] {
            let error = of(all).expect_err("no headers").to_string();
            assert!(error.contains(wrong) && !error.contains("hushhush"), "{error}");
        }
    }

    #[test]
    fn descriptions() {
        assert_eq!(description(Some("ä\nb".to_owned())).expect("one").as_deref(), Some("ä\nb"));
        assert!(description(Some("a\u{1b}[31m".to_owned())).is_err());
        assert!(description(Some("x".repeat(DESCRIPTION + 1))).is_err());
    }
}
