//! `wopay audit what-if`: the same facts under another policy.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use rust_decimal::Decimal;
use wopay_audit::replay::{Moment, Signed};
use wopay_audit::what_if::{Difference, Kind, Options, Overrides, Report, what_if};
use wopay_domain::payment::LateDeposits;
use wopay_domain::{Asset, AssetId, ChainName, Percentage};

use super::ledger::ReadLedger;
use super::progress::LogBar;
use super::replay::{name, shown, table};
use crate::cli::print_line;
use crate::config::Loaded;

/// Longer than any payment waits.
const EXPIRES_IN_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each payment's facts are told back from its events and decided again by the same rules under the policy given; what is not
given stays as each payment froze it. Without any, everything must come out as recorded, and that is checked for every
payment.

What the events cannot tell is not guessed. When a deposit had another number of confirmations is only bounded, by the
heads that other recorded reports name: such a payment is decided with the earliest and with the latest moment, and counts
as uncertain if the two end or announce otherwise. Depth alone confirms; a chain's finality rule is not in the events. What
payers and merchants would have done differently nobody knows.")]
pub(in crate::cli) struct Args {
    /// Confirmations that a deposit on a chain needs, `bsc=3`; may be given for several chains.
    #[arg(long, value_name = "CHAIN=COUNT", value_parser = confirmations)]
    confirmations: Vec<(ChainName, u32)>,

    /// How much less than the amount is still enough, such as `1%`.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    tolerance: Option<Percentage>,

    /// What becomes of money after the deadline.
    #[arg(long, value_enum)]
    late: Option<Late>,

    /// A fee on what each payment confirmed, such as `0.5%`.
    #[arg(long, value_name = "PERCENT", value_parser = percentage)]
    fee: Option<Percentage>,

    /// How long after its creation a payment expires, such as `90s`, `30m`, `24h` or `7d`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    expires_in: Option<Duration>,

    /// Payments created from this position or recorded time on [default: the beginning].
    #[arg(long, value_name = "POSITION|TIME")]
    from: Option<Moment>,

    /// Payments created up to this position or recorded time; what happened to them later counts [default: now].
    #[arg(long, value_name = "POSITION|TIME")]
    to: Option<Moment>,

    /// How many payments that differ to list.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    list: usize,

    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// See [`LateDeposits`].
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Late {
    /// It counts, and the payment is flagged `paid_late`.
    Accept,
    /// It is held for a decision.
    Hold,
}

fn confirmations(text: &str) -> Result<(ChainName, u32), String> {
    let (chain, count) = text.split_once('=').ok_or("must be CHAIN=COUNT, such as bsc=3")?;
    let count: u32 = count.parse().map_err(|_| "the count must be a whole number".to_owned())?;
    if count == 0 {
        return Err("at least one confirmation is needed".to_owned());
    }
    Ok((chain.parse().map_err(|error: wopay_domain::chain::ChainNameError| error.to_string())?, count))
}

fn percentage(text: &str) -> Result<Percentage, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let decimal: Decimal = number.parse().map_err(|_| "must be a percentage such as 0.5%".to_owned())?;
    Percentage::try_from(decimal).map_err(|error| error.to_string())
}

fn duration(text: &str) -> Result<Duration, String> {
    let error = || "must be a number with s, m, h or d, such as 30m".to_owned();
    let unit = text.chars().last().ok_or_else(error)?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(error()),
    };
    let count: u64 = text.strip_suffix(unit).and_then(|count| count.parse().ok()).ok_or_else(error)?;
    let duration = Duration::from_secs(count.saturating_mul(seconds));
    if duration.is_zero() || duration > EXPIRES_IN_MAX {
        return Err("must be more than nothing and at most ten years".to_owned());
    }
    Ok(duration)
}

impl Args {
    fn options(&self) -> Options {
        let overrides = Overrides {
            confirmations: self.confirmations.iter().cloned().collect(),
            tolerance: self.tolerance,
            late: self.late.map(|late| match late {
                Late::Accept => LateDeposits::Accept,
                Late::Hold => LateDeposits::Hold,
            }),
            fee: self.fee,
            expires_in: self.expires_in,
        };
        Options { overrides, from: self.from, to: self.to, differences_max: self.list }
    }
}

/// Decides again and prints what would differ. Never `false`: nothing is right or wrong here, but for payments whose facts
/// did not give what is recorded.
///
/// # Errors
/// When the ledger cannot be read.
pub(super) async fn run(args: Args, loaded: Loaded) -> anyhow::Result<bool> {
    let read = ReadLedger::open(loaded).await?;
    let bar = LogBar::new();
    let report = what_if(&read.pool, &args.options(), |progress| bar.show(progress)).await;
    bar.finish();
    read.close().await;
    let report = report.context("the ledger cannot be replayed")?;
    if args.json {
        print_line(&serde_json::to_string_pretty(&report)?);
    } else {
        show(&report);
    }
    Ok(report.not_reproduced == 0)
}

