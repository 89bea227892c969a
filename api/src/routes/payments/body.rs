//! A payment as the API shows it.

use serde::Serialize;
use utoipa::ToSchema;
use wopay_domain::payment::{Deposit, DepositDecision, Disposition, PaymentState};
use wopay_domain::{DepositKey, PaymentId, Timestamp};

use super::confirmations::{self, Heights};
use crate::chain_text::{display_address, payment_uri};
use crate::problem::Problem;
use crate::state::AppState;

/// A payment. Amounts are decimal strings with all of the currency's digits.
#[derive(Serialize, ToSchema)]
#[schema(as = Payment)]
pub(crate) struct PaymentBody<'a> {
    /// UUID v7.
    #[schema(value_type = uuid::Uuid)]
    id: PaymentId,
    /// The merchant's own name for it.
    #[schema(example = "order-1001")]
    order_id: &'a str,
    /// How much is asked for.
    #[schema(example = "100.500000")]
    amount: String,
    /// Of what.
    #[schema(example = "USDT")]
    currency: &'a str,
    /// On which chain.
    #[schema(example = "ethereum")]
    blockchain: &'a str,
    /// `pending`, `partially_paid`, `confirming`, `completed`, `expired`, `cancelled`, `held`, `reversed` or `refunded`.
    #[schema(example = "pending")]
    status: &'static str,
    /// Any of `underpaid`, `overpaid`, `paid_late`, `partially_refunded`.
    flags: Vec<&'static str>,
    /// Where to pay, on EVM chains with EIP-55's checksum.
    #[schema(example = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")]
    payment_address: String,
    /// What a wallet opens: EIP-681 or Solana Pay. Null when this installation no longer serves the chain.
    payment_uri: Option<String>,
    /// The page to send the payer to.
    checkout_url: String,
    /// What has arrived and counts, confirmed or not.
    #[schema(example = "0.000000")]
    amount_paid: String,
    /// The part of `amount_paid` that is confirmed.
    #[schema(example = "0.000000")]
    amount_confirmed: String,
    /// The part of `amount_confirmed` that was sent back.
    #[schema(example = "0.000000")]
    amount_refunded: String,
    /// Of the least confirmed deposit that counts (once completed: that is confirmed); 0 as long as nothing arrived.
    confirmations: u32,
    /// How many make a deposit final.
    required_confirmations: u32,
    /// Every deposit ever seen, oldest first.
    transactions: Vec<TransactionBody<'a>>,
    /// Where changes are announced besides the merchant's own webhook URL.
    callback_url: Option<&'a str>,
    /// The deadline, by the chain's time.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    expires_at: Timestamp,
    /// When it was created.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    created_at: Timestamp,
    /// When anything last happened to it.
    #[schema(value_type = chrono::DateTime<chrono::Utc>)]
    updated_at: Timestamp,
}

/// A deposit of a payment. One transaction may hold several.
#[derive(Serialize, ToSchema)]
#[schema(as = Transaction)]
pub(crate) struct TransactionBody<'a> {
    /// Hash, or signature on Solana.
    transaction_hash: &'a str,
    /// The chain it happened on: an address is ours on every chain of its family.
    blockchain: &'a str,
    /// The sender, where the chain names one.
    from: Option<String>,
    /// How much; in minor units when `currency` is null.
    amount: String,
    /// Symbol of the asset; null when this installation no longer knows it.
    currency: Option<String>,
    /// The asset, as `<chain>/native` or `<chain>/<contract>`.
    asset: &'a str,
    /// The block that holds it, or held it.
    block_number: u64,
    /// That block's hash.
    block_hash: &'a str,
    /// Blocks from it to the head, both counted; 0 when orphaned.
    confirmations: u32,
    /// `seen`, `confirmed` or `orphaned`.
    status: &'static str,
    /// Whether it counts for the payment.
    credited: bool,
    /// Why it does not count: `wrong_asset`, `late` or `cancelled`.
    held_reason: Option<&'static str>,
    /// The payment to which it was assigned instead, and for which it counts; null: none.
    #[schema(value_type = Option<uuid::Uuid>)]
    assigned_to: Option<PaymentId>,
}

