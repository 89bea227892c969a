//! `wopay deposits …`: money that counts for no payment. An operator sees it, gives it to a payment, or records that it was
//! sent back; WoPay moves nothing itself.

use anyhow::{Context as _, anyhow, bail};
use chrono::{SecondsFormat, SubsecRound as _, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::{Value, json};
use wopay_chain_watchers::{OutboxSignal, SightingKind, find_sighting, take_up};
use wopay_domain::deposit::{AssignUnmatched, RefundUnmatched, is_decision_text};
use wopay_domain::payment::{AssignDeposit, PaymentCommand, PaymentState, ReassignDeposit, RefundHeldDeposit};
use wopay_domain::{AssetId, ChainCatalog, ChainFamily, DepositId, DepositKey, Money, PaymentId};
use wopay_projections::MinorTotal;
use wopay_projections::deposits::{self, DepositFilter, DepositState, DustSum, OddDeposit};
use wopay_projections::journal::AssetInfo;

use super::operator;
use super::refund::text::transaction as canonical_transaction;
use crate::config::Loaded;
use crate::context::Administration;

/// Rows asked for at a time.
const PAGE: u16 = 1_000;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show money that counts for no payment, newest first, and the sums of what is in no book (dust, unknown tokens).
    List {
        /// Only what is held at a payment: late, after a cancellation, of another asset.
        #[arg(long, conflicts_with_all = ["unmatched", "dust", "state"])]
        held: bool,
        /// Only what is at an address that no payment claims.
        #[arg(long, conflicts_with_all = ["dust", "state"])]
        unmatched: bool,
        /// Only what is too small to count, and tokens that are not configured.
        #[arg(long, conflicts_with = "state")]
        dust: bool,
        /// Only this state: held, unmatched, dust, unknown_token, assigning, assigned, refunded or orphaned.
        #[arg(long)]
        state: Option<String>,
        /// The most rows to show.
        #[arg(long, default_value = "100", value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Give a deposit to a payment, which counts it from then on: a held one to its own payment or to another of the same
    /// merchant that asks for its asset, others to any.
    Assign {
        /// The deposit, as `wopay deposits list` names it.
        deposit: DepositKey,
        /// The payment.
        payment: PaymentId,
        /// Why. It stays in the ledger for ever: no personal data.
        #[arg(long)]
        reason: String,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Record that a deposit was sent back, in a transaction made elsewhere. It is not checked on the chain.
    Refund {
        /// The deposit, as `wopay deposits list` names it.
        deposit: DepositKey,
        /// The hash or signature of the transaction that sent it back.
        #[arg(long, value_name = "HASH")]
        transaction: String,
        /// Why. It stays in the ledger for ever: no personal data.
        #[arg(long)]
        reason: String,
        /// What the network took for it from an address of this installation, in the chain's native coin.
        #[arg(long, value_name = "AMOUNT")]
        network_fee: Option<String>,
        /// Print as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let configured = loaded.catalog.clone();
        let administration = Administration::open(loaded).await?;
        // Tokens that were added at run time are known, too.
        let done = match administration.ledger.catalog(&configured).await {
            Ok(catalog) => self.execute(&administration, &catalog).await,
            Err(error) => Err(error.into()),
        };
        administration.close().await;
        done
    }

    async fn execute(&self, administration: &Administration, catalog: &ChainCatalog) -> anyhow::Result<()> {
        let shown = match self {
            Self::List { held, unmatched, dust, state, limit, json } => {
                let states = states(*held, *unmatched, *dust, state.as_deref())?;
                list(administration, states, *limit, *json).await?
            }
            Self::Assign { deposit, payment, reason, json } => {
                let state = assign(administration, catalog, deposit, *payment, reason).await?;
                assigned(deposit, &state, *json)
            }
            Self::Refund { deposit, transaction, reason, network_fee, json } => {
                let transaction = canonical_transaction(family(catalog, deposit)?, transaction);
                let refund = Refund {
                    transaction: transaction.context("--transaction is refused")?,
                    network_fee: network_fee.as_deref().map(|fee| native(catalog, deposit, fee)).transpose()?,
                    reason,
                };
                refund_deposit(administration, catalog, deposit, &refund).await?;
                refunded(deposit, &refund.transaction, *json)
            }
        };
        super::print_line(&shown);
        Ok(())
    }
}

fn states(held: bool, unmatched: bool, dust: bool, state: Option<&str>) -> anyhow::Result<Vec<DepositState>> {
    if let Some(name) = state {
        let names = DepositState::ALL.map(DepositState::as_str).join(", ");
        return Ok(vec![DepositState::parse(name).ok_or_else(|| anyhow!("--state is one of {names}, got {name:?}"))?]);
    }
    Ok(match (held, unmatched, dust) {
        (true, _, _) => vec![DepositState::Held],
        (_, true, _) => vec![DepositState::Unmatched],
        (_, _, true) => vec![DepositState::Dust, DepositState::UnknownToken],
        // What is in no book is summed below; its rows would hide those that wait for a decision.
        (false, false, false) => {
            let in_no_book = [DepositState::Dust, DepositState::UnknownToken];
            DepositState::ALL.into_iter().filter(|state| !in_no_book.contains(state)).collect()
        }
    })
}

/// The payment after it has the money.
async fn assign(
    administration: &Administration,
    catalog: &ChainCatalog,
    deposit: &DepositKey,
    payment: PaymentId,
    reason: &str,
) -> anyhow::Result<PaymentState> {
    let ledger = &administration.ledger;
    let at = Utc::now().trunc_subsecs(6);
    let found = ledger.payment(payment).await.context("the payment cannot be read")?;
    let (state, _) = found.ok_or_else(|| anyhow!("there is no payment {payment}"))?;
    if state.deposits.contains_key(deposit) && unmatched(administration, deposit).await?.is_none() {
        let assign = AssignDeposit { deposit: deposit.clone(), unmatched: None, reason: reason.to_owned(), at };
        let command = PaymentCommand::AssignDeposit(Box::new(assign));
        return Ok(ledger.execute_payment(payment, command, &operator::metadata()).await?.state);
    }
    let decision = Decision { asset: Some(&state.terms.asset.id), what: "assigned", reason };
    if let Some(holder) = becomes_unmatched(administration, catalog, deposit, &decision).await? {
        let (deposit, reason) = (deposit.clone(), reason.to_owned());
        let assign = ReassignDeposit { deposit, to_payment_id: payment, reason, at };
        let reassigned = ledger.reassign_deposit(holder, assign, &operator::metadata()).await;
        return Ok(reassigned.with_context(|| format!("the deposit is held by payment {holder}"))?.state);
    }
    let assign = AssignUnmatched { payment_id: payment, reason: reason.to_owned(), at };
    Ok(ledger.assign_unmatched(DepositId::of(deposit), assign, &operator::metadata()).await?.state)
}

/// What an operator says of a transfer that was made elsewhere.
struct Refund<'a> {
    transaction: String,
    network_fee: Option<Money>,
    reason: &'a str,
}

async fn refund_deposit(
    administration: &Administration,
    catalog: &ChainCatalog,
    deposit: &DepositKey,
    refund: &Refund<'_>,
) -> anyhow::Result<()> {
    let ledger = &administration.ledger;
    let at = Utc::now().trunc_subsecs(6);
    let (transaction, network_fee, reason) =
        (refund.transaction.clone(), refund.network_fee.clone(), refund.reason.to_owned());
    let decision = Decision { asset: None, what: "refunded", reason: &reason };
    match becomes_unmatched(administration, catalog, deposit, &decision).await? {
        None => {
            let refund = RefundUnmatched { transaction, network_fee, reason, at };
            ledger.refund_unmatched(DepositId::of(deposit), refund, &operator::metadata()).await?;
        }
        Some(holder) => {
            let refund = RefundHeldDeposit { deposit: deposit.clone(), transaction, network_fee, reason, at };
            let command = PaymentCommand::RefundHeldDeposit(Box::new(refund));
            ledger.execute_payment(holder, command, &operator::metadata()).await?;
        }
    }
    Ok(())
}

/// What is about to be decided.
struct Decision<'a> {
    /// The asset that it must be.
    asset: Option<&'a AssetId>,
    what: &'static str,
    reason: &'a str,
}

