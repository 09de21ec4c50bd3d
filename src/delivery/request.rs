//! Requests: the headers and the body of one attempt.
//!
//! `content-type` (as a rule `application/json`) and `user-agent: posthaste/VERSION` unless a header says otherwise,
//! those that belong to the body, then the profile's headers with their placeholders filled in, then the endpoint's own, which win over the profile's of
//! the same name. Values that carry secrets are marked sensitive, so that nothing that prints headers shows them.
//! `host`, `content-length` and the connection's headers are the client's business.

use std::fmt;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderName, HeaderValue,
    header::{CONTENT_TYPE, USER_AGENT},
};
use zeroize::Zeroizing;

use super::{
    exchange::Headers,
    sign::{Signatures, Signer},
};
use crate::{
    model::secret::Secret,
    policy::{
        facts::Facts,
        form::{Form, Header},
        placeholder::{Pattern, Placeholder},
        template::RenderError,
    },
};

/// What an attempt sends. `Debug` shows the body's length only: it is a payload.
pub struct Prepared {
    /// The headers, but for those of the connection.
    pub headers: Headers,
    /// The body; the same for every attempt of a delivery.
    pub body: Bytes,
    /// Its signatures.
    pub signatures: Signatures,
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Prepared");
        shown.field("headers", &self.headers).field("body_length", &self.body.len()).finish_non_exhaustive()
    }
}

/// Makes the request of the attempt that `facts` tell of. `endpoint_headers` are sent as they are.
pub fn prepare(
    form: &Form,
    signer: &Signer,
    endpoint_headers: &[(HeaderName, Secret)],
    facts: &Facts<'_>,
) -> Result<Prepared, PrepareError> {
    let body = form.body(facts)?;
    let signatures = signer.sign(form, facts, &body);
    let headers = headers(form, signer.secret(), endpoint_headers, facts, &signatures)?;
    Ok(Prepared { headers, body, signatures })
}

/// The headers of an attempt that was made, made again for people to see: with the signatures that were recorded, and
/// without the body. `None`: the attempt has no signature and the form wants one, or a secret does not fit a header.
pub fn headers_again(
    form: &Form,
    signer: &Signer,
    endpoint_headers: &[(HeaderName, Secret)],
    facts: &Facts<'_>,
    recorded: &Signatures,
) -> Option<Headers> {
    if form.signs() && recorded.all.is_empty() {
        return None;
    }
    headers(form, signer.secret(), endpoint_headers, facts, recorded).ok()
}

fn headers(
    form: &Form,
    secret: &str,
    endpoint_headers: &[(HeaderName, Secret)],
    facts: &Facts<'_>,
    signatures: &Signatures,
) -> Result<Headers, PrepareError> {
    let mut headers = Headers::with_capacity(2 + form.headers().len() + endpoint_headers.len());
    headers.push((CONTENT_TYPE, form.content_type(facts)));
    headers.push((USER_AGENT, HeaderValue::from_static(concat!("posthaste/", env!("CARGO_PKG_VERSION")))));
    for (name, text) in form.body_headers(facts) {
        let value = HeaderValue::from_str(&text).map_err(|_| no_value(&name))?;
        headers.push((name, value));
    }
    let mut plain = String::with_capacity(128);
    // The values that are no secret share one piece of memory.
    let mut shared = BytesMut::with_capacity(256);
    for Header { name, value: pattern, concealed } in form.headers() {
        let value = if *concealed {
            // Wiped afterwards; with room for all of it, since a string that grows leaves its old bytes behind.
            let mut text = Zeroizing::new(String::with_capacity(256 + secret.len() * pattern.parts().len()));
            render(pattern, secret, signatures, facts, &mut text);
            sensitive(name, &text)?
        } else {
            plain.clear();
            render(pattern, secret, signatures, facts, &mut plain);
            shared.extend_from_slice(plain.as_bytes());
            let value = HeaderValue::from_maybe_shared(shared.split().freeze());
            value.map_err(|_| no_value(name))?
        };
        set(&mut headers, name, value);
    }
    for (name, text) in endpoint_headers {
        set(&mut headers, name, sensitive(name, text.expose())?);
    }
    Ok(headers)
}