/// The heads of the chains that the payment's deposits are on; reads nothing for a payment without deposits.
pub(crate) async fn heights(state: &AppState, payment: &PaymentState) -> Result<Heights, Problem> {
    let mut heights = Heights::new();
    for key in payment.deposits.keys() {
        if !heights.contains_key(&key.chain)
            && let Some(height) = state.heads.height(&key.chain).await?
        {
            heights.insert(key.chain.clone(), height);
        }
    }
    Ok(heights)
}

impl<'a> PaymentBody<'a> {
    /// Shows the payment as of these heights.
    ///
    /// # Errors
    /// When its deposits cannot be added up; the write side does not let that happen.
    pub(crate) fn of(state: &'a AppState, payment: &'a PaymentState, heights: &Heights) -> Result<Self, Problem> {
        let terms = &payment.terms;
        let asset = &terms.asset;
        let totals = payment.totals()?;
        let payment_address = display_address(&terms.address);
        let catalog = state.parts.catalog.current();
        let chain = catalog.get(terms.chain.as_str());
        let payment_uri = chain.and_then(|chain| {
            payment_uri(chain.family, chain.chain_id, asset, &terms.amount, &payment_address, payment.id)
        });
        let mut deposits: Vec<_> = payment.deposits.iter().collect();
        deposits.sort_by_key(|(_, deposit)| deposit.detected_at);
        let transaction = |(key, deposit)| TransactionBody::of(state, payment, key, deposit, heights);
        Ok(Self {
            id: payment.id,
            order_id: &payment.order_id,
            amount: asset.format(terms.amount.minor()),
            currency: &asset.symbol,
            blockchain: terms.chain.as_str(),
            status: payment.status.as_str(),
            flags: payment.flags.names(),
            payment_address,
            payment_uri,
            checkout_url: checkout_url(state, payment.id),
            amount_paid: asset.format(totals.received.minor()),
            amount_confirmed: asset.format(totals.confirmed.minor()),
            amount_refunded: asset.format(totals.refunded.minor()),
            confirmations: confirmations::of_payment(payment, heights),
            required_confirmations: terms.policy.required_confirmations,
            transactions: deposits.into_iter().map(transaction).collect(),
            callback_url: terms.callback_url.as_deref(),
            expires_at: terms.expires_at,
            created_at: payment.created_at,
            updated_at: payment.updated_at,
        })
    }
}

impl<'a> TransactionBody<'a> {
    fn of(
        state: &'a AppState,
        payment: &'a PaymentState,
        key: &'a DepositKey,
        deposit: &'a Deposit,
        heights: &Heights,
    ) -> Self {
        let id = deposit.amount.asset();
        let own = Some(&payment.terms.asset).filter(|asset| &asset.id == id);
        let catalog = state.parts.catalog.current();
        let asset = own.or_else(|| catalog.get(id.chain())?.asset(id));
        let minor = deposit.amount.minor();
        let held = match deposit.disposition {
            Disposition::Credit => None,
            Disposition::Hold(reason) => Some(reason.as_str()),
        };
        Self {
            transaction_hash: &key.transaction,
            blockchain: key.chain.as_str(),
            from: deposit.from.as_deref().map(display_address),
            amount: asset.map_or_else(|| minor.to_string(), |asset| asset.format(minor)),
            currency: asset.map(|asset| asset.symbol.clone()),
            asset: id.as_str(),
            block_number: deposit.block.number,
            block_hash: &deposit.block.hash,
            confirmations: confirmations::of_deposit(payment, &key.chain, deposit, heights),
            status: deposit.state.as_str(),
            credited: deposit.is_live() && held.is_none(),
            held_reason: held,
            assigned_to: match &deposit.decision {
                Some(DepositDecision::Reassigned { payment_id, .. }) => Some(*payment_id),
                Some(DepositDecision::Assigned { .. } | DepositDecision::Refunded { .. }) | None => None,
            },
        }
    }
}

/// The page to send the payer to. The page itself is the console's.
pub(crate) fn checkout_url(state: &AppState, id: PaymentId) -> String {
    format!("{}/pay/{id}", state.base_url)
}
