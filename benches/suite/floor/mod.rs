//! Floors: what the parts of the work cost when nothing else is done, measured beside the daemon.
//!
//! - (a) [`sending`]: the same signed requests over the same kind of connections; no store, no history.
//! - (b) [`storing`]: the same rows in as many commits of redb; no producers, no requests.
//! - (c) [`appending`]: the same bytes appended to a file, with as many calls of fdatasync.
//! - (d) [`handing`]: a bare commit at the other end of a socket, in a thread of its own.

pub(crate) mod appending;
pub(crate) mod handing;
pub(crate) mod sending;
pub(crate) mod storing;

use std::time::Duration;

use crate::{Result, helper::Helper, process::Usage};

/// What a floor took.
pub(crate) struct Floor {
    pub(crate) took: Duration,
    pub(crate) usage: Usage,
}

/// Has a helper do what `order` says, and measures it from outside, as the daemon is.
fn measure(helper: &mut Helper, order: &str) -> Result<Floor> {
    let before = helper.usage()?;
    helper.say(order)?;
    let took = Duration::from_micros(helper.hear("done")?.parse()?);
    Ok(Floor { took, usage: helper.usage()?.since(&before) })
}
