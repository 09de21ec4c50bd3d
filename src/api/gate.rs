//! Which door a request has come through, and whether it may go on to its handler.
//!
//! Of the Unix socket's connections it is known whose they are, and each request brings that verdict with it. Over TCP each
//! request brings a key, which is judged anew each time: so one that is revoked ends what was open. In front of every
//! handler the table of [`routes`] is held against the verdict; a handler that has been reached need only see to whose the
//! things are that it is asked for.

use std::net::IpAddr;

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequestParts, MatchedPath, Request, State},
    http::{HeaderMap, HeaderValue, Response, StatusCode, header, request::Parts},
    middleware::Next,
    response::IntoResponse as _,
};

use super::{
    App, body,
    problem::Problem,
    routes::{self, Found},
};
use crate::{
    ingest::{access::Verdict, keyring::Unadmitted},
    policy::rights::Thing,
};

/// The door that a request has come through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// The Unix socket.
    Socket,
    /// TCP, from this address.
    Tcp(IpAddr),
}

/// Proof that a request has come through the Unix socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Local(());

impl<S: Sync> FromRequestParts<S> for Local {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        match parts.extensions.get() {
            Some(Gate::Socket) => Ok(Self(())),
            Some(Gate::Tcp(_)) | None => {
                let detail = "this is done over the Unix socket alone: on the machine itself, by an operator";
                Err(Problem::new(StatusCode::FORBIDDEN, "socket_only", detail))
            }
        }
    }
}

/// Lets a request go on to its handler, if whoever sends it may reach that.
pub(super) async fn admit(State(app): State<App>, mut request: Request, next: Next) -> Response<Body> {
    match judge(&app, &mut request).await {
        Ok(()) => next.run(request).await,
        Err(Stopped::Problem(problem)) => problem.into_response(),
        Err(Stopped::Method(problem, methods)) => {
            let mut answer = problem.into_response();
            answer.headers_mut().insert(header::ALLOW, methods);
            answer
        }
    }
}

/// Why a request does not go on.
enum Stopped {
    Problem(Problem),
    /// With the methods that there are.
    Method(Problem, HeaderValue),
}

impl From<Problem> for Stopped {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

async fn judge(app: &App, request: &mut Request) -> Result<(), Stopped> {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let found = path.map(|path| routes::find(request.method(), path.as_str()));
    if found == Some(Found::For(Thing::Health)) {
        return Ok(());
    }
    // Over TCP whoever shows no key is told nothing of what is here but `/openapi.json`, which is the same everywhere.
    let verdict = verdict(app, request).await?;
    match found {
        // The fallback says what there is.
        None => Ok(()),
        Some(Found::For(thing)) => {
            verdict.check(thing).map_err(Problem::from)?;
            Ok(check_form(request)?)
        }
        Some(Found::Methods(methods)) => {
            let path = request.uri().path();
            let detail = format!("{path} does not take {}", request.method());
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail);
            let methods = HeaderValue::try_from(methods.join(", ")).expect("methods are ASCII");
            Err(Stopped::Method(problem, methods))
        }
    }
}

/// Who asks; the handlers find it with the request.
async fn verdict(app: &App, request: &mut Request) -> Result<Verdict, Problem> {
    let from = match request.extensions().get() {
        Some(Gate::Tcp(from)) => *from,
        Some(Gate::Socket) | None => {
            let verdict = request.extensions().get::<Verdict>().cloned();
            return Ok(
                verdict.expect("every request over the socket is served with its connection's verdict")
            );
        }
    };
    let open = app.open().await?;
    let verdict = open.keys.judge(bearer(request.headers())?, from)?;
    if let Some(account) = verdict.account().filter(|account| !open.intake.has_account(account)) {
        let detail = format!("there is no account `{account}` any more, which this key is for");
        return Err(Problem::new(StatusCode::FORBIDDEN, "account_not_allowed", detail));
    }
    request.extensions_mut().insert(verdict.clone());
    Ok(verdict)
}

/// The key that a request shows, if it shows one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::bad_request("`Authorization` is there twice"));
    }
    let text = value.to_str().unwrap_or_default();
    // Of another scheme nothing is said here: it is no key.
    let (scheme, key) = text.split_once(' ').unwrap_or((text, ""));
    Ok(scheme.eq_ignore_ascii_case("bearer").then(|| key.trim()))
}

/// Over TCP a body says what it is: what a form in a web page sends is never taken for JSON.
fn check_form(request: &Request) -> Result<(), Problem> {
    let is_tcp = matches!(request.extensions().get(), Some(Gate::Tcp(_)));
    let essence = body::essence(request.headers());
    let forms = ["", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain"];
    if !is_tcp
        || request.body().is_end_stream()
        || !forms.iter().any(|form| essence.eq_ignore_ascii_case(form))
    {
        return Ok(());
    }
    let what = if essence.is_empty() { "a missing content type".to_owned() } else { format!("`{essence}`") };
    let detail = format!("{what} is not taken over TCP; send `Content-Type: application/json`");
    Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
}

impl From<Unadmitted> for Problem {
    fn from(why: Unadmitted) -> Self {
        let code = match why {
            Unadmitted::NoKey => "key_required",
            Unadmitted::Malformed(_) => "key_malformed",
            Unadmitted::Unknown => "key_unknown",
            Unadmitted::Expired => "key_expired",
            Unadmitted::TooMany { after, .. } => {
                let retry_after = Some(after.as_secs() + u64::from(after.subsec_nanos() > 0));
                let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_failures", why.to_string());
                return Self { retry_after, ..problem };
            }
        };
        Self::new(StatusCode::UNAUTHORIZED, code, why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_for_the_machine_itself_is_not_done_over_tcp() {
        for (gate, local) in [
            (Some(Gate::Socket), true),
            (Some(Gate::Tcp(IpAddr::from([127, 0, 0, 1]))), false),
            (None, false),
        ] {
            let mut request = Request::new(Body::empty());
            if let Some(gate) = gate {
                request.extensions_mut().insert(gate);
            }
            let (mut parts, _) = request.into_parts();
            let found = Local::from_request_parts(&mut parts, &()).await;
            assert_eq!(
                found.as_ref().map_err(|problem| problem.code).err(),
                (!local).then_some("socket_only")
            );
        }
    }

    #[test]
    fn one_key_by_its_scheme() {
        let read = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().expect("a header's value"));
            }
            bearer(&headers).map(|key| key.map(str::to_owned)).map_err(|problem| problem.code)
        };
        for (values, key) in [
            (&[][..], Ok(None)),
            (&["Bearer phk_1"], Ok(Some("phk_1"))),
            (&["bEARER  phk_1 "], Ok(Some("phk_1"))),
            (&["Bearer"], Ok(Some(""))),
            (&["phk_1"], Ok(None)),
            (&["Basic phk_1"], Ok(None)),
            (&["Bearer phk_1", "Bearer phk_1"], Err("bad_request")),
        ] {
            assert_eq!(read(values).as_ref().map(Option::as_deref).map_err(|code| *code), key, "{values:?}");
        }
    }
}
