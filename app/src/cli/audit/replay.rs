//! `wopay audit replay`: what was at a moment, and how it came about; from the events, not from the read side.

use std::collections::BTreeMap;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use wopay_audit::replay::{BookedLine, History, LedgerReplay, Moment, Signed, Step, Subject, history, ledger};
use wopay_domain::{Asset, AssetId, ChainName, DepositId, DepositKey, MerchantId, PaymentId};

use super::ledger::ReadLedger;
use super::progress::LogBar;
use crate::cli::print_line;
use crate::config::Loaded;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Show this payment, event by event.
    #[arg(long, group = "subject")]
    payment: Option<PaymentId>,

    /// Show this merchant, event by event.
    #[arg(long, group = "subject")]
    merchant: Option<MerchantId>,

    /// Show this deposit that was no payment's, event by event: its id, or its name as in `wopay deposits list`.
    #[arg(long, group = "subject", value_name = "ID|DEPOSIT", value_parser = deposit)]
    deposit: Option<DepositId>,

    /// Show what was changed of this chain at run time, event by event.
    #[arg(long, group = "subject", value_name = "NAME")]
    chain: Option<ChainName>,

    /// As it was when this position, or everything up to this recorded time, was there [default: now].
    #[arg(long, value_name = "POSITION|TIME")]
    as_of: Option<Moment>,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

fn deposit(text: &str) -> Result<DepositId, String> {
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    let key: DepositKey = text.parse().map_err(|error| format!("neither an id nor a deposit: {error}"))?;
    Ok(DepositId::of(&key))
}

impl Args {
    fn subject(&self) -> Option<Subject> {
        let Self { payment, merchant, deposit, chain, .. } = self;
        let payment = payment.map(Subject::Payment).or(merchant.map(Subject::Merchant));
        payment.or(deposit.map(Subject::Deposit)).or(chain.clone().map(Subject::Chain))
    }
}

/// Replays and prints. `false`: the books of the ledger do not balance.
///
/// # Errors
/// When there is nothing such, or the ledger cannot be read.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let read = ReadLedger::open(loaded).await?;
    let done = match args.subject() {
        Some(subject) => {
            let history = history(&read.pool, &subject, args.as_of).await;
            history.context("it cannot be replayed").and_then(|history| show_history(&history, args.json))
        }
        None => {
            let bar = LogBar::new();
            let replayed = ledger(&read.pool, args.as_of, |progress| bar.show(progress)).await;
            bar.finish();
            replayed.context("the ledger cannot be replayed").and_then(|replay| show_ledger(&replay, args.json))
        }
    };
    read.close().await;
    done
}

fn show_history(history: &History, json: bool) -> anyhow::Result<bool> {
    if json {
        print_line(&serde_json::to_string_pretty(history)?);
        return Ok(true);
    }
    print_line(&format!(
        "{} {} as of position {}",
        history.aggregate_type, history.aggregate_id, history.as_of_position
    ));
    history.steps.iter().for_each(show_step);
    Ok(true)
}

fn show_step(step: &Step) {
    let time = |at: wopay_domain::Timestamp| at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    let cause = &step.cause;
    print_line(&format!(
        "\n{}. {} v{}   position {}   recorded {}   effective {}",
        step.sequence,
        step.event_type,
        step.event_version,
        step.position,
        time(step.recorded_at),
        time(step.effective_at)
    ));
    let line = |name: &str, text: Option<String>| {
        if let Some(text) = text.filter(|text| !text.is_empty()) {
            print_line(&format!("   {name:<9}{text}"));
        }
    };
    line("actor", Some(cause.actor.clone()));
    line("request", cause.request_id.clone());
    line("command", cause.command_id.clone());
    line("deposit", cause.deposit.as_ref().map(ToString::to_string));
    line("block", cause.block.as_ref().map(|block| format!("{} {} at {}", block.number, block.hash, time(block.time))));
    line("caused by", cause.transaction.clone().map(|transaction| format!(" {transaction}")));
    line("rule", Some(step.rule.clone()));
    for BookedLine { account, layer, side, asset, amount_minor } in &step.booked {
        line("booked", Some(format!("{layer:<8}{side:<7}{account}  {amount_minor} minor units of {asset}")));
    }
    line(
        "then",
        step.standing.as_ref().map(|standing| {
            let flags = standing.flags.join(" ");
            let (received, confirmed) = (&standing.amount_received, &standing.amount_confirmed);
            let status = [standing.status, &flags].join(" ");
            format!("{}, {received} received, {confirmed} confirmed (minor units)", status.trim_end())
        }),
    );
}

