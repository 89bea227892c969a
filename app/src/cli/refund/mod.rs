//! `wopay refund …`: money of a payment that goes back.
//!
//! WoPay does not move it (yet): the operator sends it with a wallet of their choice and says in which transaction. The
//! ledger sets the money aside from the request on, so that it cannot be given away twice.

mod print;
pub(super) mod text;

use anyhow::{Context as _, anyhow, bail};
use chrono::{SubsecRound as _, Utc};
use uuid::Uuid;
use wopay_commands::ExecuteError;
use wopay_domain::payment::{CompleteRefund, PaymentCommand, PaymentError, PaymentState, RequestRefund};
use wopay_domain::{ChainCatalog, Money, PaymentId, RefundId};

use super::operator;
use crate::config::Loaded;
use crate::context::Administration;

/// Says what there is to know before money is sent.
const BY_HAND: &str = "WoPay does not send refunds: send the money with the wallet of your choice, then record the transaction with `wopay \
                       refund complete`. It is recorded as you state it and not checked on the chain.";

#[derive(Debug, clap::Subcommand)]
#[command(after_help = BY_HAND)]
pub(super) enum Command {
    /// Set confirmed money of a payment aside, to be sent back.
    Request {
        /// The payment.
        payment: PaymentId,
        /// How much of the payment's currency, such as 12.50, or `all` that can be refunded.
        #[arg(long)]
        amount: String,
        /// The address to send it to, on the payment's chain.
        #[arg(long)]
        to: String,
        /// Why. It stays in the ledger for ever: no personal data.
        #[arg(long)]
        reason: String,
        /// The refund's id, so that a script can repeat the request safely [default: a new one].
        #[arg(long, value_name = "UUID")]
        refund_id: Option<RefundId>,
        /// Print the refund as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Record that a refund was sent, and in which transaction.
    Complete {
        /// The payment.
        payment: PaymentId,
        /// The refund.
        refund: RefundId,
        /// The transaction's hash or signature.
        #[arg(long, value_name = "HASH")]
        transaction: String,
        /// What the network took for it from an address of this installation, in the chain's native coin.
        #[arg(long, value_name = "AMOUNT")]
        network_fee: Option<String>,
        /// Print the refund as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a refund up that was not sent. Its money can be refunded again.
    Cancel {
        /// The payment.
        payment: PaymentId,
        /// The refund.
        refund: RefundId,
        /// Why. It stays in the ledger for ever: no personal data.
        #[arg(long)]
        reason: String,
        /// Print the refund as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a payment's refunds and what can still be refunded.
    List {
        /// The payment.
        payment: PaymentId,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let catalog = loaded.catalog.clone();
        let administration = Administration::open(loaded).await?;
        let done = self.execute(&administration, &catalog).await;
        administration.close().await;
        done
    }

    async fn execute(&self, administration: &Administration, catalog: &ChainCatalog) -> anyhow::Result<()> {
        let payment = load(administration, self.payment()).await?;
        let (refund, command, json) = match self {
            Self::List { json, .. } => {
                let refundable = payment.refundable()?;
                let shown =
                    if *json { print::list_json(&payment, &refundable) } else { print::list(&payment, &refundable) };
                super::print_line(&shown);
                return Ok(());
            }
            Self::Request { amount, to, reason, refund_id, json, .. } => {
                let refund = refund_id.unwrap_or_else(|| RefundId::from_uuid(Uuid::now_v7()));
                (refund, request(&payment, refund, amount, to, reason)?, json)
            }
            Self::Complete { refund, transaction, network_fee, json, .. } => {
                (*refund, complete(&payment, catalog, *refund, transaction, network_fee.as_deref())?, json)
            }
            Self::Cancel { refund, reason, json, .. } => {
                (*refund, PaymentCommand::CancelRefund { refund_id: *refund, reason: reason.clone(), at: now() }, json)
            }
        };
        let executed = administration.ledger.execute_payment(payment.id, command, &operator::metadata()).await;
        let state = executed.map_err(|error| refused(&payment, error))?.state;
        let shown = state.refunds.get(&refund).context("the refund is not in the ledger")?;
        super::print_line(&if *json {
            print::refund_json(&state, refund, shown).to_string()
        } else {
            print::refund(&state, refund, shown)
        });
        Ok(())
    }

    const fn payment(&self) -> PaymentId {
        match self {
            Self::Request { payment, .. }
            | Self::Complete { payment, .. }
            | Self::Cancel { payment, .. }
            | Self::List { payment, .. } => *payment,
        }
    }
}

fn now() -> wopay_domain::Timestamp {
    Utc::now().trunc_subsecs(6)
}

async fn load(administration: &Administration, id: PaymentId) -> anyhow::Result<PaymentState> {
    let payment = administration.ledger.payment(id).await.context("the payment cannot be read")?;
    Ok(payment.ok_or_else(|| anyhow!("there is no payment {id}"))?.0)
}

fn request(
    payment: &PaymentState,
    refund_id: RefundId,
    amount: &str,
    to: &str,
    reason: &str,
) -> anyhow::Result<PaymentCommand> {
    let asset = &payment.terms.asset;
    // Asked again for `all`, by the same id: what it was then, not what is left.
    let before = payment.refunds.get(&refund_id).map(|refund| refund.amount.clone());
    let amount = match amount {
        "all" => before.map_or_else(|| payment.refundable(), Ok)?,
        amount => asset.parse(amount).map_err(|error| anyhow!("--amount {error}"))?,
    };
    let to = text::address(text::family(payment)?, to).context("--to is refused")?;
    if to == payment.terms.address {
        bail!("--to is the address that the payment was paid to");
    }
    let request = RequestRefund { refund_id, amount, to, reason: reason.to_owned(), at: now() };
    Ok(PaymentCommand::RequestRefund(Box::new(request)))
}

fn complete(
    payment: &PaymentState,
    catalog: &ChainCatalog,
    refund_id: RefundId,
    transaction: &str,
    network_fee: Option<&str>,
) -> anyhow::Result<PaymentCommand> {
    let transaction = text::transaction(text::family(payment)?, transaction).context("--transaction is refused")?;
    let network_fee = network_fee.map(|fee| native(payment, catalog, fee)).transpose()?;
    let complete = CompleteRefund { refund_id, transaction, network_fee, at: now() };
    Ok(PaymentCommand::CompleteRefund(Box::new(complete)))
}

/// An amount in the native coin of the payment's chain, as the configuration describes it.
fn native(payment: &PaymentState, catalog: &ChainCatalog, amount: &str) -> anyhow::Result<Money> {
    let chain = &payment.terms.chain;
    let coin =
        catalog.get(chain.as_str()).and_then(|spec| spec.assets.iter().find(|asset| asset.id.contract().is_none()));
    let coin = coin.ok_or_else(|| anyhow!("--network-fee needs the chain {chain} in the configuration"))?;
    coin.parse(amount).map_err(|error| anyhow!("--network-fee {error}"))
}

/// Amounts as people write them, which the rules do not know how to.
fn refused(payment: &PaymentState, error: ExecuteError<PaymentError>) -> anyhow::Error {
    let asset = &payment.terms.asset;
    match error {
        ExecuteError::Domain(PaymentError::RefundTooLarge { requested, refundable }) => anyhow!(
            "{} {symbol} is more than the {} {symbol} that can be refunded",
            asset.format(requested.minor()),
            asset.format(refundable.minor()),
            symbol = asset.symbol,
        ),
        ExecuteError::Domain(error) => error.into(),
        error => anyhow::Error::new(error).context("nothing was recorded, as far as is known"),
    }
}
