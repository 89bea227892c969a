//! The table, the ratios beside their aims, and the same as JSON.

use std::path::Path;

use anyhow::Result;
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use serde::Serialize;

use crate::aim::{Aim, at_least, at_most, ratio};
use crate::chains::{self, Chains};
use crate::http::Served;
use crate::measure::Measurement;
use crate::past::Past;
use crate::server::EventBytes;
use crate::work::Done;

const MEMORY_AIM_MIB: f64 = 300.0;
/// Of verifying and rebuilding, however long the ledger is.
const PAST_MEMORY_AIM_MIB: f64 = 500.0;
const REPLAY_AIM_PER_S: f64 = 300_000.0;
const REPLAY_AIM_SHARE: f64 = 0.5;
const AS_OF_AIM_MS: f64 = 20.0;
const GROWTH_AIM: f64 = 1.2;

/// All that one run found.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    /// When it began (RFC 3339).
    pub(crate) started_at: String,
    /// Processors that everything shared.
    pub(crate) cores: usize,
    /// The part of the cores' time that other programs took during the run, in percent: above a few, run again.
    pub(crate) others_percent: Option<f64>,
    /// The server and its durability.
    pub(crate) postgres: String,
    /// The lines.
    pub(crate) measurements: Vec<Measurement>,
    /// Size of the events that (a), (b) and (c) wrote.
    pub(crate) bytes: Vec<(char, EventBytes)>,
    /// What (d) found besides.
    pub(crate) served: Option<Served>,
    /// Addresses a second that one core derives.
    pub(crate) derived_per_s: Option<f64>,
    /// What was found of a ledger with a long past.
    pub(crate) past: Option<Past>,
    /// What was found of watching chains.
    pub(crate) chains: Option<Chains>,
    /// What was reached of the aims.
    pub(crate) aims: Vec<Aim>,
}

impl Report {
    /// Compares what was measured with the aims; a part that was left out has none.
    pub(crate) fn judge(&mut self) {
        let at_64 = |one: &Measurement| one.concurrency == 64;
        let any = |_: &Measurement| true;
        let aims = [
            ratio("(c) at 64 / best (b) at 64", self.best('c', at_64), self.best('b', at_64), 8.0),
            ratio("best (c) / best (b)", self.best('c', any), self.best('b', any), 8.0),
            ratio("best (c) / best batched floor", self.best('c', any), self.best('a', |one| one.rows > 1), 0.5),
            ratio(
                "(d) / single-row floor at 64",
                self.best('d', any),
                self.best('a', |one| one.rows == 1 && at_64(one)),
                0.6,
            ),
            self.memory(),
        ];
        let of_chains = self.chains.iter().flat_map(Chains::aims);
        self.aims = aims.into_iter().flatten().chain(self.aims_of_the_past()).chain(of_chains).collect();
    }

    fn aims_of_the_past(&self) -> Vec<Aim> {
        let Some(past) = &self.past else { return Vec::new() };
        let mut aims = Vec::new();
        if let Some(replay) = &past.replay {
            let rate = replay.ours.rate_per_s();
            aims.push(at_least("(e) replay / faster COPY", rate / replay.floor_per_s(), REPLAY_AIM_SHARE));
            aims.push(at_least("(e) replayed events/s on one core", rate, REPLAY_AIM_PER_S));
        }
        let memory = |what: &str, done: &Done| {
            let peak = mebibytes(done.peak_kib?);
            Some(at_most(&format!("peak memory of {what}, MiB"), peak, PAST_MEMORY_AIM_MIB))
        };
        if let Some(audit) = &past.audit {
            // A payment of (c) is one event.
            let appended = self.best('c', |_| true);
            aims.extend(ratio("(f) sealing / best (c), events/s", Some(audit.seal.rate_per_s()), appended, 1.0));
            aims.extend(memory("(f) verifying", &audit.verify));
        }
        if let Some(asof) = &past.asof {
            aims.extend(memory("(g) rebuilding all read models", &asof.rebuild));
            let p99_ms = f64::from(asof.position.p99_us) / 1e3;
            aims.push(at_most("(g) balance as of a position, p99 ms", p99_ms, AS_OF_AIM_MS));
        }
        if let Some(growth) = &past.growth {
            let (large, small) = (growth.large_events, growth.small_events);
            let what = |of: &str| format!("(h) {of} of an append at {large} events / at {small}");
            aims.extend(growth.by_rate().map(|ratio| at_most(&what("time"), ratio, GROWTH_AIM)));
            aims.extend(growth.by_cpu().map(|ratio| at_most(&what("CPU time"), ratio, GROWTH_AIM)));
        }
        aims
    }

    fn memory(&self) -> Option<Aim> {
        let served = self.served.as_ref()?;
        let peak = mebibytes(served.memory_peak_kib?);
        Some(at_most("peak memory of `wopay serve`, MiB", peak, MEMORY_AIM_MIB))
    }

