//! `wopay projections …`.

use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use wopay_projections::{Progress, Rebuilt, rebuild};

use crate::config::Loaded;
use crate::context::Administration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Make read models again from the events, beside the live ones, and swap them in. Readers and followers go on.
    Rebuild {
        /// One of merchants, payments, blockchain_transactions, balances [default: all].
        name: Option<String>,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let Self::Rebuild { name, json } = self;
        let administration = Administration::open(loaded).await?;
        let bar = progress_bar();
        let progress = |progress: Progress| {
            bar.set_length(u64::try_from(progress.target).unwrap_or(0));
            bar.set_position(u64::try_from(progress.position).unwrap_or(0));
        };
        let rebuilt = rebuild(&administration.pool, &administration.vault, name.as_deref(), progress).await;
        bar.finish_and_clear();
        administration.close().await;
        print(&rebuilt.context("nothing was rebuilt")?, json);
        Ok(())
    }
}

/// Drawn on a terminal only, to standard error.
fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} events  {per_sec}  {eta} left");
    // The template is constant: if it were wrong, the plain bar would do.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

fn print(rebuilt: &Rebuilt, json: bool) {
    let models: Vec<_> = rebuilt.models.iter().map(|model| model.as_str()).collect();
    super::print_line(&if json {
        serde_json::json!({ "rebuilt": models, "position": rebuilt.position }).to_string()
    } else {
        format!("Rebuilt {} up to position {}.", models.join(", "), rebuilt.position)
    });
}