/// Adds a header, in the place of an earlier one of the name if there is one.
fn set(headers: &mut Headers, name: &HeaderName, value: HeaderValue) {
    match headers.iter_mut().find(|(other, _)| other == name) {
        Some((_, earlier)) => *earlier = value,
        None => headers.push((name.clone(), value)),
    }
}

/// Why there is no request. Shows nothing of secret or payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// The body's template failed: so it will at every attempt.
    #[error(transparent)]
    Body(#[from] RenderError),
    /// A header's value is none: a secret in it has a line end, for example.
    #[error("the value of header {name} has a line end or another control character; check the secret in it")]
    Header {
        /// Which.
        name: HeaderName,
    },
}

fn render(pattern: &Pattern, secret: &str, signatures: &Signatures, facts: &Facts<'_>, text: &mut String) {
    pattern.render(text, |placeholder, out| match placeholder {
        Placeholder::Secret => out.push_str(secret),
        Placeholder::Signature => out.push_str(&signatures.newest),
        Placeholder::Signatures => out.push_str(&signatures.all),
        fact => facts.write(fact, out),
    });
}

fn sensitive(name: &HeaderName, text: &str) -> Result<HeaderValue, PrepareError> {
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| no_value(name))?;
    value.set_sensitive(true);
    Ok(value)
}