/// Sees to it that the ledger knows the deposit as nobody's, taking it up if it was dust. Otherwise the payment that has it.
async fn becomes_unmatched(
    administration: &Administration,
    catalog: &ChainCatalog,
    deposit: &DepositKey,
    decision: &Decision<'_>,
) -> anyhow::Result<Option<PaymentId>> {
    if unmatched(administration, deposit).await?.is_some() {
        return Ok(None);
    }
    let sighting = find_sighting(&administration.pool, deposit).await?;
    let sighting = sighting.ok_or_else(|| anyhow!("no watcher has seen the deposit {deposit}"))?;
    if !sighting.is_confirmed {
        bail!("the deposit is not confirmed: there is nothing to decide about yet");
    }
    if sighting.kind == SightingKind::Money {
        return match sighting.payment_id {
            Some(payment) => Ok(Some(payment)),
            None => bail!("the deposit is on its way to the ledger: try again in a moment"),
        };
    }
    if catalog.get(deposit.chain.as_str()).and_then(|chain| chain.asset(&sighting.asset)).is_none() {
        bail!("{} is not configured: without its decimals it cannot be {}", sighting.asset, decision.what);
    }
    if decision.asset.is_some_and(|asset| asset != &sighting.asset) {
        bail!("the deposit is of {}, the payment asks for another asset", sighting.asset);
    }
    // It cannot be taken back to where it was.
    if !is_decision_text(decision.reason) {
        bail!("the reason must have 1 to 500 bytes, and no control characters");
    }
    // A running outbox finds the report by itself; it is said here at once.
    let told = take_up(&administration.pool, deposit, &OutboxSignal::default()).await?;
    administration.ledger.observe_unmatched(&told.address, &told.report, &operator::metadata()).await?;
    Ok(None)
}

