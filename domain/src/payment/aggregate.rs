//! The `cqrs_es::Aggregate` of a payment: a thin shell over [`decide`] and [`evolve`].

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use super::{AGGREGATE_TYPE, Payment, PaymentCommand, PaymentError, PaymentEvent, decide, evolve};

impl Aggregate for Payment {
    const TYPE: &'static str = AGGREGATE_TYPE;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Error = PaymentError;
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
