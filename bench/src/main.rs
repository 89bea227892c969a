//! `make bench`: what a payment costs, beside what Postgres itself can do and beside plain cqrs-es, in one run on one
//! durable Postgres. `bench/README.md` says what each figure includes.

mod aim;
mod chain;
mod chains;
mod cpu;
mod floor;
mod gateway;
mod generator;
mod history;
mod http;
mod latency;
mod measure;
mod ours;
mod past;
mod plain;
mod report;
mod sample;
mod server;
mod work;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use chrono::{SecondsFormat, Utc};
use clap::Parser;
use wopay_commands::LedgerOptions;
use wopay_private_services::{BinarySearch, SyncInterval};

use gateway::Place;
use generator::Generator;
use measure::difference;
use report::Report;
use server::Server;

/// As in the gateway, so that what is measured in this process is what runs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures what a payment costs.
#[derive(Debug, Parser)]
#[command(subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Seconds of each measurement; the HTTP load lasts three times as long.
    #[arg(long, default_value_t = 6)]
    seconds: u64,

    /// Which parts to run.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "floor,plain,commands,http,replay,audit,asof,growth,match,backfill,head,calls,detect"
    )]
    only: Vec<Part>,

    /// Events of the ledger that `replay`, `audit`, `asof` and `growth` are measured on.
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,

    /// Blocks that `backfill` catches up with; the chain of 20,000 takes minutes to make.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..))]
    blocks: u64,

    /// Folder that the npm package `ponder` and our project for it are in; without it that peer is left out.
    #[arg(long)]
    ponder: Option<PathBuf>,

    /// Folder that the Python package `eventsourcing` is installed in; without it that peer is left out.
    #[arg(long)]
    eventsourcing: Option<PathBuf>,

    /// The gateway's binary, release build.
    #[arg(long, default_value = "target/release/wopay")]
    wopay: PathBuf,

    /// `wrk`.
    #[arg(long, conflicts_with = "autocannon", required_unless_present = "autocannon")]
    wrk: Option<PathBuf>,

    /// `autocannon.js` of the npm package, where there is no wrk.
    #[arg(long)]
    autocannon: Option<PathBuf>,

    /// A durable Postgres to use, as an administrator; databases `bench_…` are made and dropped there. Without it one is
    /// started.
    #[arg(long, env = "WOPAY_BENCH_DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,

    /// Connections that append in (c), instead of the default.
    #[arg(long)]
    lanes: Option<usize>,

    /// The most commands in one append in (c), instead of the default.
    #[arg(long)]
    group_max: Option<usize>,

    /// How often nats-server forces its files to the disk: `always`, as with `wopay serve`, or every so many seconds.
    #[arg(long, default_value = "always", value_parser = sync_interval)]
    nats_sync: SyncInterval,

    /// Folder for the server's data, logs and keys, on the disk to be measured; emptied before and after.
    #[arg(long, default_value = ".wopay/bench")]
    scratch: PathBuf,

    /// Where to write the figures as JSON.
    #[arg(long, default_value = "bench/out/latest.json")]
    json: PathBuf,
}

/// A part of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    Floor,
    Plain,
    Commands,
    Http,
    Replay,
    Audit,
    Asof,
    Growth,
    Match,
    Backfill,
    Head,
    Calls,
    Detect,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Used by the bench itself: a piece of work in a process of its own.
    #[command(hide = true)]
    Work(work::WorkArgs),
}

fn main() -> Result<()> {
    let args = Args::parse();
    match &args.command {
        Some(Command::Work(work)) => work::main(work),
        None => tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(bench(&args)),
    }
}

async fn bench(args: &Args) -> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    empty(&args.scratch)?;
    let scratch = std::fs::canonicalize(&args.scratch)?;
    let server = Server::start(args.database_url.clone(), &scratch.join("postgres"), search()).await?;
    let report = run(args, &server, &scratch).await;
    server.stop().await?;
    let report = report?;
    report.print();
    report.write(&args.json)?;
    println!("\nthe same as JSON: {}", args.json.display());
    empty(&args.scratch)
}

