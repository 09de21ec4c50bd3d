//! Between `tracing` and the queue: each event becomes a record.

use std::sync::Arc;

use tracing::{Event, Subscriber};
use tracing_subscriber::{Layer, layer::Context};

use super::{queue::Queue, record::Record};
use crate::clock::Clock;

/// Puts each event into the queue.
pub(super) struct Lines {
    queue: Arc<Queue>,
    clock: Clock,
}

impl Lines {
    pub(super) const fn new(queue: Arc<Queue>, clock: Clock) -> Self {
        Self { queue, clock }
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        self.queue.push(Record::of(event, self.clock.wall()));
    }
}
