//! Commands of payments.

use std::sync::Arc;

use wopay_domain::payment::{CreatePayment, Payment, PaymentCommand, PaymentError, PaymentState};
use wopay_domain::{Metadata, PaymentId};

use crate::claims::{Claim, ClaimKind, IdempotencyClaim, IdempotencyDetail, TakenClaim};
use crate::error::{AppendError, ExecuteError, InvalidAppend, LoadError};
use crate::ledger::{Decided, Executed, Ledger};
use crate::store::{LedgerContext, find_claim};

/// The answer to a request for a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was opened now.
    New {
        /// Position of its first event in the ledger.
        position: i64,
        /// The payment.
        payment: PaymentState,
    },
    /// It was opened before, by the same request or for the same order with the same terms.
    Existing {
        /// The payment as it is now.
        payment: PaymentState,
    },
}

type PaymentResult<T> = Result<T, ExecuteError<PaymentError>>;

impl Ledger {
    /// Opens a payment and claims its order id, its address and, if given, the idempotency key. Reads nothing when all
    /// of them are free.
    ///
    /// # Errors
    /// [`ExecuteError::IdempotencyMismatch`] and [`ExecuteError::OrderConflict`] when another request holds the key or
    /// the order id, [`ExecuteError::AddressTaken`] when the address is in use (create again with another one), and what
    /// the domain or the append say.
    pub async fn create_payment(
        &self,
        create: CreatePayment,
        metadata: &Metadata,
        idempotency: Option<IdempotencyClaim>,
    ) -> PaymentResult<Created> {
        let id = create.payment_id.to_string();
        let claims = Claim::of_payment(&create, idempotency.as_ref()).map_err(ExecuteError::Address)?;
        let commands = vec![PaymentCommand::Create(Box::new(create.clone()))];
        match self.decide_and_append(&id, LedgerContext::new(&id), commands, claims, metadata).await {
            Ok(decided) => {
                let executed = executed(&decided)?;
                let position = executed.position.ok_or_else(|| corrupt(&id))?;
                Ok(Created::New { position, payment: executed.state })
            }
            Err(ExecuteError::ClaimTaken(taken)) => self.existing(&create, *taken, idempotency.as_ref()).await,
            Err(ExecuteError::Append(AppendError::Conflict { .. })) => {
                Err(ExecuteError::Domain(PaymentError::AlreadyExists))
            }
            Err(error) => Err(error),
        }
    }

    /// The payment that [`create_payment`](Self::create_payment) would find instead of opening one; `None`: it would open
    /// one. The address of `create` is not looked at.
    ///
    /// # Errors
    /// As there.
    pub async fn existing_payment(
        &self,
        create: &CreatePayment,
        idempotency: Option<IdempotencyClaim>,
    ) -> PaymentResult<Option<Created>> {
        let key = idempotency.as_ref().map(|claim| Claim::idempotency(create.merchant_id, claim));
        for claim in key.into_iter().chain([Claim::order(create.merchant_id, &create.order_id)]) {
            let held = find_claim(&self.shared.pool, claim.kind(), claim.key()).await;
            if let Some((holder, detail)) = held.map_err(|error| LoadError::Database(error.into()))? {
                let taken = TakenClaim { claim, holder, detail };
                return self.existing(create, taken, idempotency.as_ref()).await.map(Some);
            }
        }
        Ok(None)
    }

    /// A payment as its own stream says, never behind what any caller was told, and the last sequence of that stream.
    ///
    /// # Errors
    /// When the stream cannot be read or understood.
    pub async fn payment(&self, id: PaymentId) -> Result<Option<(PaymentState, i64)>, LoadError> {
        let context = self.load_payment(id).await?;
        Ok(context.state().state().map(|state| (state.clone(), context.sequence())))
    }

    /// Executes a command of an opened payment; a command that changes nothing is a success without a position. Tries
    /// again, a bounded number of times, when others change the payment meanwhile.
    ///
    /// # Errors
    /// What the domain or the append say; [`ExecuteError::Contended`] when every try lost.
    pub async fn execute_payment(
        &self,
        id: PaymentId,
        command: PaymentCommand,
        metadata: &Metadata,
    ) -> PaymentResult<Executed<PaymentState>> {
        if matches!(command, PaymentCommand::Create(_)) {
            return Err(ExecuteError::Append(AppendError::Invalid(InvalidAppend::WithoutClaims)));
        }
        let turn = self.turn(&id).await;
        let executed = self.retry(|| self.try_payment(id, command.clone(), metadata)).await;
        drop(turn);
        executed
    }