    /// The best rate of a group's lines that fit.
    fn best(&self, group: char, fits: impl Fn(&Measurement) -> bool) -> Option<f64> {
        let lines = self.measurements.iter().filter(|one| one.group == group && fits(one));
        lines.map(|one| one.rate_per_s).reduce(f64::max)
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        println!("\nPostgreSQL {}; {} cores, shared by everything", self.postgres, self.cores);
        if let Some(others) = self.others_percent {
            println!("Other programs took {others:.0} % of the cores during the run.");
        }
        if !self.measurements.is_empty() {
            println!("{}", self.lines());
            self.print_notes();
        }
        if let Some(past) = &self.past {
            print_past(past);
        }
        if let Some(found) = &self.chains {
            chains::print(found);
        }
        if !self.aims.is_empty() {
            println!("\n{}", self.judgement());
        }
    }

    fn lines(&self) -> Table {
        let mut table = table(&[
            "",
            "what",
            "at once",
            "payments/s",
            "p50 ms",
            "p99 ms",
            "process",
            "postgres",
            "nats",
            "generator",
            "WAL B",
        ]);
        for one in &self.measurements {
            table.add_row(vec![
                one.group.to_string(),
                one.name.clone(),
                one.concurrency.to_string(),
                format!("{:.0}", one.rate_per_s),
                text(one.latency.map(|latency| milliseconds(latency.p50_us))),
                text(one.latency.map(|latency| milliseconds(latency.p99_us))),
                text(one.cpu.process_us.map(whole)),
                text(one.cpu.postgres_us.map(whole)),
                text(one.cpu.nats_us.map(whole)),
                text(one.cpu.generator_us.map(whole)),
                text(one.wal_bytes.map(|bytes| bytes.to_string())),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        table
    }

    fn print_notes(&self) {
        println!(
            "process … generator: CPU time for each payment, user + system, in µs; latencies are of a batch where rows"
        );
        println!(
            "are sent in batches. A payment of (c) and (d) is an event and two claims; of (a) and (b) the event alone."
        );
        println!("Addresses of (c) and (d) were put into the pool ahead, by SQL: deriving is the signer's work.");
        if let Some(derived) = self.derived_per_s {
            println!("The signer derives {derived:.0} addresses/s on one core ({:.0} µs each).", 1e6 / derived);
        }
        for (group, bytes) in &self.bytes {
            println!(
                "({group}) wrote events of {} + {} bytes (payload + metadata), {} of them at the end.",
                bytes.payload, bytes.metadata, bytes.events
            );
        }
        let Some(served) = &self.served else { return };
        let memory = |kib: Option<u64>| text(kib.map(|kib| format!("{:.0}", mebibytes(kib))));
        println!(
            "(d) `wopay serve`, every role{}: {} MiB before the load, {} during it, {} at most.",
            if served.watches { " (watching a local chain)" } else { " but watchers (no anvil found)" },
            memory(served.memory_idle_kib),
            memory(served.memory_steady_kib),
            memory(served.memory_peak_kib)
        );
        println!(
            "(d) followers (read models, webhooks) were {} events behind when the load ended, none {:.1} s later.",
            served.followers_behind, served.followers_caught_up_s
        );
    }

    fn judgement(&self) -> Table {
        let mut table = table(&["aim", "reached", "wanted", ""]);
        for aim in &self.aims {
            let verdict = if aim.met { "yes" } else { "no" };
            table.add_row(vec![
                aim.what.clone(),
                format!("{:.2}", aim.reached),
                format!("{:.1}", aim.aim),
                verdict.to_owned(),
            ]);
        }
        table
    }

    /// Writes it for machines.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        if let Some(dir) = path.parent() {
            std::fs::create_dir_all(dir)?;
        }
        Ok(std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")?)
    }
}

fn print_past(past: &Past) {
    println!(
        "\nA ledger of {} events, {:.0} MiB with indexes",
        past.history.events,
        past.history.bytes as f64 / (1024.0 * 1024.0)
    );
    let header = ["", "what", "events", "each/s", "p50 ms", "p99 ms", "process", "postgres", "peak MiB", ""];
    let mut table = table(&header);
    for line in past.lines() {
        table.add_row(vec![
            line.group.to_string(),
            line.name,
            if line.count > 0 { line.count.to_string() } else { "-".to_owned() },
            format!("{:.0}", line.rate_per_s),
            text(line.latency.map(|latency| milliseconds(latency.p50_us))),
            text(line.latency.map(|latency| milliseconds(latency.p99_us))),
            text(line.process_us.map(|us| format!("{us:.2}"))),
            text(line.postgres_us.map(|us| format!("{us:.2}"))),
            text(line.peak_kib.map(|kib| whole(mebibytes(kib)))),
            line.note.unwrap_or_default(),
        ]);
    }
    for column in table.column_iter_mut().skip(2).take(7) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("process, postgres: CPU time for each, in µs; the process has one thread in (e).");
}

/// An empty table with this header.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled).set_header(header);
    table
}

/// A dash stands for what is not known.
pub(crate) fn text(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// Microseconds as milliseconds.
pub(crate) fn milliseconds(microseconds: u32) -> String {
    format!("{:.2}", f64::from(microseconds) / 1e3)
}

/// Without decimals.
pub(crate) fn whole(number: f64) -> String {
    format!("{number:.0}")
}

/// From kibibytes.
pub(crate) fn mebibytes(kib: u64) -> f64 {
    kib as f64 / 1024.0
}
