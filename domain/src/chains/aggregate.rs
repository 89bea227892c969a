//! The `cqrs_es::Aggregate` of a chain: a thin shell over [`decide`] and [`evolve`].

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use super::{AGGREGATE_TYPE, Chain, ChainCommand, ChainError, ChainEvent, decide, evolve};

impl Aggregate for Chain {
    const TYPE: &'static str = AGGREGATE_TYPE;
    type Command = ChainCommand;
    type Event = ChainEvent;
    type Error = ChainError;
    type Services = ();

    async fn handle(
        &mut self,
        command: Self::Command,
        (): &Self::Services,
        sink: &EventSink<Self>,
    ) -> Result<(), Self::Error> {
        for event in decide(self, command)? {
            sink.write(event, self).await;
        }
        Ok(())
    }

    fn apply(&mut self, event: Self::Event) {
        evolve(self, event);
    }
}
