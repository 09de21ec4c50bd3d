//! The routes: one table, of which the router is made and against which the OpenAPI document is held.

use axum::routing::{MethodFilter, MethodRouter, on};

use super::{App, again, deliveries, endpoints, event_types, events, jobs, openapi, reload, status};

/// A method of a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Route {
    /// As a request has it.
    #[cfg_attr(not(test), expect(dead_code, reason = "the router goes by the filter"))]
    pub(super) method: &'static str,
    /// What stands for an id is `{id}`.
    pub(super) path: &'static str,
    filter: MethodFilter,
    handler: Handler,
}

/// What answers, for the method that it is given.
type Handler = fn(MethodFilter) -> MethodRouter<App>;

/// Those that no module has for itself.
const ROUTES: [Route; 16] = [
    Route::post("/v1/events", |method| on(method, events::hand_in)),
    Route::get("/v1/events", |method| on(method, events::list)),
    Route::get("/v1/events/{id}", |method| on(method, events::show)),
    Route::get("/v1/deliveries", |method| on(method, deliveries::list)),
    Route::get("/v1/deliveries/{id}", |method| on(method, deliveries::show)),
    Route::post("/v1/deliveries/{id}/replay", |method| on(method, again::replay)),
    Route::post("/v1/deliveries/{id}/cancel", |method| on(method, again::cancel)),
    Route::get("/v1/event-types", |method| on(method, event_types::list)),
    Route::get("/v1/jobs", |method| on(method, jobs::list)),
    Route::get("/v1/jobs/{id}", |method| on(method, jobs::show)),
    Route::post("/v1/jobs/{id}/cancel", |method| on(method, jobs::cancel)),
    Route::post("/v1/reload", |method| on(method, reload::reload)),
    Route::get("/v1/status", |method| on(method, status::status)),
    Route::get("/healthz", |method| on(method, status::health)),
    Route::get("/readyz", |method| on(method, status::ready)),
    Route::get("/openapi.json", |method| on(method, openapi::show)),
];

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Route> {
    ROUTES.iter().chain(&endpoints::ROUTES)
}

impl Route {
    /// `GET`, and `HEAD` with it.
    pub(super) const fn get(path: &'static str, handler: Handler) -> Self {
        Self { method: "GET", path, filter: MethodFilter::GET, handler }
    }

    /// `POST`.
    pub(super) const fn post(path: &'static str, handler: Handler) -> Self {
        Self { method: "POST", path, filter: MethodFilter::POST, handler }
    }

    /// `PATCH`.
    pub(super) const fn patch(path: &'static str, handler: Handler) -> Self {
        Self { method: "PATCH", path, filter: MethodFilter::PATCH, handler }
    }

    /// `DELETE`.
    pub(super) const fn delete(path: &'static str, handler: Handler) -> Self {
        Self { method: "DELETE", path, filter: MethodFilter::DELETE, handler }
    }

    /// What answers.
    pub(super) fn handler(&self) -> MethodRouter<App> {
        (self.handler)(self.filter)
    }
}