async fn unmatched(
    administration: &Administration,
    deposit: &DepositKey,
) -> anyhow::Result<Option<wopay_domain::deposit::UnmatchedDepositState>> {
    let found = administration.ledger.unmatched_deposit(DepositId::of(deposit)).await;
    found.context("the deposit cannot be read")
}

fn family(catalog: &ChainCatalog, deposit: &DepositKey) -> anyhow::Result<ChainFamily> {
    let chain = catalog.get(deposit.chain.as_str());
    Ok(chain.ok_or_else(|| anyhow!("the chain {} is not configured", deposit.chain))?.family)
}

fn native(catalog: &ChainCatalog, deposit: &DepositKey, amount: &str) -> anyhow::Result<Money> {
    let chain = catalog.get(deposit.chain.as_str());
    let coin = chain.and_then(|chain| chain.asset(&AssetId::native(&deposit.chain)));
    let coin = coin.ok_or_else(|| anyhow!("--network-fee needs the chain {} in the configuration", deposit.chain))?;
    coin.parse(amount).map_err(|error| anyhow!("--network-fee {error}"))
}

async fn list(
    administration: &Administration,
    states: Vec<DepositState>,
    limit: u32,
    json: bool,
) -> anyhow::Result<String> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let pool = &administration.pool;
    let filter = DepositFilter { states, ..DepositFilter::default() };
    let (mut shown, mut after) = (Vec::new(), None);
    loop {
        let page = deposits::list(pool, &filter, after.as_ref(), PAGE).await.context("the list cannot be read")?;
        shown.extend(page.items);
        match page.next {
            Some(next) if shown.len() <= limit => after = Some(next),
            _ => break,
        }
    }
    let has_more = shown.len() > limit;
    shown.truncate(limit);
    let sums = deposits::dust(pool).await.context("the sums cannot be read")?;
    Ok(if json {
        list_json(&shown, has_more, &sums.value, sums.as_of_position)
    } else {
        list_table(&shown, has_more, &sums.value)
    })
}

fn amount(asset: &AssetId, symbol: Option<&str>, decimals: Option<u8>, minor: MinorTotal) -> String {
    let info = AssetInfo { id: asset.clone(), symbol: symbol.map(str::to_owned), decimals };
    match (info.format(minor), symbol) {
        (Some(amount), Some(symbol)) => format!("{amount} {symbol}"),
        _ => format!("{minor} minor units of {asset}"),
    }
}

