//! The HTTP load generator: a program that is none of ours.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use tokio::process::Command;

use crate::in_bench;
use crate::latency::Percentiles;
use crate::sample::{AMOUNT, CALLBACK_URL, CHAIN, EXPIRES_IN_SECONDS};

/// Which one there is.
#[derive(Clone, Debug)]
pub(crate) enum Generator {
    /// `wrk`: a few percent of a core.
    Wrk(PathBuf),
    /// The `autocannon.js` of the npm package: needs about as much CPU time as the gateway, and so costs it rate.
    Autocannon(PathBuf),
}

/// What it saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests answered.
    pub(crate) requests: u64,
    /// Requests a second.
    pub(crate) rate_per_s: f64,
    /// Their latency.
    pub(crate) latency: Percentiles,
}

#[derive(Deserialize)]
struct WrkReport {
    requests: u64,
    seconds: f64,
    p50_us: u32,
    p99_us: u32,
    failed: u64,
}

#[derive(Deserialize)]
struct AutocannonReport {
    latency: AutocannonLatency,
    #[serde(rename = "2xx")]
    successes: u64,
    non2xx: u64,
    errors: u64,
    duration: f64,
}

/// In milliseconds.
#[derive(Deserialize)]
struct AutocannonLatency {
    p50: f64,
    p99: f64,
}

impl Generator {
    /// What the report calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Wrk(_) => "wrk",
            Self::Autocannon(_) => "autocannon",
        }
    }

    /// Posts payments over `connections` connections, orders from `first` on; each has a number of its own.
    pub(crate) async fn run(
        &self,
        url: &str,
        api_key: &str,
        connections: u32,
        first: u64,
        duration: Duration,
    ) -> Result<Load> {
        let seconds = duration.as_secs().max(1);
        match self {
            Self::Wrk(program) => {
                let mut command = Command::new(program);
                command.arg("--script").arg(in_bench("payments.lua")).args(["--threads", "1", "--timeout", "10s"]);
                command.args([format!("--connections={connections}"), format!("--duration={seconds}s")]).arg(url);
                command.env("WOPAY_BENCH_API_KEY", api_key).env("WOPAY_BENCH_FIRST", first.to_string());
                command.env("WOPAY_BENCH_AMOUNT", AMOUNT).env("WOPAY_BENCH_CHAIN", CHAIN);
                command.env("WOPAY_BENCH_CALLBACK_URL", CALLBACK_URL);
                command.env("WOPAY_BENCH_EXPIRES_IN", EXPIRES_IN_SECONDS.to_string());
                wrk_load(&output(command).await?)
            }
            Self::Autocannon(script) => {
                let body = format!(
                    "{{\"order_id\":\"[<id>]\",\"amount\":\"{AMOUNT}\",\"currency\":\"USDT\",\"blockchain\":\"{CHAIN}\",\
                     \"callback_url\":\"{CALLBACK_URL}\",\"expires_in\":{EXPIRES_IN_SECONDS}}}"
                );
                let mut command = Command::new("node");
                command.arg(script).args(["--json", "--idReplacement", "--method", "POST", "--timeout", "10"]);
                command.args(["--connections", &connections.to_string(), "--duration", &seconds.to_string()]);
                command.args(["--headers", &format!("authorization=Bearer {api_key}")]);
                command.args(["--headers", "content-type=application/json", "--body", &body, url]);
                autocannon_load(&output(command).await?)
            }
        }
    }
}

async fn output(mut command: Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.context("no load generator")?;
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "the load generator ended with {}: {text}{errors}", output.status);
    Ok(text.into_owned())
}

/// The last line is what `payments.lua` writes.
fn wrk_load(output: &str) -> Result<Load> {
    let last = output.lines().rfind(|line| line.starts_with('{')).unwrap_or_default();
    let report: WrkReport = serde_json::from_str(last).with_context(|| format!("wrk said {output}"))?;
    ensure!(report.failed == 0, "{} of {} requests failed: {output}", report.failed, report.requests);
    Ok(Load {
        requests: report.requests,
        rate_per_s: report.requests as f64 / report.seconds,
        latency: Percentiles { p50_us: report.p50_us, p99_us: report.p99_us },
    })
}

fn autocannon_load(output: &str) -> Result<Load> {
    let report: AutocannonReport = serde_json::from_str(output).with_context(|| format!("autocannon said {output}"))?;
    let failed = report.non2xx + report.errors;
    ensure!(failed == 0, "{failed} of {} requests failed: {output}", report.successes + failed);
    let microseconds = |milliseconds: f64| Duration::try_from_secs_f64(milliseconds / 1e3).map(|time| time.as_micros());
    let percentiles = (microseconds(report.latency.p50)?, microseconds(report.latency.p99)?);
    Ok(Load {
        requests: report.successes,
        rate_per_s: report.successes as f64 / report.duration,
        latency: Percentiles { p50_us: u32::try_from(percentiles.0)?, p99_us: u32::try_from(percentiles.1)? },
    })
}
