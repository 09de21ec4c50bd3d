//! Dialling: a name's addresses in their order, each through the guard right before it is dialled.
//!
//! The next address is dialled when one has failed, or 250 ms after the last was (RFC 8305's delay): an address
//! that swallows packets costs a quarter of a second, not the deadline. The first connection wins; dropping the
//! future closes the others.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    pin::Pin,
    task::Poll,
    time::Duration,
};

use tokio::{net::TcpStream, time::timeout};

use super::{
    failure,
    guard::{self, Guard},
};
use crate::model::attempt::Failure;

/// How long an address is alone.
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of `addresses` that answers; `dialled` is the last one dialled. Without a guard all may be: they
/// are the proxy's, which root has named.
pub(super) async fn dial(
    addresses: &[SocketAddr],
    guard: Option<&Guard>,
    dialled: &mut Option<SocketAddr>,
) -> Result<(SocketAddr, TcpStream), Failure> {
    let mut waiting = addresses.iter().copied();
    let mut dials = Vec::new();
    let mut refused = Vec::new();
    let mut failed = Vec::new();
    loop {
        for address in waiting.by_ref() {
            match guard.map_or(Ok(()), |guard| guard.check(address)) {
                Ok(()) => {
                    *dialled = Some(address);
                    dials.push(Dial { address, connecting: Box::pin(connect(address)) });
                    break;
                }
                Err(refusal) => refused.push(refusal),
            }
        }
        if dials.is_empty() {
            return Err(if failed.is_empty() { guard::refused(refused) } else { failure::dialling(&failed) });
        }
        let ended = match waiting.len() {
            0 => Some(first_ended(&mut dials).await),
            _ => timeout(STAGGER, first_ended(&mut dials)).await.ok(),
        };
        match ended {
            Some((address, Ok(stream))) => {
                *dialled = Some(address);
                return Ok((address, stream));
            }
            Some((address, Err(error))) => failed.push((address, error)),
            None => (),
        }
    }
}

/// A connection being made.
struct Dial {
    address: SocketAddr,
    connecting: Pin<Box<dyn Future<Output = io::Result<TcpStream>> + Send>>,
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    // A request is written whole; waiting for more to send would only add a round trip.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes the first that has ended out of `dials`, which are not empty.
async fn first_ended(dials: &mut Vec<Dial>) -> (SocketAddr, io::Result<TcpStream>) {
    poll_fn(|cx| {
        for index in 0..dials.len() {
            if let Poll::Ready(result) = dials[index].connecting.as_mut().poll(cx) {
                return Poll::Ready((dials.swap_remove(index).address, result));
            }
        }
        Poll::Pending
    })
    .await
}
