//! The figures as tables.

use comfy_table::CellAlignment;

use super::Chains;
use super::backfill::Backfill;
use super::calls::Calls;
use super::head::Head;
use super::matching::Matched;
use crate::report::{mebibytes, milliseconds, table, text, whole};

/// Prints what was found.
pub(crate) fn print(chains: &Chains) {
    if !chains.matched.is_empty() {
        print_matched(&chains.matched);
    }
    if let Some(backfill) = &chains.backfill {
        print_backfill(backfill);
    }
    if let Some(head) = &chains.head {
        print_head(head);
    }
    let at_head = chains.head.iter().map(|head| &head.calls);
    for calls in at_head.chain(&chains.calls) {
        print_calls(calls);
    }
    if let Some(detected) = &chains.detected {
        println!(
            "\n(m) From a block to `DepositDetected` in the ledger, over {} deposits: p50 {} ms, p99 {} ms, at most {:.0} ms.",
            detected.deposits,
            milliseconds(detected.latency.p50_us),
            milliseconds(detected.latency.p99_us),
            detected.longest_ms
        );
    }
}

fn print_matched(matched: &[Matched]) {
    println!("\n(i) A block with the watcher, its transaction included");
    let header = ["addresses", "transfers", "ours", "p50 ms", "p99 ms", "process", "postgres"];
    let mut table = table(&header);
    for of_size in matched {
        for steps in &of_size.steps {
            table.add_row(vec![
                of_size.addresses.to_string(),
                steps.transfers.to_string(),
                steps.ours.to_string(),
                milliseconds(steps.latency.p50_us),
                milliseconds(steps.latency.p99_us),
                text(steps.process_us.map(whole)),
                text(steps.postgres_us.map(whole)),
            ]);
        }
        table.add_row(vec![
            of_size.addresses.to_string(),
            "1000".to_owned(),
            "1".to_owned(),
            format!("{:.2}", of_size.catching_up_ms),
            "64 in one transaction".to_owned(),
        ]);
    }
    for column in table.column_iter_mut() {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    println!("process, postgres: CPU time for each block, in µs.");
}

fn print_backfill(backfill: &Backfill) {
    println!(
        "\n(j) {} blocks with {} transfers, {} of them ours; both found the same.",
        backfill.blocks, backfill.transfers, backfill.deposits
    );
    let header = ["", "blocks/s", "s", "s CPU", "s CPU of Postgres", "peak MiB"];
    let mut table = table(&header);
    let seconds = |seconds: Option<f64>| text(seconds.map(|seconds| format!("{seconds:.1}")));
    let memory = |kib: Option<u64>| text(kib.map(|kib| whole(mebibytes(kib))));
    table.add_row(vec![
        "wopay serve --roles watchers, with its start".to_owned(),
        whole(backfill.rate_per_s()),
        seconds(Some(backfill.seconds)),
        seconds(backfill.cpu_seconds),
        seconds(backfill.postgres_seconds),
        memory(backfill.peak_kib),
    ]);
    if let (Some(ponder), Some(rate)) = (&backfill.ponder, backfill.ponder_rate_per_s()) {
        table.add_row(vec![
            format!("Ponder {}, without its start ({:.1} s with it)", ponder.version, ponder.seconds_with_start),
            whole(rate),
            seconds(Some(ponder.seconds)),
            seconds(ponder.cpu_seconds),
            seconds(ponder.postgres_seconds),
            memory(ponder.peak_kib),
        ]);
    }
    println!("{table}");
}

fn print_head(head: &Head) {
    println!(
        "\n(k) {} blocks of 500 transfers in {:.0} s: {} % of a core, Postgres {} %; {} MiB, {} at most; {} blocks behind at the end.",
        head.blocks,
        head.seconds,
        text(head.cpu_percent.map(|percent| format!("{percent:.1}"))),
        text(head.postgres_percent.map(|percent| format!("{percent:.1}"))),
        text(head.memory_kib.map(|kib| whole(mebibytes(kib)))),
        text(head.memory_peak_kib.map(|kib| whole(mebibytes(kib)))),
        text(head.lag_blocks.map(whole)),
    );
}

fn print_calls(calls: &Calls) {
    println!(
        "(l) {}: {:.1} calls a block over {:.0} blocks in {:.0} s ({}).",
        calls.chain,
        calls.per_block(),
        calls.blocks,
        calls.seconds,
        calls.by_method()
    );
}
