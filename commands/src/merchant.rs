//! Commands of merchants.

use wopay_domain::merchant::{Merchant, MerchantCommand, MerchantError, MerchantState, RegisterMerchant};
use wopay_domain::{MerchantId, Metadata};

use crate::claims::Claim;
use crate::error::{AppendError, ExecuteError, InvalidAppend, LoadError};
use crate::ledger::{Decided, Executed, Ledger};
use crate::store::LedgerContext;

type MerchantResult<T> = Result<T, ExecuteError<MerchantError>>;

impl Ledger {
    /// Registers a merchant and executes its first commands (an API key, a webhook) in the same append. `email_digest`
    /// is the keyed digest of its lower-cased e-mail address in hex; `claims` are those of the commands that follow.
    ///
    /// # Errors
    /// [`ExecuteError::ClaimTaken`] when the e-mail address or another claim is taken, and what the domain or the append
    /// say. Nothing was written, unless the append's outcome is unknown.
    pub async fn register_merchant(
        &self,
        register: RegisterMerchant,
        email_digest: &str,
        then: Vec<MerchantCommand>,
        mut claims: Vec<Claim>,
        metadata: &Metadata,
    ) -> MerchantResult<Executed<MerchantState>> {
        let id = register.merchant_id.to_string();
        claims.push(Claim::merchant_email(email_digest));
        let mut commands = Vec::with_capacity(then.len() + 1);
        commands.push(MerchantCommand::Register(register));
        commands.extend(then);
        match self.decide_and_append(&id, LedgerContext::new(&id), commands, claims, metadata).await {
            Ok(decided) => executed(&decided),
            Err(ExecuteError::Append(AppendError::Conflict { .. })) => {
                Err(ExecuteError::Domain(MerchantError::AlreadyRegistered))
            }
            Err(error) => Err(error),
        }
    }

    /// Executes a command of a registered merchant, with the claims of its events (an API key's hash). A command that
    /// changes nothing is a success without a position, and takes no claims. Tries again, a bounded number of times, when
    /// others change the merchant meanwhile.
    ///
    /// # Errors
    /// [`ExecuteError::ClaimTaken`], what the domain or the append say, [`ExecuteError::Contended`] when every try lost.
    pub async fn execute_merchant(
        &self,
        id: MerchantId,
        command: MerchantCommand,
        claims: Vec<Claim>,
        metadata: &Metadata,
    ) -> MerchantResult<Executed<MerchantState>> {
        if matches!(command, MerchantCommand::Register(_)) {
            return Err(ExecuteError::Append(AppendError::Invalid(InvalidAppend::WithoutClaims)));
        }
        let turn = self.turn(&id).await;
        let executed = self.retry(|| self.try_merchant(id, command.clone(), claims.clone(), metadata)).await;
        drop(turn);
        executed
    }

    /// A merchant as its own stream says, never behind what any caller was told.
    ///
    /// # Errors
    /// When the stream cannot be read or understood.
    pub async fn merchant(&self, id: MerchantId) -> Result<Option<MerchantState>, LoadError> {
        let context = self.shared.store.load::<Merchant>(&id.to_string()).await?;
        Ok(context.state().state().cloned())
    }

    async fn try_merchant(
        &self,
        id: MerchantId,
        command: MerchantCommand,
        claims: Vec<Claim>,
        metadata: &Metadata,
    ) -> MerchantResult<Executed<MerchantState>> {
        let text = id.to_string();
        let context = self.shared.store.load::<Merchant>(&text).await?;
        executed(&self.decide_and_append(&text, context, vec![command], claims, metadata).await?)
    }
}

fn executed(decided: &Decided<Merchant>) -> MerchantResult<Executed<MerchantState>> {
    let context = &decided.context;
    let state = context.state().state().cloned().ok_or(ExecuteError::Domain(MerchantError::NotFound))?;
    Ok(Executed { position: decided.appended.map(|appended| appended.position), sequence: context.sequence(), state })
}
