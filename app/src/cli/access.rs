//! `wopay access …`: keys with which finance and auditors of the house read the books over HTTP.

use anyhow::Context as _;
use chrono::{SecondsFormat, SubsecRound as _, Utc};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;
use uuid::Uuid;
use wopay_domain::AccessKeyId;
use wopay_domain::access::{AccessKeyState, AccessRole, IssueAccessKey};

use super::operator;
use crate::config::Loaded;
use crate::context::Administration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Issue an access key. It is printed once and cannot be shown again.
    Create {
        /// What it may read: `finance` the books and reports of every merchant, `auditor` also the audit log and any proof.
        #[arg(long, value_name = "finance|auditor")]
        role: AccessRole,
        /// What it is for. It stays in the ledger for ever: name a purpose, not a person.
        #[arg(long)]
        label: String,
        /// Print the result as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Make an access key useless, for ever and at once.
    Revoke {
        /// The key's id, as `list` shows it.
        key: AccessKeyId,
    },
    /// Show every access key there ever was.
    List {
        /// Print a JSON array.
        #[arg(long)]
        json: bool,
    },
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let administration = Administration::open(loaded).await?;
        let done = match &self {
            Self::Create { role, label, json } => create(&administration, *role, label, *json).await,
            Self::Revoke { key } => revoke(&administration, *key).await,
            Self::List { json } => list(&administration, *json).await,
        };
        administration.close().await;
        done
    }
}

async fn create(administration: &Administration, role: AccessRole, label: &str, json: bool) -> anyhow::Result<()> {
    let key = format!("wa_{}", operator::random_text()?);
    let issue = IssueAccessKey {
        key_id: AccessKeyId::from_uuid(Uuid::now_v7()),
        role,
        label: label.to_owned(),
        prefix: operator::key_prefix(&key),
        at: Utc::now().trunc_subsecs(6),
    };
    let key_hash = operator::key_hash(&key);
    let issued = administration.ledger.issue_access_key(issue, &key_hash, &operator::metadata()).await;
    let state = issued.context("the key was not issued, as far as is known")?.state;
    super::print_line(&if json {
        json!({ "key_id": state.id, "role": state.role, "label": state.label, "access_key": key }).to_string()
    } else {
        format!(
            "Access key      {key}\nKey id          {}\nRole            {}\nLabel           {}\n\n\
             Keep it now: it is not shown again.",
            state.id, state.role, state.label,
        )
    });
    Ok(())
}

async fn revoke(administration: &Administration, key: AccessKeyId) -> anyhow::Result<()> {
    let revoked =
        administration.ledger.revoke_access_key(key, Utc::now().trunc_subsecs(6), &operator::metadata()).await;
    super::print_line(match revoked.context("the key was not revoked")?.position {
        Some(_) => "The key is revoked.",
        None => "The key was revoked already.",
    });
    Ok(())
}

async fn list(administration: &Administration, json: bool) -> anyhow::Result<()> {
    let keys = administration.ledger.access_keys().await?;
    super::print_line(&if json { as_json(&keys) } else { as_table(&keys) });
    Ok(())
}

fn as_json(keys: &[AccessKeyState]) -> String {
    let keys = keys.iter().map(|key| {
        json!({
            "key_id": key.id,
            "role": key.role,
            "label": key.label,
            "prefix": key.prefix,
            "issued_at": key.issued_at,
            "revoked_at": key.revoked_at,
        })
    });
    serde_json::Value::from_iter(keys).to_string()
}

fn as_table(keys: &[AccessKeyState]) -> String {
    if keys.is_empty() {
        return "There are no access keys.".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(["KEY ID", "ROLE", "KEY", "ISSUED", "REVOKED", "LABEL"]);
    for key in keys {
        let time = |time: wopay_domain::Timestamp| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        let revoked = key.revoked_at.map_or_else(|| "-".to_owned(), time);
        let prefix = format!("{}…", key.prefix);
        table.add_row([&key.id.to_string(), key.role.as_str(), &prefix, &time(key.issued_at), &revoked, &key.label]);
    }
    table.trim_fmt()
}
