//! `wopay merchant …`.

mod forget;

use anyhow::{Context as _, bail};
use chrono::{SubsecRound as _, Utc};
use rust_decimal::Decimal;
use secrecy::ExposeSecret as _;
use serde_json::json;
use uuid::Uuid;
use wopay_commands::{Claim, ExecuteError};
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::payment::LateDeposits;
use wopay_domain::{ApiKeyId, MerchantId, Percentage, SecretRef};

use super::operator;
use crate::config::Loaded;
use crate::context::Administration;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Register a merchant with an API key and a webhook secret. They are printed once and cannot be shown again.
    Create(Create),
    /// Make an API key useless, for ever and at once.
    RevokeKey {
        /// The merchant.
        #[arg(long)]
        merchant: MerchantId,
        /// The key's id.
        #[arg(long)]
        key: ApiKeyId,
    },
    /// Forget who a merchant is, for ever: destroy the key of its personal data and secrets. The books stay as they are.
    Forget(forget::Forget),
}

#[derive(Debug, clap::Args)]
pub(super) struct Create {
    /// The merchant's name.
    #[arg(long)]
    name: String,
    /// Its e-mail address; one merchant each.
    #[arg(long)]
    email: String,
    /// Where its webhooks go [default: only to the payments' own callback URLs].
    #[arg(long)]
    webhook_url: Option<String>,
    /// How much less than a payment's amount is still enough, in percent [default: 0].
    #[arg(long, value_name = "PERCENT", value_parser = percentage, default_value = "0", hide_default_value = true)]
    underpayment_tolerance: Percentage,
    /// What becomes of money that arrives after a payment's deadline.
    #[arg(long, value_enum, default_value_t)]
    late_deposits: Late,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// See [`LateDeposits`].
#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Late {
    /// It counts, and the payment is flagged `paid_late`.
    #[default]
    Accept,
    /// It is held for a decision.
    Hold,
}

impl From<Late> for LateDeposits {
    fn from(late: Late) -> Self {
        match late {
            Late::Accept => Self::Accept,
            Late::Hold => Self::Hold,
        }
    }
}

fn percentage(text: &str) -> Result<Percentage, String> {
    let decimal: Decimal = text.parse().map_err(|_| "must be a number such as 0.5".to_owned())?;
    Percentage::try_from(decimal).map_err(|error| error.to_string())
}

/// What a new merchant is told once.
struct Credentials {
    merchant_id: MerchantId,
    api_key_id: ApiKeyId,
    api_key: String,
    api_secret: String,
    webhook_secret: String,
}

impl Command {
    pub(super) async fn run(self, loaded: Loaded) -> anyhow::Result<()> {
        let administration = Administration::open(loaded).await?;
        let done = match &self {
            Self::Create(create) => create.run(&administration).await,
            Self::RevokeKey { merchant, key } => revoke(&administration, *merchant, *key).await,
            Self::Forget(forget) => forget.run(&administration).await,
        };
        administration.close().await;
        done
    }
}

impl Create {
    async fn run(&self, administration: &Administration) -> anyhow::Result<()> {
        self.check(administration)?;
        let credentials = register(self, administration).await?;
        super::print_line(&if self.json { credentials.as_json() } else { credentials.as_text() });
        Ok(())
    }

    fn check(&self, administration: &Administration) -> anyhow::Result<()> {
        let printable = |text: &str| !text.trim().is_empty() && !text.chars().any(char::is_control);
        if !printable(&self.name) || self.name.chars().count() > 255 {
            bail!("--name has 1 to 255 printable characters");
        }
        let (local, domain) = self.email.rsplit_once('@').unwrap_or_default();
        let blank = self.email.chars().any(|c| c.is_whitespace() || c.is_control());
        if local.is_empty() || domain.is_empty() || blank || self.email.len() > 254 {
            bail!("--email must be an e-mail address, got {:?}", self.email);
        }
        if let Some(url) = &self.webhook_url {
            wopay_webhooks::validate_url(url, &administration.config.webhooks.policy())
                .with_context(|| format!("--webhook-url {url:?} is refused"))?;
        }
        Ok(())
    }
}

