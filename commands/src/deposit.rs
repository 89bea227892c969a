//! Commands of deposits that counted for no payment, and how one becomes a payment's.
//!
//! An assignment concerns two streams. The deposit's comes first: it settles against refunds and reports, and says whose
//! the money is. Then the payment is told, which books it. A crash between the two leaves money in suspense that is
//! assigned; whatever comes next (the same command again, or a report of the chain) tells the payment first. So the
//! payment hears of the assignment once, and of every report after it, whoever crashes when. The same holds of a deposit
//! that one payment held and that was assigned to another: the holder's stream stands for the deposit's.

use wopay_domain::deposit::{
    AssignUnmatched, ObserveUnmatched, Outcome, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand,
    UnmatchedDepositError, UnmatchedDepositState,
};
use wopay_domain::payment::{
    self, AssignDeposit, Deposit, DepositDecision, DepositReport, Holder, PaymentCommand, PaymentError, PaymentState,
    ReassignDeposit, ToldDeposit, UnmatchedMoney,
};
use wopay_domain::{DepositId, DepositKey, Metadata, PaymentId};

use crate::error::{ExecuteError, LoadError};
use crate::ledger::{Decided, Executed, Ledger};

type PaymentResult<T> = Result<T, ExecuteError<PaymentError>>;
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

    /// Records what a watcher reports of a payment's deposit. If it is another payment's by decision, that is told first.
    ///
    /// # Errors
    /// What the payments say.
    pub async fn observe_deposit(
        &self,
        payment_id: PaymentId,
        report: &DepositReport,
        metadata: &Metadata,
    ) -> PaymentResult<()> {
        let observe = PaymentCommand::ObserveDeposit(Box::new(report.clone()));
        match self.execute_payment(payment_id, observe.clone(), metadata).await {
            Err(ExecuteError::Domain(PaymentError::DepositReassigned(told))) => {
                self.tell_of_held(payment_id, &report.deposit, metadata).await?;
                self.execute_payment(told, observe, metadata).await?;
                let command =
                    PaymentCommand::ObserveToldDeposit(Box::new(ToldDeposit { report: report.clone(), told }));
                self.execute_payment(payment_id, command, metadata).await.map(drop)
            }
            done => done.map(drop),
        }
    }

    /// Gives money that a payment holds to another payment of the same merchant, which counts it from then on. The same
    /// again changes nothing, and completes what was interrupted.
    ///
    /// # Errors
    /// What either payment says. If the one that is to have it refuses, nothing has happened.
    pub async fn reassign_deposit(
        &self,
        holder: PaymentId,
        assign: ReassignDeposit,
        metadata: &Metadata,
    ) -> PaymentResult<Executed<PaymentState>> {
        let (state, _) = self.payment(holder).await?.ok_or(ExecuteError::Domain(PaymentError::NotFound))?;
        let command = PaymentCommand::ReassignDeposit(Box::new(assign.clone()));
        // What the holder refuses is said first: it knows where the money is.
        let known = self.load_payment(holder).await?;
        payment::decide(known.state(), command.clone()).map_err(ExecuteError::Domain)?;
        if let Some(deposit) = state.deposits.get(&assign.deposit).filter(|deposit| !is_reassigned(deposit)) {
            let asked = told_of_held(&state, deposit, &assign);
            let receiver = self.load_payment(assign.to_payment_id).await?;
            payment::decide(receiver.state(), asked).map_err(ExecuteError::Domain)?;
        }
        let deposit = assign.deposit;
        self.execute_payment(holder, command, metadata).await?;
        self.tell_of_held(holder, &deposit, metadata).await
    }

    /// Completes an assignment of held money that was cut off between its two streams. Nothing, if none is missing.
    ///
    /// # Errors
    /// What the payments say; also when the deposit is no other payment's.
    pub async fn complete_reassignment(
        &self,
        holder: PaymentId,
        deposit: &DepositKey,
        metadata: &Metadata,
    ) -> PaymentResult<()> {
        self.tell_of_held(holder, deposit, metadata).await.map(drop)
    }

    /// Tells a payment of the money that another one held and that was assigned to it, if it does not know.
    async fn tell_of_held(
        &self,
        holder: PaymentId,
        deposit: &DepositKey,
        metadata: &Metadata,
    ) -> PaymentResult<Executed<PaymentState>> {
        let (state, _) = self.payment(holder).await?.ok_or(ExecuteError::Domain(PaymentError::NotFound))?;
        let Some(known) = state.deposits.get(deposit) else {
            return Err(ExecuteError::Domain(PaymentError::DepositNotFound(deposit.clone())));
        };
        let Some(DepositDecision::Reassigned { payment_id, reason, at }) = &known.decision else {
            let what = format!("deposit {deposit} of payment {holder} is not assigned to another payment");
            return Err(LoadError::Corrupt(what.into()).into());
        };
        let (to_payment_id, reason) = (*payment_id, reason.clone());
        let assign = ReassignDeposit { deposit: deposit.clone(), to_payment_id, reason, at: *at };
        self.execute_payment(to_payment_id, told_of_held(&state, known, &assign), metadata).await
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
            held_by: None,
        }),
        reason: reason.to_owned(),
        at,
    }))
}

/// What a payment is told of money that another payment held.
fn told_of_held(holder: &PaymentState, deposit: &Deposit, assign: &ReassignDeposit) -> PaymentCommand {
    PaymentCommand::AssignDeposit(Box::new(AssignDeposit {
        deposit: assign.deposit.clone(),
        unmatched: Some(UnmatchedMoney {
            revision: deposit.revision,
            amount: deposit.amount.clone(),
            address: holder.terms.address.clone(),
            from: deposit.from.clone(),
            block: deposit.block.clone(),
            held_by: Some(Holder { payment_id: holder.id, merchant_id: holder.merchant_id }),
        }),
        reason: assign.reason.clone(),
        at: assign.at,
    }))
}

fn is_reassigned(deposit: &Deposit) -> bool {
    matches!(deposit.decision, Some(DepositDecision::Reassigned { .. }))
}

fn executed(decided: &Decided<UnmatchedDeposit>) -> DepositResult<Executed<UnmatchedDepositState>> {
    let context = &decided.context;
    let state = context.state().state().cloned().ok_or(ExecuteError::Domain(UnmatchedDepositError::NotFound))?;
    Ok(Executed { position: decided.appended.map(|appended| appended.position), sequence: context.sequence(), state })
}