fn show_ledger(replay: &LedgerReplay, json: bool) -> anyhow::Result<bool> {
    if json {
        print_line(&serde_json::to_string_pretty(replay)?);
        return Ok(replay.is_balanced);
    }
    print_line(&format!(
        "The ledger as of position {} ({}), from {} events",
        replay.as_of_position,
        replay.as_of_time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
        replay.events
    ));
    print_line(&format!("\n{} merchants; payments: {}", replay.merchants, counts(&replay.payments_by_status)));
    if !replay.deposits_by_state.is_empty() {
        print_line(&format!("Deposits that were no payment's: {}", counts(&replay.deposits_by_state)));
    }
    print_line(&format!("Events: {}", counts(&replay.events_by_type)));
    let assets: BTreeMap<&AssetId, &Asset> = replay.assets.iter().map(|asset| (&asset.id, asset)).collect();
    if !replay.balances.is_empty() {
        print_line(&format!("\nBalances\n{}", balances(replay, &assets)));
        print_line(&format!(
            "\nTrial balance: all that was ever booked, in `pending` also what was released since\n{}",
            trial_balance(replay, &assets)
        ));
    }
    if replay.is_balanced {
        print_line("\nDebits equal credits, in every entry and over all accounts.");
    } else {
        print_line(&format!("\nTHE BOOKS DO NOT BALANCE. Entries at positions: {:?}", replay.unbalanced_positions));
    }
    Ok(replay.is_balanced)
}

fn counts<K: std::fmt::Display>(counts: &BTreeMap<K, u64>) -> String {
    if counts.is_empty() {
        return "none".to_owned();
    }
    counts.iter().map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
}

fn balances(replay: &LedgerReplay, assets: &BTreeMap<&AssetId, &Asset>) -> Table {
    let mut table = table(&["Account", "Asset", "Posted", "Pending"], 2);
    for line in &replay.balances {
        let shown = |signed: Signed| shown(signed, assets.get(&line.asset).copied());
        table.add_row([
            line.account.to_string(),
            name(&line.asset, assets.get(&line.asset).copied()),
            shown(line.posted),
            shown(line.pending),
        ]);
    }
    table
}

fn trial_balance(replay: &LedgerReplay, assets: &BTreeMap<&AssetId, &Asset>) -> Table {
    let mut table = table(&["Asset", "Layer", "Debit", "Credit"], 2);
    for line in &replay.trial_balance {
        let asset = assets.get(&line.asset).copied();
        let shown = |minor| shown(Signed { is_negative: false, minor }, asset);
        table.add_row([name(&line.asset, asset), line.layer.to_owned(), shown(line.debit), shown(line.credit)]);
    }
    table
}

/// A table whose columns from `numbers` on hold numbers.
pub(super) fn table(header: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Symbol and id; a symbol alone says little.
pub(super) fn name(id: &AssetId, asset: Option<&Asset>) -> String {
    asset.map_or_else(|| id.to_string(), |asset| format!("{} ({id})", asset.symbol))
}

/// As a decimal number; in minor units when no payment named the asset's decimals.
pub(super) fn shown(signed: Signed, asset: Option<&Asset>) -> String {
    asset.map_or_else(|| format!("{signed} minor units"), |asset| signed.format(asset))
}
