//! Work that is measured in a process of its own, so that its CPU time and its largest memory are its own: this program
//! starts itself with the work's name and reads one line of JSON.

mod books;
mod peer;
mod readers;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;
use tokio::process::Command;
use wopay_audit::{AuditKey, Sealer, SealerOptions, VerifyOptions};
use wopay_eventbus::AppendSignal;
use wopay_projections::rebuild;
use wopay_vault::{MasterKey, Vault, purpose};

use crate::cpu;
use crate::measure::difference;
use crate::server::Server;

/// Names the database to the process that works.
pub(crate) const URL_VARIABLE: &str = "WOPAY_BENCH_WORK_URL";
/// The master key of the databases that the bench makes.
const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
/// The name of the audit log's key.
const ORIGIN: &str = "bench.example/main";
const CONNECTIONS_MAX: u32 = 8;

/// What to do, and how much of it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct WorkArgs {
    /// What.
    #[arg(value_enum)]
    work: Work,
    /// Up to which event.
    #[arg(long)]
    events: i64,
    /// Folder for files.
    #[arg(long)]
    scratch: PathBuf,
}

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// Drain `COPY events TO STDOUT`.
    CopyText,
    /// Drain the copy in binary form, in order of position.
    CopyBinary,
    /// The ledger's own replay: scan, decode, fold.
    Replay,
    /// The same fold over `stream_all_events` of `postgres-es`.
    CqrsEs,
    /// Seal everything.
    Seal,
    /// Verify everything.
    Verify,
    /// Rebuild one read model.
    RebuildJournal,
    /// Rebuild all of them.
    Rebuild,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Done {
    /// Events that went through.
    pub(crate) events: u64,
    /// How long that took.
    pub(crate) seconds: f64,
    /// CPU time of the process meanwhile.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most memory that the process ever had resident.
    pub(crate) peak_kib: Option<u64>,
    /// CPU time of Postgres meanwhile; known to who started the work.
    #[serde(default)]
    pub(crate) postgres_seconds: Option<f64>,
    /// What there is to say.
    #[serde(default)]
    pub(crate) note: Option<String>,
}

impl Done {
    /// Events a second.
    pub(crate) fn rate_per_s(&self) -> f64 {
        self.events as f64 / self.seconds.max(1e-9)
    }
}

impl Work {
    /// Does it in a process of its own.
    pub(crate) async fn measure(
        self,
        server: &Server,
        url: &str,
        events: i64,
        scratch: &std::path::Path,
    ) -> Result<Done> {
        use clap::ValueEnum as _;
        let name = self.to_possible_value().context("every work has a name")?.get_name().to_owned();
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["work", &name, "--events", &events.to_string(), "--scratch"]).arg(scratch);
        command.env(URL_VARIABLE, url);
        run(server, command, &name).await
    }
}

/// Runs a program that prints a [`Done`] in its last line.
pub(crate) async fn run(server: &Server, mut command: Command, name: &str) -> Result<Done> {
    let postgres = server.cpu();
    let output = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await?;
    let postgres = difference(postgres, server.cpu());
    ensure!(output.status.success(), "{name} ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let line = text.lines().last().with_context(|| format!("{name} printed nothing"))?;
    let mut done: Done = serde_json::from_str(line).with_context(|| format!("{name} printed {line:?}"))?;
    done.postgres_seconds = postgres.map(|time| time.as_secs_f64());
    Ok(done)
}

/// The process that works: one thread, unless the work itself starts more.
pub(crate) fn main(args: &WorkArgs) -> Result<()> {
    let runtime = match args.work {
        // What is to be known is what one core does.
        Work::CopyText | Work::CopyBinary | Work::Replay | Work::CqrsEs => {
            tokio::runtime::Builder::new_current_thread().enable_all().build()?
        }
        Work::Seal | Work::Verify | Work::RebuildJournal | Work::Rebuild => {
            tokio::runtime::Builder::new_multi_thread().enable_all().build()?
        }
    };
    let done = runtime.block_on(work(args))?;
    println!("{}", serde_json::to_string(&done)?);
    Ok(())
}

async fn work(args: &WorkArgs) -> Result<Done> {
    let url = std::env::var(URL_VARIABLE).with_context(|| format!("{URL_VARIABLE} is not set"))?;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).connect(&url).await?;
    let cpu_before = cpu::own();
    let started = Instant::now();
    let (events, note) = match args.work {
        Work::CopyText => readers::drain(&pool, "COPY events TO STDOUT", args.events).await?,
        Work::CopyBinary => readers::drain(&pool, &readers::binary(args.events), args.events).await?,
        Work::Replay => readers::replay(&pool, args.events).await?,
        Work::CqrsEs => peer::replay(&pool).await?,
        Work::Seal => seal(&pool, args).await?,
        Work::Verify => verify(&pool, args).await?,
        Work::RebuildJournal => rebuilt(&pool, Some("journal")).await?,
        Work::Rebuild => rebuilt(&pool, None).await?,
    };
    let elapsed = started.elapsed();
    Ok(Done {
        events,
        seconds: elapsed.as_secs_f64(),
        cpu_seconds: difference(cpu_before, cpu::own()).map(|time: Duration| time.as_secs_f64()),
        peak_kib: cpu::memory_kib(std::process::id()).map(|(_, peak)| peak),
        postgres_seconds: None,
        note,
    })
}

type Counted = (u64, Option<String>);

fn master_key() -> Result<MasterKey> {
    MasterKey::parse_hex(MASTER_KEY).context("the bench's key is one")
}

async fn seal(pool: &PgPool, args: &WorkArgs) -> Result<Counted> {
    let key = AuditKey::derive(&master_key()?, ORIGIN)?;
    let options = SealerOptions { ledger: "bench".to_owned(), checkpoint_file: args.scratch.join("checkpoint") };
    let sealed = Sealer::new(pool.clone(), key, options, AppendSignal::new()).seal_now().await?;
    Ok((u64::try_from(sealed.size - sealed.before)?, None))
}

async fn verify(pool: &PgPool, args: &WorkArgs) -> Result<Counted> {
    let key = AuditKey::derive(&master_key()?, ORIGIN)?;
    let options = VerifyOptions {
        keys: vec![key.public().clone()],
        checkpoint_file: Some(args.scratch.join("checkpoint")),
        ..VerifyOptions::default()
    };
    let report = wopay_audit::verify(pool, &options, |_| {}).await?;
    ensure!(report.is_sound(), "what was just sealed does not verify: {:?}", report.findings);
    Ok((u64::try_from(report.events)?, None))
}

async fn rebuilt(pool: &PgPool, name: Option<&str>) -> Result<Counted> {
    let vault = Vault::new(pool.clone(), master_key()?.subkey(purpose::SECRETS));
    let rebuilt = rebuild(pool, &vault, name, |_| {}).await?;
    Ok((u64::try_from(rebuilt.position)?, None))
}