    async fn try_payment(
        &self,
        id: PaymentId,
        command: PaymentCommand,
        metadata: &Metadata,
    ) -> PaymentResult<Executed<PaymentState>> {
        let context = self.load_payment(id).await?;
        let decided = self.decide_and_append(&id.to_string(), context, vec![command], Vec::new(), metadata).await;
        if let Err(ExecuteError::Append(AppendError::Conflict { expected, found })) = &decided
            && found < expected
        {
            // Only a database that went back in time, to a replica or a backup, has less than we have seen.
            tracing::error!(payment = %id, expected, found, "the ledger has lost events of a payment");
            self.shared.hot_payments.invalidate(&id);
        }
        let decided = decided?;
        let executed = executed(&decided)?;
        self.shared.hot_payments.insert(id, Arc::new(decided.context));
        Ok(executed)
    }

    /// The payment as its stream says now. What is in memory is a prefix of the stream, which never changes; only what
    /// came after it is read.
    pub(crate) async fn load_payment(&self, id: PaymentId) -> Result<LedgerContext<Payment>, LoadError> {
        let store = &self.shared.store;
        match self.shared.hot_payments.get(&id) {
            Some(known) => store.catch_up(LedgerContext::clone(&known)).await,
            None => store.load(&id.to_string()).await,
        }
    }

    /// What the holder of a taken claim means for the request.
    async fn existing(
        &self,
        create: &CreatePayment,
        taken: TakenClaim,
        idempotency: Option<&IdempotencyClaim>,
    ) -> PaymentResult<Created> {
        let payment_id = || taken.holder.parse().map_err(|_| corrupt(&taken.holder));
        match taken.claim.kind() {
            ClaimKind::Idempotency => {
                let payment_id = payment_id()?;
                let detail = taken.detail.as_deref().unwrap_or_default();
                let detail = serde_json::from_str::<IdempotencyDetail>(detail);
                let detail = detail.map_err(|error| LoadError::Corrupt(error.into()))?;
                if idempotency.is_some_and(|wanted| wanted.request_hash == detail.request_hash) {
                    Ok(Created::Existing { payment: self.holder(payment_id).await? })
                } else {
                    Err(ExecuteError::IdempotencyMismatch { payment_id })
                }
            }
            ClaimKind::Order => {
                let payment_id = payment_id()?;
                let payment = self.holder(payment_id).await?;
                if is_same_request(create, &payment) {
                    Ok(Created::Existing { payment })
                } else {
                    Err(ExecuteError::OrderConflict { payment_id })
                }
            }
            ClaimKind::Deposit(_) => {
                Err(ExecuteError::AddressTaken { address: taken.claim.key().to_owned(), holder: taken.holder })
            }
            ClaimKind::ApiKey | ClaimKind::MerchantEmail => Err(ExecuteError::ClaimTaken(Box::new(taken))),
        }
    }

    /// The payment that holds a claim: written in the same append, so it is there.
    async fn holder(&self, id: PaymentId) -> Result<PaymentState, LoadError> {
        self.payment(id).await?.map(|(payment, _)| payment).ok_or_else(|| corrupt(&id.to_string()))
    }
}

fn executed(decided: &Decided<Payment>) -> PaymentResult<Executed<PaymentState>> {
    let context = &decided.context;
    let state = context.state().state().cloned().ok_or(ExecuteError::Domain(PaymentError::NotFound))?;
    Ok(Executed { position: decided.appended.map(|appended| appended.position), sequence: context.sequence(), state })
}

/// Same terms: the amount and its asset, the callback, the time to pay.
fn is_same_request(create: &CreatePayment, payment: &PaymentState) -> bool {
    create.terms.amount == payment.terms.amount
        && create.terms.callback_url == payment.terms.callback_url
        && create.terms.expires_at - create.at == payment.terms.expires_at - payment.created_at
}

fn corrupt(payment: &str) -> LoadError {
    LoadError::Corrupt(format!("a claim is held by {payment:?}, which is no payment").into())
}
