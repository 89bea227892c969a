//! Commands of unmatched deposits, and how one becomes a payment's.
//!
//! An assignment concerns two streams. The deposit's comes first: it settles against refunds and reports, and says whose
//! the money is. Then the payment is told, which books it. A crash between the two leaves money in suspense that is
//! assigned; whatever comes next (the same command again, or a report of the chain) tells the payment first. So the
//! payment hears of the assignment once, and of every report after it, whoever crashes when.

use wopay_domain::deposit::{
    AssignUnmatched, ObserveUnmatched, Outcome, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand,
    UnmatchedDepositError, UnmatchedDepositState,
};
use wopay_domain::payment::{
    self, AssignDeposit, DepositReport, PaymentCommand, PaymentError, PaymentState, UnmatchedMoney,
};
use wopay_domain::{DepositId, Metadata, PaymentId};

use crate::error::{ExecuteError, LoadError};
use crate::ledger::{Decided, Executed, Ledger};

type DepositResult<T> = Result<T, ExecuteError<UnmatchedDepositError>>;

/// Why unmatched money could not be dealt with.
#[derive(Debug, thiserror::Error)]
pub enum UnmatchedError {
    /// The deposit refuses, or its stream could not be read or written.
    #[error("the deposit")]
    Deposit(#[from] ExecuteError<UnmatchedDepositError>),
    /// The payment refuses, or its stream could not be read or written.
    #[error("the payment")]
    Payment(#[from] ExecuteError<PaymentError>),
}

impl UnmatchedError {
    /// Whether the same may well succeed a little later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Deposit(error) => error.is_transient(),
            Self::Payment(error) => error.is_transient(),
        }
    }

    /// Whether the rules refuse it, now and for ever.
    #[must_use]
    pub const fn is_refusal(&self) -> bool {
        matches!(self, Self::Deposit(ExecuteError::Domain(_)) | Self::Payment(ExecuteError::Domain(_)))
    }
}

impl Ledger {
    /// An unmatched deposit as its own stream says.
    ///
    /// # Errors
    /// When the stream cannot be read or understood.
    pub async fn unmatched_deposit(&self, id: DepositId) -> Result<Option<UnmatchedDepositState>, LoadError> {
        let context = self.shared.store.load::<UnmatchedDeposit>(&id.to_string()).await?;
        Ok(context.state().state().cloned())
    }

    /// Records what a watcher reports of money that no payment claims. If it was assigned to a payment, that is told first.
    ///
    /// # Errors
    /// What the deposit or the payment say.
    pub async fn observe_unmatched(
        &self,
        address: &str,
        report: &DepositReport,
        metadata: &Metadata,
    ) -> Result<(), UnmatchedError> {
        let id = DepositId::of(&report.deposit);
        let observe = |told| {
            let (address, report) = (address.to_owned(), report.clone());
            UnmatchedDepositCommand::Observe(Box::new(ObserveUnmatched { address, report, told }))
        };
        match self.execute_unmatched(id, observe(None), metadata).await {
            Err(ExecuteError::Domain(UnmatchedDepositError::Assigned(payment))) => {
                self.tell(id, payment, metadata).await?;
                let command = PaymentCommand::ObserveDeposit(Box::new(report.clone()));
                self.execute_payment(payment, command, metadata).await?;
                self.execute_unmatched(id, observe(Some(payment)), metadata).await?;
                Ok(())
            }
            done => Ok(done.map(drop)?),
        }
    }

    /// Gives unmatched money to a payment, which counts it from then on. The same again changes nothing, and completes what
    /// was interrupted.
    ///
    /// # Errors
    /// What the deposit or the payment say. If the payment refuses, nothing has happened.
    pub async fn assign_unmatched(
        &self,
        id: DepositId,
        assign: AssignUnmatched,
        metadata: &Metadata,
    ) -> Result<Executed<PaymentState>, UnmatchedError> {
        let payment_id = assign.payment_id;
        let state = self.known(id).await?;
        if state.outcome.is_none() {
            let asked = told_to_payment(&state, &assign.reason, assign.at);
            let payment = self.load_payment(payment_id).await.map_err(ExecuteError::<PaymentError>::Load)?;
            payment::decide(payment.state(), asked).map_err(ExecuteError::Domain)?;
        }
        self.execute_unmatched(id, UnmatchedDepositCommand::Assign(assign), metadata).await?;
        self.tell(id, payment_id, metadata).await
    }

