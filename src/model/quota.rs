//! Quotas: how much one user of the socket may do at once, and in a time.

use std::{fmt, num::NonZeroU64, time::Duration};

use super::{profile::Rate, time::format_size};

/// What one user may have. Where nothing is said nothing is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Connections open at once; `None`: as many as everybody.
    pub connections: Option<usize>,
    /// Events in a time.
    pub rate: Option<Rate>,
    /// Bytes of events in a time.
    pub bytes: Option<Throughput>,
}

/// So many bytes in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Throughput {
    /// How many.
    pub bytes: NonZeroU64,
    /// In which time: a second, a minute or an hour.
    pub per: Duration,
}

/// As the configuration writes it: `10MiB/s`.
impl fmt::Display for Throughput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", format_size(self.bytes.get()), unit(self.per))
    }
}

/// As the configuration writes it: `100/s`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, unit(self.per))
    }
}

const fn unit(per: Duration) -> &'static str {
    match per.as_secs() {
        3_600.. => "h",
        60.. => "m",
        _ => "s",
    }
}
