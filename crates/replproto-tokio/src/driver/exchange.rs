//! What lies between a link's driver and its application.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use replproto_core::{Event, Input};

use super::clock::Clock;

/// Events on their way to the application, and its answers on their way back. Both go in batches under one short lock,
/// with one waking for a whole batch. What bounds it are the core's gauges: an event stays counted until it is released.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) clock: Clock,
    /// Nothing more is handed out.
    is_over: AtomicBool,
    state: Mutex<State>,
    driver: AtomicWaker,
    consumer: AtomicWaker,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<Event>,
    answers: Answers,
    /// Deliveries that were handed out and not released, or released out of order: from the one with the number `oldest`
    /// on.
    deliveries: VecDeque<Place>,
    oldest: u64,
    /// The application takes no more events.
    is_left: bool,
    /// It has left some.
    has_unseen: bool,
}

/// For how many events, deliveries or answers there is room while nothing happens.
const ROOM_KEPT: usize = 64;

impl State {
    /// Nothing waits for the application: the room that a burst has taken is given back.
    fn rest(&mut self) {
        self.events.shrink_to(ROOM_KEPT);
        self.deliveries.shrink_to(ROOM_KEPT);
    }
}

/// Events that the application has taken together, and looks at one by one.
#[derive(Debug, Default)]
pub(crate) struct Taken {
    events: VecDeque<Event>,
    /// The number of the first one's delivery.
    next: u64,
}

impl Taken {
    fn pop(&mut self) -> Option<(Event, u64)> {
        let event = self.events.pop_front()?;
        let number = self.next;
        self.next += 1;
        Some((event, number))
    }
}

/// A delivery that was handed out.
#[derive(Debug)]
struct Place {
    /// How many events it counts as.
    count: u64,
    is_released: bool,
}

/// What the application and the blob store answered.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    /// Events to be released, oldest first.
    pub(crate) consumed: u64,
    pub(crate) inputs: Vec<Input>,
}

impl Answers {
    fn is_empty(&self) -> bool {
        self.consumed == 0 && self.inputs.is_empty()
    }
}