async fn run(args: &Args, server: &Server, scratch: &Path) -> Result<Report> {
    let duration = Duration::from_secs(args.seconds.max(1));
    let (started, others) = (Instant::now(), server.cpu_of_others());
    let mut report = Report {
        started_at: Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true),
        cores: std::thread::available_parallelism()?.get(),
        others_percent: None,
        postgres: server.describe().await?,
        measurements: Vec::new(),
        bytes: Vec::new(),
        served: None,
        derived_per_s: None,
        past: None,
        chains: None,
        aims: Vec::new(),
    };
    if args.only.contains(&Part::Floor) {
        println!("== bench: (a) the floor, pgbench");
        let pgbench = floor::find_pgbench(&tools())?;
        let (lines, bytes) = floor::measure(server, &pgbench, &scratch.join("pgbench"), duration).await?;
        report.measurements.extend(lines);
        report.bytes.push(('a', bytes));
    }
    if args.only.contains(&Part::Plain) {
        println!("== bench: (b) plain cqrs-es");
        let (lines, bytes) = plain::measure(server, duration).await?;
        report.measurements.extend(lines);
        report.bytes.push(('b', bytes));
    }
    if args.only.contains(&Part::Commands) {
        println!("== bench: (c) the command path");
        let (lines, bytes, derived) = ours::measure(server, ledger_options(args), duration).await?;
        report.measurements.extend(lines);
        report.bytes.push(('c', bytes));
        report.derived_per_s = Some(derived);
    }
    if args.only.contains(&Part::Http) {
        println!("== bench: (d) the gateway over HTTP");
        let generator = generator(args)?;
        let scratch = scratch.join("gateway");
        let place = Place { wopay: &args.wopay, scratch: &scratch, search: search(), nats_sync: args.nats_sync };
        let (line, served) = http::measure(server, place, &generator, duration).await?;
        report.measurements.push(line);
        report.bytes.push(('d', served.bytes));
        report.served = Some(served);
    }
    let plan = past::Plan {
        parts: &args.only,
        events: args.events,
        scratch: &scratch.join("past"),
        eventsourcing: args.eventsourcing.clone(),
        options: ledger_options(args),
        duration,
    };
    report.past = past::measure(server, &plan).await?;
    let plan = chains::Plan {
        parts: &args.only,
        blocks: args.blocks,
        ponder: args.ponder.as_deref(),
        wopay: &args.wopay,
        search: search(),
        nats_sync: args.nats_sync,
        scratch: &scratch.join("chains"),
    };
    report.chains = chains::measure(server, &plan).await?;
    let others = difference(others, server.cpu_of_others()).map(|others| others.as_secs_f64());
    let capacity = started.elapsed().as_secs_f64() * report.cores as f64;
    report.others_percent = others.map(|others| 100.0 * others / capacity);
    report.judge();
    Ok(report)
}

fn ledger_options(args: &Args) -> LedgerOptions {
    let mut options = LedgerOptions::default();
    options.committer.lanes = args.lanes.unwrap_or(options.committer.lanes);
    options.committer.group_commands_max = args.group_max.unwrap_or(options.committer.group_commands_max);
    options
}

fn generator(args: &Args) -> Result<Generator> {
    let wrk = args.wrk.clone().map(Generator::Wrk);
    wrk.or_else(|| args.autocannon.clone().map(Generator::Autocannon)).context("no load generator")
}

fn sync_interval(text: &str) -> Result<SyncInterval, std::num::ParseIntError> {
    match text {
        "always" => Ok(SyncInterval::Always),
        seconds => Ok(SyncInterval::Every(Duration::from_secs(seconds.parse()?))),
    }
}

fn empty(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot empty {}", dir.display()))
        }
        _ => Ok(std::fs::create_dir_all(dir)?),
    }
}

/// A path inside this folder.
fn in_bench(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A path inside the repository.
fn in_repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the repository").join(path)
}

/// Where `make tools` puts servers.
fn tools() -> PathBuf {
    in_repository(".wopay/tools/py")
}

fn search() -> BinarySearch {
    BinarySearch { path: std::env::var_os("PATH"), extra_dirs: vec![tools()] }
}
