//! Endpoints over the API and the command line: who may, what is refused, and what follows for deliveries.

mod support;

#[path = "endpoints/rights.rs"]
mod rights;