    /// Completes an assignment that was cut off between its two streams. Nothing, if none was or none is missing.
    ///
    /// # Errors
    /// What the deposit or the payment say.
    pub async fn complete_assignment(&self, id: DepositId, metadata: &Metadata) -> Result<(), UnmatchedError> {
        match self.known(id).await?.assigned_to() {
            Some(payment) => self.tell(id, payment, metadata).await.map(drop),
            None => Ok(()),
        }
    }

    /// Records that unmatched money was sent back.
    ///
    /// # Errors
    /// What the domain or the append say.
    pub async fn refund_unmatched(
        &self,
        id: DepositId,
        refund: RefundUnmatched,
        metadata: &Metadata,
    ) -> DepositResult<Executed<UnmatchedDepositState>> {
        self.execute_unmatched(id, UnmatchedDepositCommand::Refund(Box::new(refund)), metadata).await
    }

    /// Tells a payment of the money that was assigned to it, if it does not know.
    async fn tell(
        &self,
        id: DepositId,
        payment: PaymentId,
        metadata: &Metadata,
    ) -> Result<Executed<PaymentState>, UnmatchedError> {
        let state = self.known(id).await?;
        let command = match &state.outcome {
            Some(Outcome::Assigned { payment_id, reason, at }) if *payment_id == payment => {
                told_to_payment(&state, reason, *at)
            }
            Some(Outcome::Assigned { .. } | Outcome::Refunded { .. }) | None => {
                let what = format!("deposit {id} is not assigned to payment {payment}");
                return Err(ExecuteError::<PaymentError>::Load(LoadError::Corrupt(what.into())).into());
            }
        };
        Ok(self.execute_payment(payment, command, metadata).await?)
    }

    async fn known(&self, id: DepositId) -> DepositResult<UnmatchedDepositState> {
        self.unmatched_deposit(id).await?.ok_or(ExecuteError::Domain(UnmatchedDepositError::NotFound))
    }

    async fn execute_unmatched(
        &self,
        id: DepositId,
        command: UnmatchedDepositCommand,
        metadata: &Metadata,
    ) -> DepositResult<Executed<UnmatchedDepositState>> {
        let turn = self.turn(&id).await;
        let execute = async || {
            let text = id.to_string();
            let context = self.shared.store.load::<UnmatchedDeposit>(&text).await?;
            executed(&self.decide_and_append(&text, context, vec![command.clone()], Vec::new(), metadata).await?)
        };
        let executed = self.retry(execute).await;
        drop(turn);
        executed
    }
}

/// What a payment is told of money that is its own from now on. Before the payment knows of it, nothing else has happened to
/// it: reports are refused until the payment was told.
fn told_to_payment(state: &UnmatchedDepositState, reason: &str, at: wopay_domain::Timestamp) -> PaymentCommand {
    PaymentCommand::AssignDeposit(Box::new(AssignDeposit {
        deposit: state.deposit.clone(),
        unmatched: Some(UnmatchedMoney {
            revision: state.revision,
            amount: state.amount.clone(),
            address: state.address.clone(),
            from: state.from.clone(),
            block: state.block.clone(),
        }),
        reason: reason.to_owned(),
        at,
    }))
}

fn executed(decided: &Decided<UnmatchedDeposit>) -> DepositResult<Executed<UnmatchedDepositState>> {
    let context = &decided.context;
    let state = context.state().state().cloned().ok_or(ExecuteError::Domain(UnmatchedDepositError::NotFound))?;
    Ok(Executed { position: decided.appended.map(|appended| appended.position), sequence: context.sequence(), state })
}
