//! Steps of watchers, taken apart: a step stops at every question to a node, where another watcher may go on, the chain
//! may change or the process may die; and it may die while any of its statements is on its way to the database.
//!
//! When a step is to die is a number of questions and statements, never of polls or of time: those differ from run to run.
//! A statement that was on its way is carried out by the database, also if it is the commit.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard};
use std::task::{Poll, Waker};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wopay_chain_watchers::Progress;

thread_local! {
    static STATEMENTS: Cell<u64> = const { Cell::new(0) };
}

/// Counts the statements that were carried out on this thread: the driver logs each.
pub(super) struct StatementCount;

impl Subscriber for StatementCount {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "sqlx::query"
    }

    fn event(&self, _: &Event<'_>) {
        STATEMENTS.set(STATEMENTS.get() + 1);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// Where a step waits until it may go on. Nobody passes before it is opened, however often a step is polled: how far a
/// step comes in one go must not depend on how fast the database answers.
#[derive(Debug, Default)]
pub(super) struct Gate(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    /// Somebody has come since it was opened.
    reached: bool,
    openings: u64,
    /// In the order in which they came.
    wakers: Vec<Waker>,
    /// Of who drives the step.
    driver: Option<Waker>,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap()
    }

    /// Lets through who waits, and forgets who came.
    pub(super) fn open(&self) {
        let wakers = {
            let mut waiting = self.lock();
            waiting.reached = false;
            waiting.openings += 1;
            std::mem::take(&mut waiting.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Waits until it is opened.
    pub(super) async fn pass(&self) {
        let came_at = {
            let mut waiting = self.lock();
            waiting.reached = true;
            waiting.openings
        };
        poll_fn(|context| {
            let mut waiting = self.lock();
            if waiting.openings > came_at {
                return Poll::Ready(());
            }
            waiting.wakers.push(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Somebody comes who cannot be held: a call over the network.
    pub(super) fn note(&self) {
        let mut waiting = self.lock();
        waiting.reached = true;
        if let Some(driver) = waiting.driver.take() {
            driver.wake();
        }
    }

    /// Whether somebody has come since the last time; whoever comes from now on wakes that driver.
    fn take_reached(&self, driver: &Waker) -> bool {
        let mut waiting = self.lock();
        waiting.driver = Some(driver.clone());
        std::mem::take(&mut waiting.reached)
    }
}

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Came {
    /// To its end.
    Through(Progress),
    /// To a question to a node.
    ToTheGate,
    /// To where it is to die.
    ToItsDeath,
}

/// Lets a step go on until it ends, asks a node, or has asked and written so often that it is to die; `None` lives for
/// ever.
pub(super) async fn go_on<F>(mut step: Pin<&mut F>, gate: &Gate, life: &mut Option<u64>) -> Came
where
    F: Future<Output = Progress>,
{
    gate.open();
    poll_fn(|context| {
        let before = STATEMENTS.get();
        let poll = step.as_mut().poll(context);
        let is_at_gate = gate.take_reached(context.waker());
        let spent = STATEMENTS.get() - before + u64::from(is_at_gate);
        let is_over = match life {
            Some(left) => {
                let is_over = *left < spent;
                *left = left.saturating_sub(spent);
                is_over
            }
            None => false,
        };
        match poll {
            Poll::Ready(progress) => Poll::Ready(Came::Through(progress)),
            Poll::Pending if is_over => Poll::Ready(Came::ToItsDeath),
            Poll::Pending if is_at_gate => Poll::Ready(Came::ToTheGate),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
