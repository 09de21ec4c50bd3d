//! The nouns: plain data that every stage shares.
//!
//! Nothing in here does I/O, reads a clock or draws a random number. A value of one of these types is
//! well-formed by construction (an [`event::EventType`] is a valid type name, a [`time::Timestamp`] fits the
//! store's 48 bits), so that the stages need not check again.

pub mod account;
pub mod attempt;
pub mod bearer;
pub mod cloud;
pub mod content;
pub mod delivery;
pub mod endpoint;
pub mod event;
pub mod id;
pub mod job;
pub mod numbers;
pub mod pattern;
pub mod profile;
pub mod quota;
pub mod role;
pub mod secret;
pub mod tenant;
pub mod time;