fn no_value(name: &HeaderName) -> PrepareError {
    PrepareError::Header { name: name.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            profile::{Algorithm, BodyRule, Profile},
            secret::DatedSecret,
        },
        policy::{facts, form, template::RenderProblem},
    };

    fn prepared(profile: Profile, secret: &str, endpoint: &[(&str, &str)]) -> Result<Prepared, PrepareError> {
        let form = Form::compile(profile).expect("a form");
        let signer =
            Signer::new(&form, &[DatedSecret::lasting(Secret::new(secret.to_owned()))]).expect("a key");
        let headers: Vec<_> = endpoint
            .iter()
            .map(|(name, value)| (name.parse().expect("a name"), Secret::new((*value).to_owned())))
            .collect();
        let data = facts::sample::data();
        prepare(&form, &signer, &headers, &facts::sample::facts(&data))
    }

    /// All values under a name.
    fn all<'a>(headers: &'a Headers, name: &str) -> Vec<&'a HeaderValue> {
        headers.iter().filter(|(found, _)| found == name).map(|(_, value)| value).collect()
    }

    fn unsigned(headers: &[(&str, &str)]) -> Profile {
        let mut profile = form::sample::profile();
        profile.signature.algorithm = Algorithm::None;
        profile.headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        profile
    }

    #[test]
    fn transcodely() {
        let request = prepared(form::sample::transcodely(), "whsec_your_signing_secret", &[]).expect("made");
        let mut headers: Vec<_> = request
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII")))
            .collect();
        headers.sort_unstable();
        assert_eq!(
            headers,
            [
                ("content-type", "application/json"),
                ("user-agent", concat!("posthaste/", env!("CARGO_PKG_VERSION"))),
                ("x-transcodely-delivery-id", "dlv_1"),
                (
                    "x-transcodely-signature",
                    "sha256=52f09d9261f6cbf30be9feacc0d08d5086bace65a1fb3b5bfbd8dedd76b87d5d"
                ),
                ("x-transcodely-timestamp", "1709136999"),
            ]
        );
        assert_eq!(request.signatures.all, headers[3].1);
        let job = String::from_utf8(facts::sample::data().to_vec()).expect("UTF-8");
        assert_eq!(
            request.body,
            format!(r#"{{"event": "job.completed", "job": {job}, "timestamp": "2024-02-28T16:15:42.007Z"}}"#)
        );
    }

    #[test]
    fn whose_header_wins() {
        let profile =
            unsigned(&[("Content-Type", "text/plain"), ("X-A", "{attempt}"), ("X-B", "{event_type}")]);
        let request =
            prepared(profile, "s", &[("x-b", "mine {attempt}"), ("user-agent", "me")]).expect("made");
        for (name, value) in
            [("content-type", "text/plain"), ("x-a", "3"), ("x-b", "mine {attempt}"), ("user-agent", "me")]
        {
            assert_eq!(all(&request.headers, name), [value], "{name}");
        }
        let names: Vec<_> = request.headers.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["content-type", "user-agent", "x-a", "x-b"], "each keeps its place");
        assert_eq!(request.signatures, Signatures::default());
    }

    #[test]
    fn secrets_are_sensitive() {
        let profile =
            unsigned(&[("Authorization", "Bearer {secret}"), ("X-A", "a"), ("X-Api-Key", "hunter4")]);
        let request = prepared(profile, "hunter2", &[("x-token", "hunter3")]).expect("made");
        assert_eq!(all(&request.headers, "authorization"), ["Bearer hunter2"]);
        let shown = format!("{:?}", request.headers);
        assert!(!shown.contains("hunter"), "{shown}");
        assert!(!all(&request.headers, "x-a")[0].is_sensitive());
    }

    #[test]
    fn what_no_header_can_carry_is_an_error() {
        let error =
            |profile, secret: &str, endpoint: &[_]| prepared(profile, secret, endpoint).expect_err("refused");
        for secret in ["hunter2\n", "hun\rter2", "hunter2\0"] {
            let profile = unsigned(&[("Authorization", "Bearer {secret}")]);
            let why = error(profile, secret, &[]);
            assert_eq!(why, PrepareError::Header { name: http::header::AUTHORIZATION });
            assert!(!why.to_string().contains("hun"), "{why}");
            let why = error(unsigned(&[]), "s", &[("cookie", secret)]);
            assert_eq!(why, PrepareError::Header { name: http::header::COOKIE });
        }
    }

    #[test]
    fn headers_are_made_again_with_what_was_recorded() {
        let data = Bytes::new();
        let facts = facts::sample::facts(&data);
        let again = |profile, newest: &str, all: &str| {
            let form = Form::compile(profile).expect("a form");
            // Another secret than that of the attempt, and a body that the template could not take.
            let signer = Signer::new(&form, &[DatedSecret::lasting(Secret::new("rotated".to_owned()))])
                .expect("a key");
            let recorded = Signatures { newest: newest.to_owned(), all: all.to_owned() };
            headers_again(&form, &signer, &[], &facts, &recorded)
        };
        let mut profile = form::sample::transcodely();
        profile.headers.push(("X-All".to_owned(), "{signatures}".to_owned()));
        let headers = again(profile.clone(), "aa", "sha256=aa,sha256=bb").expect("headers");
        assert_eq!(all(&headers, "x-transcodely-signature"), ["sha256=aa"]);
        assert_eq!(all(&headers, "x-all"), ["sha256=aa,sha256=bb"]);
        assert_eq!(all(&headers, "x-transcodely-timestamp"), ["1709136999"]);
        assert!(again(profile, "", "").is_none(), "what was not sent is not shown");
        assert!(again(unsigned(&[("X-A", "{attempt}")]), "", "").is_some());
    }

    #[test]
    fn a_template_that_fails_is_an_error() {
        let profile = Profile { body: BodyRule::Template("{{ data.missing }}".to_owned()), ..unsigned(&[]) };
        let why = prepared(profile, "s", &[]).err();
        let expected = RenderError { line: Some(1), why: RenderProblem::Undefined };
        assert_eq!(why, Some(PrepareError::Body(expected)));
    }
}