fn list_table(shown: &[OddDeposit], has_more: bool, sums: &[DustSum]) -> String {
    let mut text = if shown.is_empty() {
        "There is none.".to_owned()
    } else {
        let mut table = Table::new();
        table.load_preset(NOTHING).set_header([
            "DEPOSIT",
            "STATE",
            "AMOUNT",
            "BLOCK TIME",
            "PAYMENT",
            "ADDRESS",
            "WHY",
        ]);
        for it in shown {
            let why = it.decision_reason.as_deref().or(it.hold_reason.as_deref()).unwrap_or("-");
            let state = it.state.as_str();
            let state = match (it.state, it.decision) {
                (DepositState::Orphaned, Some(decision)) => format!("{state} (was {})", decision.as_str()),
                (DepositState::Orphaned, None) => state.to_owned(),
                _ if it.is_confirmed => state.to_owned(),
                _ => format!("{state} (unconfirmed)"),
            };
            table.add_row([
                it.deposit.clone(),
                state,
                amount(&it.asset, it.symbol.as_deref(), it.decimals, it.amount),
                it.block_time.to_rfc3339_opts(SecondsFormat::Secs, true),
                payment(it),
                wopay_api::display_address(&it.to_address),
                why.to_owned(),
            ]);
        }
        table.trim_fmt()
    };
    if has_more {
        text.push_str(&format!("\n… and more: --limit {}", shown.len().saturating_mul(10)));
    }
    for sum in sums {
        let total = amount(&sum.asset, sum.symbol.as_deref(), sum.decimals, sum.amount);
        text.push_str(&format!("\nIn no book: {} {} deposits, {total}", sum.count, sum.state.as_str()));
    }
    text
}

/// The payment that has it, and the one that is to have it.
fn payment(deposit: &OddDeposit) -> String {
    match (deposit.payment_id, deposit.assigned_to) {
        (None, _) => "-".to_owned(),
        (Some(payment), None) => payment.to_string(),
        (Some(holder), Some(receiver)) => format!("{holder}, to be {receiver}'s"),
    }
}

fn list_json(shown: &[OddDeposit], has_more: bool, sums: &[DustSum], as_of_position: i64) -> String {
    let deposits: Vec<Value> = shown
        .iter()
        .map(|it| {
            json!({
                "deposit": it.deposit,
                "state": it.state.as_str(),
                "hold_reason": it.hold_reason,
                "is_confirmed": it.is_confirmed,
                "payment_id": it.payment_id,
                "asset": it.asset,
                "currency": it.symbol,
                "decimals": it.decimals,
                "amount_minor": it.amount.to_string(),
                "from_address": it.from_address,
                "to_address": it.to_address,
                "block_number": it.block_number,
                "block_time": it.block_time,
                "decision": it.decision.map(deposits::Decision::as_str),
                "decision_reason": it.decision_reason,
                "decision_transaction": it.decision_transaction,
                "decided_at": it.decided_at,
                "assigned_to": it.assigned_to,
            })
        })
        .collect();
    let sums: Vec<Value> = sums
        .iter()
        .map(|it| {
            json!({
                "state": it.state.as_str(),
                "asset": it.asset,
                "currency": it.symbol,
                "decimals": it.decimals,
                "count": it.count,
                "amount_minor": it.amount.to_string(),
            })
        })
        .collect();
    json!({ "deposits": deposits, "has_more": has_more, "in_no_book": sums, "as_of_position": as_of_position })
        .to_string()
}

fn assigned(deposit: &DepositKey, payment: &PaymentState, json: bool) -> String {
    let flags = payment.flags.names();
    if json {
        return json!({
            "deposit": deposit,
            "payment_id": payment.id,
            "payment_status": payment.status.as_str(),
            "payment_flags": flags,
        })
        .to_string();
    }
    format!("{deposit}\ncounts for payment {}, which is {} now.", payment.id, payment.status.as_str())
}

fn refunded(deposit: &DepositKey, transaction: &str, json: bool) -> String {
    if json {
        return json!({ "deposit": deposit, "transaction_hash": transaction, "verified": false }).to_string();
    }
    format!("{deposit}\nis recorded as sent back by {transaction}. It was not checked on the chain.")
}
