//! What makes an endpoint's requests, in eight bytes.
//!
//! Everything goes in that history shows of a request and that is not recorded with its attempt: the URL, the headers of
//! profile and endpoint, how the body is made. Not in it is what is recorded (time and signatures, and so the rule of
//! signatures) and what is masked: secrets and the values of an endpoint's headers. So what differs in a secret alone is
//! still the same, and nothing can be learned of one. A program of another version may make other requests of the same.

use http::HeaderName;
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::{
    model::{
        attempt::Fingerprint,
        profile::{BodyRule, CloudEventsMode, CloudEventsRule},
        secret::Secret,
    },
    policy::form::Form,
};

/// The fingerprint of requests to `url` that `form` and the endpoint's own headers make.
pub(super) fn fingerprint(url: &Url, endpoint_headers: &[(HeaderName, Secret)], form: &Form) -> Fingerprint {
    let mut hash = Hash(Sha256::new());
    hash.text(env!("CARGO_PKG_VERSION"));
    hash.text(url.as_str());
    hash.count(form.headers().len());
    for (header, (_, written)) in form.headers().iter().zip(&form.profile().headers) {
        hash.text(header.name.as_str());
        hash.text(if header.concealed { "" } else { written });
    }
    hash.count(endpoint_headers.len());
    for (name, _) in endpoint_headers {
        hash.text(name.as_str());
    }
    hash.body(&form.profile().body);
    hash.finish()
}

/// Every piece with its length before it, so that two cannot run into each other.
struct Hash(Sha256);

impl Hash {
    fn count(&mut self, count: usize) {
        self.0.update(u64::try_from(count).expect("a length fits").to_le_bytes());
    }

    fn text(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text);
    }

    fn body(&mut self, rule: &BodyRule) {
        match rule {
            BodyRule::CloudEvents(CloudEventsRule { mode, source }) => {
                self.text(match mode {
                    CloudEventsMode::Binary => "cloudevents binary",
                    CloudEventsMode::Structured => "cloudevents structured",
                });
                self.text(source);
            }
            BodyRule::Envelope => self.text("envelope"),
            BodyRule::Raw => self.text("raw"),
            BodyRule::Template(template) => {
                self.text("template");
                self.text(template);
            }
        }
    }

    fn finish(self) -> Fingerprint {
        let hash = self.0.finalize();
        let (first, _) = hash.split_first_chunk().expect("it has 32 bytes");
        Fingerprint::new(u64::from_be_bytes(*first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::profile::Profile, policy::form};

    fn of(url: &str, headers: &[(&str, &str)], change: impl FnOnce(&mut Profile)) -> Fingerprint {
        let mut profile = form::sample::profile();
        change(&mut profile);
        let form = Form::compile(profile).expect("a form");
        let header =
            |(name, value): &(&str, &str)| (name.parse().expect("a name"), Secret::new((*value).to_owned()));
        let headers: Vec<_> = headers.iter().map(header).collect();
        fingerprint(&url.parse().expect("a URL"), &headers, &form)
    }

    #[test]
    fn every_part_counts() {
        const URL: &str = "https://a.example/";
        let events =
            |mode, source: &str| BodyRule::CloudEvents(CloudEventsRule { mode, source: source.into() });
        let (binary, structured) = (CloudEventsMode::Binary, CloudEventsMode::Structured);
        let first = of(URL, &[("x-a", "1")], |_| ());
        let mut all = vec![
            first,
            of("https://a.example/b", &[("x-a", "1")], |_| ()),
            of(URL, &[], |_| ()),
            of(URL, &[("x-b", "1")], |_| ()),
            of(URL, &[("x-a", "1"), ("x-b", "1")], |_| ()),
            of(URL, &[("x-a", "1")], |p| p.headers.push(("x-b".into(), "1".into()))),
            of(URL, &[("x-a", "1")], |p| p.headers.push(("x-b".into(), "2".into()))),
            of(URL, &[("x-a", "1")], |p| p.headers[0].0 = "x-id".into()),
            of(URL, &[("x-a", "1")], |p| p.body = BodyRule::Envelope),
            of(URL, &[("x-a", "1")], |p| p.body = BodyRule::Template("{{ id }}".into())),
            of(URL, &[("x-a", "1")], |p| p.body = BodyRule::Template("{{ type }}".into())),
            of(URL, &[("x-a", "1")], |p| p.body = events(binary, "/a")),
            of(URL, &[("x-a", "1")], |p| p.body = events(structured, "/a")),
            of(URL, &[("x-a", "1")], |p| p.body = events(structured, "/b")),
        ];
        let count = all.len();
        all.sort_by_key(|fingerprint| fingerprint.get());
        all.dedup();
        assert_eq!(all.len(), count);
        // Neither what is masked nor what is recorded, nor how an attempt is made.
        for same in [
            of(URL, &[("x-a", "2")], |_| ()),
            of(URL, &[("X-A", "1")], |p| p.name = "other".into()),
            of(URL, &[("x-a", "1")], |p| p.signature.signed = "{body}".into()),
            of(URL, &[("x-a", "1")], |p| p.retry.clear()),
        ] {
            assert_eq!(same, first);
        }
    }
}
