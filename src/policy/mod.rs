//! The rules: pure functions over [`model`](crate::model), without I/O, clock or chance.
//!
//! What follows from an attempt ([`decide`]) and when the next is due ([`retry`], [`retry_after`]),
//! or the first of an event that is to go later ([`later`]); what it says of its
//! endpoint ([`verdict`]), when that is left in peace ([`circuit`]), or all that share a proxy or the box are ([`outage`]), and
//! how fast it is sent to ([`rate`]); who somebody is on the socket ([`access`]), what they may do ([`rights`]) and how much in a time ([`bucket`]), what a key
//! looks like ([`token`]) and how often a wrong one may be shown ([`tries`]); which types
//! there are ([`catalog`]) and which an endpoint wants ([`route`]); where deliveries may go, judged by a URL's text
//! ([`destination`]) and by the address that is dialled ([`address`]), with which certificates ([`certificate`]) and through which proxy ([`proxy`]); and how a profile's requests look: [`form`] compiles a
//! profile once, out of patterns with placeholders ([`placeholder`]), a body's template ([`template`]) and the way from a
//! secret to a key ([`key`]); secrets follow one another as [`rotation`] says, and what has ended is kept as long as [`retention`] says. What compiles here cannot be wrong later
//! for its own sake; what can still fail is what an event or a secret brings in, and that is an error value.

pub mod access;
pub mod address;
pub mod bucket;
pub mod catalog;
pub mod certificate;
pub mod circuit;
mod cloudevents;
pub mod decide;
pub mod destination;
pub mod facts;
pub mod form;
pub mod key;
pub mod later;
mod nearest;
pub mod outage;
pub mod placeholder;
pub mod proxy;
pub mod rate;
pub mod retention;
pub mod retry;
pub mod retry_after;
pub mod rights;
pub mod rotation;
pub mod route;
pub mod template;
pub mod token;
pub mod tries;
pub mod verdict;

pub use nearest::nearest;