async fn register(create: &Create, administration: &Administration) -> anyhow::Result<Credentials> {
    let credentials = Credentials {
        merchant_id: MerchantId::from_uuid(Uuid::now_v7()),
        api_key_id: ApiKeyId::from_uuid(Uuid::now_v7()),
        api_key: format!("wk_{}", operator::random_text()?),
        api_secret: format!("ws_{}", operator::random_text()?),
        webhook_secret: wopay_webhooks::generate_secret()
            .context("the system has no randomness")?
            .expose_secret()
            .to_owned(),
    };
    let subject = credentials.merchant_id.as_uuid();
    let seal = async |kind: &str, text: &str| -> anyhow::Result<SecretRef> {
        let reference = administration.vault.store(subject, kind, text.as_bytes()).await;
        Ok(SecretRef::from_uuid(reference.context("cannot seal a secret")?))
    };
    let profile = seal("profile", &json!({ "name": create.name, "email": create.email }).to_string()).await?;
    let api_secret = seal("api-secret", &credentials.api_secret).await?;
    let webhook_secret = seal("webhook-secret", &credentials.webhook_secret).await?;

    let at = Utc::now().trunc_subsecs(6);
    let register = RegisterMerchant {
        merchant_id: credentials.merchant_id,
        profile,
        policy: MerchantPolicy {
            underpayment_tolerance: create.underpayment_tolerance,
            late_deposits: create.late_deposits.into(),
        },
        at,
    };
    let then = vec![
        MerchantCommand::IssueApiKey {
            key_id: credentials.api_key_id,
            prefix: operator::key_prefix(&credentials.api_key),
            secret: api_secret,
            at,
        },
        MerchantCommand::ConfigureWebhook { url: create.webhook_url.clone(), secret: webhook_secret, at },
    ];
    let key_hash = operator::key_hash(&credentials.api_key);
    let claims = vec![Claim::api_key(&key_hash, credentials.api_key_id)];
    let email_digest = administration.vault.digest(&create.email.to_lowercase());
    match administration.ledger.register_merchant(register, &email_digest, then, claims, &operator::metadata()).await {
        Ok(_) => Ok(credentials),
        Err(ExecuteError::ClaimTaken(_)) => {
            // Nothing refers to what was sealed. (After any other failure that is not certain, so it stays.)
            if let Err(error) = administration.vault.delete_subject(subject).await {
                tracing::warn!(error = %error, "sealed values of a merchant that was not registered are left over");
            }
            bail!("a merchant with the e-mail address {} exists", create.email)
        }
        Err(error) => Err(error).context("the merchant was not registered, as far as is known"),
    }
}

async fn revoke(administration: &Administration, merchant: MerchantId, key: ApiKeyId) -> anyhow::Result<()> {
    let command = MerchantCommand::RevokeApiKey { key_id: key, at: Utc::now().trunc_subsecs(6) };
    let executed = administration.ledger.execute_merchant(merchant, command, Vec::new(), &operator::metadata()).await;
    let executed = executed.context("the key was not revoked")?;
    super::print_line(match executed.position {
        Some(_) => "The key is revoked.",
        None => "The key was revoked already.",
    });
    Ok(())
}

impl Credentials {
    fn as_json(&self) -> String {
        json!({
            "merchant_id": self.merchant_id,
            "api_key_id": self.api_key_id,
            "api_key": self.api_key,
            "api_secret": self.api_secret,
            "webhook_secret": self.webhook_secret,
        })
        .to_string()
    }

    fn as_text(&self) -> String {
        format!(
            "Merchant        {}\nAPI key         {}\nAPI key id      {}\nAPI secret      {}\nWebhook secret  {}\n\n\
             Keep them now: they are not shown again.",
            self.merchant_id, self.api_key, self.api_key_id, self.api_secret, self.webhook_secret,
        )
    }
}