impl Exchange {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            is_over: AtomicBool::new(false),
            state: Mutex::default(),
            driver: AtomicWaker::new(),
            consumer: AtomicWaker::new(),
        }
    }

    // The driver's side.

    /// Hands events to the application. Leaves the vector empty.
    pub(crate) fn push(&self, events: &mut Vec<Event>) {
        if !events.is_empty() {
            let mut state = self.state();
            state.has_unseen |= state.is_left;
            state.events.extend(events.drain(..));
            drop(state);
            self.consumer.wake();
        }
    }

    /// Whether there are events that the application will never take.
    pub(crate) fn is_stuck(&self) -> bool {
        self.state().has_unseen
    }

    /// Nothing more is handed out; what the application has not seen is dropped.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Release);
        self.state().events = VecDeque::new();
        self.consumer.wake();
    }

    pub(crate) fn poll_answers(&self, context: &mut Context<'_>) -> Poll<()> {
        self.driver.register(context.waker());
        if self.state().answers.is_empty() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    }

    /// Gives the answers that wait, in the room of those before.
    pub(crate) fn take_answers(&self, answers: &mut Answers) {
        answers.consumed = 0;
        answers.inputs.clear();
        answers.inputs.shrink_to(ROOM_KEPT);
        std::mem::swap(answers, &mut self.state().answers);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    // The application's side.

    /// Tells the driver something.
    pub(crate) fn answer(&self, input: Input) {
        self.answer_all([input]);
    }

    pub(crate) fn answer_all(&self, inputs: impl IntoIterator<Item = Input>) {
        self.add(|state| state.answers.inputs.extend(inputs));
    }

    /// The application takes no more events. `taken` are those that it has not looked at.
    pub(crate) fn leave(&self, taken: &Taken) {
        let mut state = self.state();
        state.is_left = true;
        state.has_unseen = !state.events.is_empty() || !taken.events.is_empty();
        drop(state);
        self.driver.wake();
    }

    /// Releases the oldest events.
    pub(crate) fn consume(&self, events: u64) {
        self.add(|state| state.answers.consumed += events);
    }

    /// Adds to the answers. The driver is woken for the first of those that it takes together.
    fn add(&self, add: impl FnOnce(&mut State)) {
        let mut state = self.state();
        let was_empty = state.answers.is_empty();
        add(&mut state);
        let is_news = was_empty && !state.answers.is_empty();
        drop(state);
        if is_news {
            self.driver.wake();
        }
    }

    /// The next event, with the number of its delivery; `None` once the link is over. Takes all that wait when nothing is left
    /// of those that were taken before.
    pub(crate) fn poll_delivery(
        &self,
        context: &mut Context<'_>,
        taken: &mut Taken,
    ) -> Poll<Option<(Event, u64)>> {
        if !self.is_over() && taken.events.is_empty() {
            self.consumer.register(context.waker());
            let mut state = self.state();
            std::mem::swap(&mut taken.events, &mut state.events);
            taken.next = state.oldest + state.deliveries.len() as u64;
            let places = taken.events.iter().map(|event| Place {
                count: event.count(),
                is_released: false,
            });
            state.deliveries.extend(places);
            if taken.events.is_empty() {
                taken.events.shrink_to(ROOM_KEPT);
                state.rest();
            }
        }
        if self.is_over() {
            taken.events = VecDeque::new();
            return Poll::Ready(None);
        }
        taken
            .pop()
            .map_or(Poll::Pending, |next| Poll::Ready(Some(next)))
    }

    /// Releases a delivery: the places of the oldest ones without a gap are given back.
    pub(crate) fn release(&self, number: u64) {
        self.add(|state| {
            let Some(index) = number.checked_sub(state.oldest) else {
                return;
            };
            if let Some(place) = state.deliveries.get_mut(index as usize) {
                place.is_released = true;
            }
            while let Some(place) = state.deliveries.pop_front_if(|place| place.is_released) {
                state.oldest += 1;
                state.answers.consumed += place.count;
            }
        });
    }

    /// Lets the application look at the events that wait, and take some. It is asked again when there are more.
    /// `None` once the link is over.
    pub(crate) fn poll_take<T>(
        &self,
        context: &mut Context<'_>,
        mut take: impl FnMut(&mut VecDeque<Event>) -> Option<T>,
    ) -> Poll<Option<T>> {
        self.consumer.register(context.waker());
        if self.is_over() {
            return Poll::Ready(None);
        }
        let mut state = self.state();
        match take(&mut state.events) {
            Some(taken) => Poll::Ready(Some(taken)),
            None => {
                state.rest();
                Poll::Pending
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is locked, short of memory running out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{end, schema};
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    fn exchange(events: usize) -> Exchange {
        let exchange = Exchange::new(Clock::start());
        let mut events: Vec<Event> = (0..events).map(|i| end(Some(i as f64))).collect();
        exchange.push(&mut events);
        exchange
    }

    fn deliver(exchange: &Exchange, taken: &mut Taken) -> Poll<Option<u64>> {
        exchange
            .poll_delivery(&mut Context::from_waker(Waker::noop()), taken)
            .map(|delivery| delivery.map(|(_, number)| number))
    }

    fn consumed(exchange: &Exchange) -> u64 {
        let mut answers = Answers::default();
        exchange.take_answers(&mut answers);
        answers.consumed
    }

    #[tokio::test]
    async fn places_are_given_back_in_order() {
        let exchange = exchange(4);
        let mut taken = Taken::default();
        for number in 0..4 {
            assert_eq!(deliver(&exchange, &mut taken), Poll::Ready(Some(number)));
        }
        assert_eq!(deliver(&exchange, &mut taken), Poll::Pending);
        exchange.release(1);
        exchange.release(3);
        assert_eq!(consumed(&exchange), 0);
        exchange.release(0);
        assert_eq!(consumed(&exchange), 2);
        exchange.release(2);
        assert_eq!(consumed(&exchange), 2);
        exchange.push(&mut vec![schema("a")]);
        assert_eq!(deliver(&exchange, &mut taken), Poll::Ready(Some(4)));
        exchange.release(4);
        exchange.release(4);
        assert_eq!(consumed(&exchange), 1);
    }

    /// Counts how often it is woken.
    #[derive(Default)]
    struct Wakes(AtomicUsize);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    impl Wakes {
        fn take(&self) -> usize {
            self.0.swap(0, Ordering::Relaxed)
        }
    }

    #[test]
    fn the_driver_is_woken_once_for_what_it_takes_together() {
        let exchange = exchange(1);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut answers = Answers::default();
        for turn in 0..3 {
            assert!(exchange.poll_answers(&mut context).is_pending(), "{turn}");
            exchange.consume(0);
            assert_eq!(wakes.take(), 0, "nothing was answered");
            exchange.consume(1);
            assert_eq!(wakes.take(), 1);
            exchange.answer(Input::Ready);
            exchange.consume(2);
            assert_eq!(wakes.take(), 0, "it has been woken already");
            assert!(exchange.poll_answers(&mut context).is_ready());
            exchange.take_answers(&mut answers);
            assert_eq!((answers.consumed, answers.inputs.len()), (3, 1));
        }
    }

    #[test]
    fn events_that_nobody_will_take_are_told_from_those_that_wait() {
        let waiting = exchange(1);
        assert!(!waiting.is_stuck());
        waiting.leave(&Taken::default());
        assert!(waiting.is_stuck());

        let seen = exchange(1);
        let mut taken = Taken::default();
        assert!(deliver(&seen, &mut taken).is_ready());
        seen.leave(&taken);
        assert!(!seen.is_stuck());
        seen.push(&mut vec![schema("a")]);
        assert!(seen.is_stuck());

        let unseen = exchange(2);
        let mut taken = Taken::default();
        assert!(deliver(&unseen, &mut taken).is_ready());
        unseen.leave(&taken);
        assert!(unseen.is_stuck());
    }

    #[test]
    fn the_application_is_woken_for_events_and_for_the_end() {
        let exchange = exchange(0);
        let wakes = Arc::new(Wakes::default());
        let waker = Waker::from(wakes.clone());
        let mut context = Context::from_waker(&waker);
        let mut taken = Taken::default();
        assert!(
            exchange
                .poll_delivery(&mut context, &mut taken)
                .is_pending()
        );
        exchange.push(&mut vec![schema("a"), schema("b")]);
        assert_eq!(wakes.take(), 1);
        for _ in 0..2 {
            assert!(exchange.poll_delivery(&mut context, &mut taken).is_ready());
        }
        assert!(
            exchange
                .poll_delivery(&mut context, &mut taken)
                .is_pending()
        );
        exchange.end();
        assert_eq!(wakes.take(), 1);
        assert_eq!(deliver(&exchange, &mut taken), Poll::Ready(None));
    }

    #[tokio::test]
    async fn nothing_is_delivered_after_the_end() {
        let exchange = exchange(2);
        let mut taken = Taken::default();
        assert_eq!(deliver(&exchange, &mut taken), Poll::Ready(Some(0)));
        exchange.end();
        assert_eq!(deliver(&exchange, &mut taken), Poll::Ready(None));
    }
}
