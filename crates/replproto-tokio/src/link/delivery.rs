//! An event on its way to the application.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use replproto_core::{Event, Input};

use crate::driver::Exchange;

/// An event, with its place in the link's queue. Dropping it gives the place back; places are given back in order, so one
/// delivery that is kept holds up those after it in the end.
pub struct Delivery {
    event: Event,
    place: Place,
}

impl Delivery {
    /// The event with this place in the queue of its link.
    pub(super) const fn new(event: Event, exchange: Arc<Exchange>, number: u64) -> Self {
        let place = Place { exchange, number };
        Self { event, place }
    }

    /// Says that what this event ends is durable, with its cursor. Says nothing for an event that ends nothing.
    pub fn commit(&self) {
        let id = match &self.event {
            Event::EndTransaction(end) => end.id,
            Event::Checkpoint(checkpoint) | Event::CopyCompleted(checkpoint) => checkpoint.id,
            _ => return,
        };
        self.place.exchange.answer(Input::Committed(id));
    }

    /// The event without its place, which is given back. Many events that are kept in this way can take more memory than
    /// the link accounts for.
    pub fn into_event(self) -> Event {
        self.event
    }
}

impl Deref for Delivery {
    type Target = Event;

    fn deref(&self) -> &Event {
        &self.event
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.event.fmt(f)
    }
}

struct Place {
    exchange: Arc<Exchange>,
    number: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.exchange.release(self.number);
    }
}
