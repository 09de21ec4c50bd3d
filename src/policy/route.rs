//! Subscriptions: which endpoints want an event, by the patterns of its type.

pub use crate::model::pattern::{ParsePatternError, TypePattern};