fn show(report: &Report) {
    print_line(&format!(
        "{} payments created at positions {} to {}, with what happened to them up to position {} ({})",
        report.payments,
        report.from_position,
        report.to_position,
        report.as_of_position,
        report.as_of_time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    ));
    let counts: [(&str, u64); 7] = [
        ("come out as recorded (moments apart)", report.same),
        ("end as recorded, having announced other things", report.other_way),
        ("end otherwise", report.other_end),
        ("uncertain: the events do not tell", report.uncertain),
        ("not reproduced under their own policy, left out", report.not_reproduced),
        ("completed sooner", report.completed_sooner),
        ("completed later", report.completed_later),
    ];
    for (what, count) in counts {
        print_line(&format!("{count:>10} {what}"));
    }
    for example in &report.not_reproduced_examples {
        print_line(&format!("           {}: {}", example.payment_id, example.reason));
    }
    let assets: BTreeMap<&AssetId, &Asset> = report.assets.iter().map(|asset| (&asset.id, asset)).collect();
    show_transitions(report);
    show_announcements(report);
    show_money(report, &assets);
    show_fees(report, &assets);
    for difference in &report.differences {
        show_difference(difference);
    }
    print_line("");
    report.notes.iter().for_each(|note| print_line(&format!("Note: {note}")));
}

fn show_transitions(report: &Report) {
    if report.transitions.is_empty() {
        return;
    }
    let mut table = table(&["Recorded", "What if", "Payments"], 2);
    for line in &report.transitions {
        table.add_row([line.recorded.clone(), line.what_if.clone(), line.payments.to_string()]);
    }
    print_line(&format!("\n{table}"));
}

fn show_announcements(report: &Report) {
    if report.announcements.is_empty() {
        return;
    }
    let mut table = table(&["Announced", "Recorded", "What if"], 1);
    for line in &report.announcements {
        let what_if = range(&line.what_if.to_string(), &line.what_if_earliest.to_string());
        table.add_row([line.event.to_owned(), line.recorded.to_string(), what_if]);
    }
    print_line(&format!("\n{table}"));
}

fn show_money(report: &Report, assets: &BTreeMap<&AssetId, &Asset>) {
    if report.money.is_empty() {
        return;
    }
    let mut table = table(&["Posted", "Asset", "Recorded", "What if"], 2);
    for line in &report.money {
        let asset = assets.get(&line.asset).copied();
        let text = |minor: &str| as_decimal(minor, asset);
        table.add_row([
            line.account.to_owned(),
            name(&line.asset, asset),
            text(&line.recorded),
            range(&text(&line.what_if), &text(&line.what_if_earliest)),
        ]);
    }
    print_line(&format!("\n{table}"));
}

fn show_fees(report: &Report, assets: &BTreeMap<&AssetId, &Asset>) {
    if report.fees.is_empty() {
        return;
    }
    let mut table = table(&["Fee on", "Confirmed", "Fee", "Net"], 1);
    for line in &report.fees {
        let asset = assets.get(&line.asset).copied();
        let shown = |minor| shown(Signed { is_negative: false, minor }, asset);
        table.add_row([name(&line.asset, asset), shown(line.confirmed), shown(line.fee), shown(line.net)]);
    }
    print_line(&format!("\n{table}"));
}

fn show_difference(difference: &Difference) {
    let certainty = match difference.kind {
        Kind::Uncertain => " (uncertain)",
        Kind::OtherWay => " (on another way)",
        Kind::Same | Kind::OtherEnd => "",
    };
    let what_if = match &difference.what_if_earliest {
        Some(earliest) => range(&difference.what_if.in_words(), &earliest.in_words()),
        None => difference.what_if.in_words(),
    };
    print_line(&format!(
        "\nPayment {}, order {:?}: {} -> {what_if}{certainty}",
        difference.payment_id,
        difference.order_id,
        difference.recorded.in_words()
    ));
    print_line(&format!("  announced then: {}", announced(&difference.recorded.announced)));
    print_line(&format!("  what if:        {}", announced(&difference.what_if.announced)));
    if let Some(earliest) = &difference.what_if_earliest {
        print_line(&format!("  or:             {}", announced(&earliest.announced)));
    }
    for refused in &difference.refused {
        print_line(&format!("  would be refused: {refused}"));
    }
}

fn announced(events: &[&str]) -> String {
    if events.is_empty() { "nothing".to_owned() } else { events.join(", ") }
}

/// One value, or both ends of what the events allow.
fn range(latest: &str, earliest: &str) -> String {
    if latest == earliest { latest.to_owned() } else { format!("{latest} or {earliest}") }
}

fn as_decimal(minor: &str, asset: Option<&Asset>) -> String {
    let is_negative = minor.starts_with('-');
    match minor.trim_start_matches('-').parse() {
        Ok(minor) => shown(Signed { is_negative, minor }, asset),
        Err(_) => minor.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_read_as_people_write_them() {
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1_800)));
        assert!(duration("30").is_err() && duration("0s").is_err() && duration("99999999999999999999d").is_err());
        assert_eq!(percentage("0.5%"), percentage("0.5"));
        assert!(percentage("101%").is_err() && percentage("x").is_err());
        assert!(confirmations("bsc=3").is_ok_and(|(chain, count)| chain.as_str() == "bsc" && count == 3));
        assert!(confirmations("bsc=0").is_err() && confirmations("bsc").is_err());
    }
}
