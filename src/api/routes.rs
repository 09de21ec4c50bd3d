//! The routes: one table. The router is made of it, the OpenAPI document is held against it, and every request as well, before
//! its handler is reached (see `gate`): with each route stands whom it is for.

use axum::{
    http::Method,
    routing::{MethodFilter, MethodRouter, on},
};

use super::{
    App, accounts, again, backup, deliveries, endpoints, event_types, events, jobs, keys, openapi, reload,
    status,
};
use crate::policy::rights::Thing;

/// A method of a path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// As a request has it.
    pub method: &'static str,
    /// The path, with `{id}` in the place of an id.
    pub path: &'static str,
    /// What one must be allowed to do.
    pub thing: Thing,
    filter: MethodFilter,
    handler: Handler,
}

/// What answers, for the method that it is given.
pub(super) type Handler = fn(MethodFilter) -> MethodRouter<App>;

/// Those that no module has for itself.
const ROUTES: [Route; 17] = [
    Route::post("/v1/events", Thing::HandIn, |method| on(method, events::hand_in)),
    Route::get("/v1/events", Thing::History, |method| on(method, events::list)),
    Route::get("/v1/events/{id}", Thing::History, |method| on(method, events::show)),
    Route::get("/v1/deliveries", Thing::History, |method| on(method, deliveries::list)),
    Route::get("/v1/deliveries/{id}", Thing::History, |method| on(method, deliveries::show)),
    Route::post("/v1/deliveries/{id}/replay", Thing::Replay, |method| on(method, again::replay)),
    Route::post("/v1/deliveries/{id}/cancel", Thing::Replay, |method| on(method, again::cancel)),
    Route::get("/v1/event-types", Thing::Catalog, |method| on(method, event_types::list)),
    Route::get("/v1/jobs", Thing::Jobs, |method| on(method, jobs::list)),
    Route::get("/v1/jobs/{id}", Thing::Jobs, |method| on(method, jobs::show)),
    Route::post("/v1/jobs/{id}/cancel", Thing::Jobs, |method| on(method, jobs::cancel)),
    Route::post("/v1/reload", Thing::Machine, |method| on(method, reload::reload)),
    Route::post("/v1/store/backup", Thing::Machine, |method| on(method, backup::make)),
    Route::get("/v1/status", Thing::Status, |method| on(method, status::status)),
    Route::get("/healthz", Thing::Health, |method| on(method, status::health)),
    Route::get("/readyz", Thing::Health, |method| on(method, status::ready)),
    Route::get("/openapi.json", Thing::Health, |method| on(method, openapi::show)),
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(&endpoints::ROUTES).chain(&accounts::ROUTES).chain(&keys::ROUTES)
}

/// The paths that are beneath no other, and name nothing single: where somebody who is lost can go on.
pub(super) fn roots() -> Vec<&'static str> {
    let mut roots: Vec<&str> = Vec::new();
    for path in all().map(|route| route.path) {
        let known = roots
            .iter()
            .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')));
        if !known {
            roots.push(path);
        }
    }
    roots
}

impl Route {
    /// `GET`, and `HEAD` with it.
    pub(super) const fn get(path: &'static str, thing: Thing, handler: Handler) -> Self {
        Self { method: "GET", path, thing, filter: MethodFilter::GET, handler }
    }

    /// `POST`.
    pub(super) const fn post(path: &'static str, thing: Thing, handler: Handler) -> Self {
        Self { method: "POST", path, thing, filter: MethodFilter::POST, handler }
    }

    /// `PATCH`.
    pub(super) const fn patch(path: &'static str, thing: Thing, handler: Handler) -> Self {
        Self { method: "PATCH", path, thing, filter: MethodFilter::PATCH, handler }
    }

    /// `DELETE`.
    pub(super) const fn delete(path: &'static str, thing: Thing, handler: Handler) -> Self {
        Self { method: "DELETE", path, thing, filter: MethodFilter::DELETE, handler }
    }

    /// What answers.
    pub(super) fn handler(&self) -> MethodRouter<App> {
        (self.handler)(self.filter)
    }
}

/// What there is at a path of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is for this.
    For(Thing),
    /// Nothing is done there by this method; by these something is.
    Methods(Vec<&'static str>),
}

/// What there is to reach by `method` at `path`, as the router has it.
pub(super) fn find(method: &Method, path: &str) -> Found {
    // What answers a GET answers a HEAD.
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    let at = || all().filter(|route| route.path == path);
    match at().find(|route| route.method == method) {
        Some(route) => Found::For(route.thing),
        None => Found::Methods(at().map(|route| route.method).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_listed_is_not_found() {
        for (method, path, found) in [
            (Method::GET, "/v1/events/{id}", Found::For(Thing::History)),
            (Method::HEAD, "/v1/events", Found::For(Thing::History)),
            (Method::POST, "/v1/events", Found::For(Thing::HandIn)),
            (Method::DELETE, "/v1/events", Found::Methods(vec!["POST", "GET"])),
            (Method::OPTIONS, "/healthz", Found::Methods(vec!["GET"])),
        ] {
            assert_eq!(find(&method, path), found, "{method} {path}");
        }
    }

    #[test]
    fn who_is_lost_is_told_of_each_kind_of_thing_once() {
        let roots = roots();
        for path in
            ["/v1/events", "/v1/event-types", "/v1/store/backup", "/v1/keys", "/healthz", "/openapi.json"]
        {
            assert_eq!(roots.iter().filter(|root| **root == path).count(), 1, "{path}");
        }
        assert!(!roots.iter().any(|root| root.contains('{')), "{roots:?}");
    }

    #[test]
    fn each_is_there_once() {
        for (at, route) in all().enumerate() {
            let same = |other: &Route| (other.method, other.path) == (route.method, route.path);
            assert_eq!(all().position(same), Some(at), "{route:?}");
        }
    }
}
