//! Stage 4: one attempt. An HTTP/1.1 `POST` over a connection of the lane's own pool, bounded in everything
//! that the peer controls.
//!
//! [`request`] makes the headers and the body out of the compiled profile, [`sign`] its signatures; [`client`] dials
//! and exchanges. One deadline covers resolving, connecting, TLS, headers and body. Redirects are never followed.
//! Every address goes through the guard right before it is dialled; through a proxy, those that URLs name. What went wrong is classified, never guessed
//! from text.

pub mod client;
pub mod exchange;
pub mod request;
pub mod sign;
pub mod tls;

mod answer;
mod connect;
mod counted;
mod failure;
mod guard;
mod pool;
mod proxy;
mod resolve;
mod target;
#[cfg(test)]
mod tests;
