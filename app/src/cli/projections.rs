//! `wopay projections …`: how the read side stands, making it again, and checking it against the events.

use std::io::Write as _;

use anyhow::Context as _;
use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};
use sqlx::PgPool;
use wopay_projections::{
    Checked, Column, Difference, Found, ModelVersion, Rebuilt, TableCheck, check, lag, rebuild, standings,
};

use super::progress::EventsBar;
use crate::config::Loaded;
use crate::context::Administration;

/// The process' exit code when something was checked and is not as it should be; 1 is for what could not be checked.
const NOT_AS_IT_SHOULD_BE: i32 = 2;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Show how far the read side has come and which version of each read model made its rows.
    Status {
        /// Print it as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make read models again from the events, beside the live ones, and swap them in. Readers and followers go on.
    Rebuild {
        /// The read model, as `status` calls it [default: all].
        name: Option<String>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make read models again from the events, beside the live ones, and compare row by row. Changes nothing; ends with
    /// exit code 2 if anything differs.
    Check {
        /// The read model, as `status` calls it [default: all].
        name: Option<String>,
        /// How many differences of each table to name.
        #[arg(long, value_name = "COUNT", default_value_t = 5)]
        first: u32,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let administration = Administration::open(loaded).await?;
        let is_as_it_should_be = self.run_on(&administration).await;
        administration.close().await;
        if !is_as_it_should_be? {
            let _ = std::io::stdout().flush();
            std::process::exit(NOT_AS_IT_SHOULD_BE);
        }
        Ok(())
    }

    async fn run_on(self, administration: &Administration) -> anyhow::Result<bool> {
        match self {
            Self::Status { json } => print_status(&administration.pool, json).await.map(|()| true),
            Self::Rebuild { name, json } => {
                let owner = administration.owner().await?;
                let bar = EventsBar::new();
                let rebuilt = rebuild(&owner, &administration.vault, name.as_deref(), |progress| bar.show(progress));
                let rebuilt = Box::pin(rebuilt).await;
                bar.finish();
                print_rebuilt(&rebuilt.context("nothing was rebuilt")?, json);
                Ok(true)
            }
            Self::Check { name, first, json } => {
                let owner = administration.owner().await?;
                let bar = EventsBar::new();
                let checked =
                    check(&owner, &administration.vault, name.as_deref(), first, |progress| bar.show(progress));
                let checked = Box::pin(checked).await;
                bar.finish();
                let checked = checked.context("nothing was compared")?;
                print_checked(&checked, json);
                Ok(checked.differences() == 0)
            }
        }
    }
}

async fn print_status(pool: &PgPool, json: bool) -> anyhow::Result<()> {
    let lag = lag(pool).await?;
    let models = standings(pool).await?;
    if json {
        let status = json!({
            "position": lag.position,
            "head": lag.head,
            "lag_events": lag.events(),
            "lag_seconds": lag.seconds,
            "applied_at": lag.applied_at,
            "models": models.iter().map(model_json).collect::<Vec<_>>(),
        });
        super::print_line(&status.to_string());
        return Ok(());
    }
    super::print_line(&match lag.events() {
        0 => format!("Up to date: position {} of {}.", lag.position, lag.head),
        behind => {
            format!("{behind} events behind: position {} of {}, for {:.1} s.", lag.position, lag.head, lag.seconds)
        }
    });
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["read model", "version", "rows are", "last rebuilt"]);
    for model in &models {
        let rebuilt = model.rebuilt.map_or_else(
            || "never".to_owned(),
            |rebuilt| {
                let at = rebuilt.at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
                format!("{at}, up to position {}, in {:.1} s", rebuilt.position, rebuilt.seconds)
            },
        );
        let version = model.model.version().to_string();
        table.add_row([model.model.as_str().to_owned(), version, model.standing.to_string(), rebuilt]);
    }
    super::print_line(&table.trim_fmt());
    Ok(())
}

fn model_json(version: &ModelVersion) -> Value {
    json!({
        "name": version.model.as_str(),
        "version": version.model.version(),
        "standing": version.standing.to_string(),
        "tables": version.model.tables(),
        "rebuilt_at": version.rebuilt.map(|rebuilt| rebuilt.at),
        "rebuilt_position": version.rebuilt.map(|rebuilt| rebuilt.position),
        "rebuilt_seconds": version.rebuilt.map(|rebuilt| rebuilt.seconds),
    })
}

fn print_rebuilt(rebuilt: &Rebuilt, json: bool) {
    let models: Vec<_> = rebuilt.models.iter().map(|model| model.as_str()).collect();
    let seconds = rebuilt.elapsed.as_secs_f64();
    super::print_line(&if json {
        json!({ "rebuilt": models, "position": rebuilt.position, "seconds": seconds }).to_string()
    } else {
        format!("Rebuilt {} up to position {} in {seconds:.1} s.", models.join(", "), rebuilt.position)
    });
}

fn print_checked(checked: &Checked, json: bool) {
    if json {
        let tables: Vec<_> = checked.tables.iter().map(table_json).collect();
        let result = json!({
            "position": checked.position,
            "differences": checked.differences(),
            "seconds": checked.elapsed.as_secs_f64(),
            "tables": tables,
        });
        super::print_line(&result.to_string());
        return;
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(["table", "rows", "missing", "unexpected", "altered"]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    for found in &checked.tables {
        let counts = [found.rows, found.missing, found.unexpected, found.altered].map(|count| count.to_string());
        table.add_row([found.table.to_owned()].into_iter().chain(counts));
    }
    super::print_line(&table.trim_fmt());
    for found in &checked.tables {
        for difference in &found.first {
            super::print_line(&format!("{} {}", found.table, described(difference)));
        }
    }
    let seconds = checked.elapsed.as_secs_f64();
    super::print_line(&match checked.differences() {
        0 => format!("Every row is what the events up to position {} make of it ({seconds:.1} s).", checked.position),
        count => format!(
            "{count} rows are not what the events up to position {} make of them ({seconds:.1} s). If `wopay audit verify` \
             says that the events are as they were sealed, `wopay projections rebuild` mends that.",
            checked.position
        ),
    });
}

fn table_json(found: &TableCheck) -> Value {
    json!({
        "model": found.model.as_str(),
        "table": found.table,
        "rows": found.rows,
        "missing": found.missing,
        "unexpected": found.unexpected,
        "altered": found.altered,
        "first": found.first,
    })
}

/// `id="…": status is "completed", the events say "pending"`.
fn described(difference: &Difference) -> String {
    let shown = |column: &Column| format!("{}={}", column.name, column.value);
    let key = difference.key.iter().map(shown).collect::<Vec<_>>().join(" ");
    match &difference.found {
        Found::Missing => format!("{key}: is missing"),
        Found::Unexpected => format!("{key}: comes from no event"),
        Found::Altered(columns) => {
            let columns = columns
                .iter()
                .map(|(stored, made)| format!("{} is {}, the events say {}", stored.name, stored.value, made.value));
            format!("{key}: {}", columns.collect::<Vec<_>>().join("; "))
        }
    }
}
