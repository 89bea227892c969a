//! `wopay merchant forget`.

use std::io::{IsTerminal as _, Write as _};

use anyhow::{Context as _, bail};
use chrono::{SubsecRound as _, Utc};
use serde_json::json;
use wopay_domain::MerchantId;
use wopay_domain::merchant::MerchantCommand;

use crate::cli::{operator, print_line};
use crate::context::Administration;

const WHAT_HAPPENS: &str = "\
Its API keys become useless, webhooks to it stop, and its name, e-mail address and secrets are destroyed, for ever.
The events stay: payments, amounts and addresses are still in the books, and the history still verifies.
Copies in backups are not reached: see docs/decisions/0019-forgetting.md.";

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Forget {
    /// The merchant.
    merchant: MerchantId,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

impl Forget {
    /// First the event, which ends the keys, then the destruction: whatever comes between, running it again goes on.
    ///
    /// # Errors
    /// When there is no such merchant, nobody agreed, or something could not be done; then it may be run again.
    pub(super) async fn run(&self, administration: &Administration) -> anyhow::Result<()> {
        if administration.ledger.merchant(self.merchant).await?.is_none() {
            bail!("there is no merchant {}", self.merchant);
        }
        self.agree()?;
        let command = MerchantCommand::Forget { at: Utc::now().trunc_subsecs(6) };
        let metadata = operator::metadata();
        let executed = administration.ledger.execute_merchant(self.merchant, command, Vec::new(), &metadata).await;
        let executed = executed.context("the merchant was not forgotten")?;
        let forgotten = administration.vault.forget(self.merchant.as_uuid()).await.context(
            "its keys are useless and this is recorded, but the key of its data was not destroyed: run it again",
        )?;
        if self.json {
            print_line(
                &json!({
                    "merchant_id": self.merchant,
                    "position": executed.position,
                    "key_destroyed": forgotten.is_new,
                    "secrets_destroyed": forgotten.secrets,
                })
                .to_string(),
            );
        } else if executed.position.is_none() && !forgotten.is_new {
            print_line("The merchant was forgotten already.");
        } else {
            print_line(&format!(
                "The merchant is forgotten; {} sealed values are destroyed. Running processes may hold opened ones in \
                 memory for another minute.",
                forgotten.secrets
            ));
        }
        Ok(())
    }

    /// Asks a person; a script says `--yes`.
    fn agree(&self) -> anyhow::Result<()> {
        if self.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            bail!("this cannot be undone. {WHAT_HAPPENS}\nSay --yes to go on");
        }
        let mut terminal = std::io::stderr();
        write!(terminal, "{WHAT_HAPPENS}\nForget the merchant {}? This cannot be undone [yes/no] ", self.merchant)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        if answer.trim() != "yes" {
            bail!("nothing was done");
        }
        Ok(())
    }
}
