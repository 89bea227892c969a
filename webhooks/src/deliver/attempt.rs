//! One attempt: sign, send, read a bounded part of the answer, say what came of it.

use std::error::Error;
use std::time::{Duration, Instant};

use chrono::Utc;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use uuid::Uuid;
use wopay_vault::{Vault, VaultError};

use super::response::{Excerpt, retry_after};
use super::store::Job;
use crate::address::AddressError;
use crate::announcement::{Announcement, message_id};
use crate::receiver::{Clients, UrlError};
use crate::sign::{HEADER_ID, HEADER_SIGNATURE, HEADER_TIMESTAMP, SecretError, SigningSecret};

/// The most of an answer that is read.
const RESPONSE_BYTES_MAX: usize = 16 * 1024;

/// Why an attempt failed. The text is for the merchant, who reads it in the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum AttemptError {
    #[error("the receiver answered {}", .0.as_u16())]
    Status(StatusCode),
    #[error("the receiver is gone (410)")]
    Gone,
    #[error("no complete answer within {} s", .0.as_secs_f32())]
    Timeout(Duration),
    #[error("the URL is not allowed: it {0}")]
    Url(#[source] UrlError),
    #[error("the host is not allowed: {0}")]
    Address(#[source] AddressError),
    #[error("no connection to the receiver")]
    Connect(#[source] reqwest::Error),
    #[error("the exchange with the receiver broke off")]
    Broken(#[source] reqwest::Error),
    #[error("the merchant was forgotten")]
    Forgotten,
    #[error("the signing secret is not available")]
    Secret(#[source] SecretUnavailable),
    #[error("the message cannot be read")]
    Message(#[source] serde_json::Error),
}

/// Why a delivery cannot be signed. Ours to repair.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretUnavailable {
    #[error("the merchant has no webhook settings")]
    NotConfigured,
    #[error("the vault does not open it")]
    Vault(#[source] VaultError),
    #[error("it is not text")]
    Text(#[source] std::str::Utf8Error),
    #[error("it is malformed")]
    Malformed(#[source] SecretError),
}

impl AttemptError {
    /// Whether the receiver said anything: what is silent is probed with care.
    fn answered(&self) -> bool {
        match self {
            Self::Status(_) | Self::Gone => true,
            // Not the receiver's fault, and fast: no reason to hold back.
            Self::Forgotten | Self::Secret(_) | Self::Message(_) => true,
            Self::Timeout(_) | Self::Url(_) | Self::Address(_) | Self::Connect(_) | Self::Broken(_) => false,
        }
    }

    /// Whether the fault lies with this installation.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Message(_))
    }

    /// The value of the metric's label `outcome`.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Gone => "gone",
            Self::Forgotten => "forgotten",
            Self::Timeout(_) => "timeout",
            Self::Url(_) | Self::Address(_) => "refused",
            Self::Connect(_) => "connect",
            Self::Broken(_) => "broken",
            Self::Secret(_) | Self::Message(_) => "unsigned",
        }
    }
}

/// What an attempt was.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) result: Result<(), AttemptError>,
    pub(super) status: Option<StatusCode>,
    pub(super) excerpt: Option<String>,
    pub(super) retry_after: Option<Duration>,
    pub(super) latency: Duration,
}

impl Attempt {
    pub(super) fn answered(&self) -> bool {
        self.result.as_ref().err().is_none_or(AttemptError::answered)
    }
}

/// What was learnt of the answer, kept outside the attempt so that a timeout does not lose it.
#[derive(Debug, Default)]
struct Answer {
    status: Option<StatusCode>,
    retry_after: Option<Duration>,
    excerpt: Excerpt,
}

/// Makes one attempt. Never takes much longer than `timeout`.
pub(super) async fn attempt(clients: &Clients, vault: &Vault, job: &Job, timeout: Duration) -> Attempt {
    let started = Instant::now();
    let mut answer = Answer::default();
    let result = match tokio::time::timeout(timeout, send(clients, vault, job, &mut answer)).await {
        Ok(result) => result,
        Err(_) => Err(AttemptError::Timeout(timeout)),
    };
    // A refusal counts even when its body never comes; an acceptance only with its body, or as much of it as we read.
    let result = match answer.status {
        Some(StatusCode::GONE) => Err(AttemptError::Gone),
        Some(status) if !status.is_success() => Err(AttemptError::Status(status)),
        _ => result,
    };
    Attempt {
        result,
        status: answer.status,
        excerpt: answer.status.map(|_| answer.excerpt.into_text()),
        retry_after: answer.retry_after,
        latency: started.elapsed(),
    }
}

async fn send(clients: &Clients, vault: &Vault, job: &Job, answer: &mut Answer) -> Result<(), AttemptError> {
    let (client, url) = clients.for_url(&job.url).map_err(AttemptError::Url)?;
    let secret = open_secret(vault, job.secret_ref).await.map_err(|error| match error {
        SecretUnavailable::Vault(VaultError::Forgotten(_)) => AttemptError::Forgotten,
        error => AttemptError::Secret(error),
    })?;
    let announcement: Announcement = serde_json::from_str(&job.body).map_err(AttemptError::Message)?;
    let body = announcement.render(&secret).map_err(AttemptError::Message)?;
    let id = message_id(job.id);
    let timestamp = Utc::now().timestamp();
    let signature = secret.sign_message(&id, timestamp, &body);
    let request = client
        .post(url)
        .header(CONTENT_TYPE, "application/json")
        .header(HEADER_ID, id)
        .header(HEADER_TIMESTAMP, timestamp)
        .header(HEADER_SIGNATURE, signature)
        .body(body);
    let mut response = request.send().await.map_err(classify)?;
    answer.status = Some(response.status());
    answer.retry_after = retry_after(response.headers(), Utc::now());
    read_body(&mut response, &mut answer.excerpt).await.map_err(|error| AttemptError::Broken(error.without_url()))
}

async fn open_secret(vault: &Vault, reference: Option<Uuid>) -> Result<SigningSecret, SecretUnavailable> {
    let reference = reference.ok_or(SecretUnavailable::NotConfigured)?;
    let opened = vault.open(reference).await.map_err(SecretUnavailable::Vault)?;
    let text = opened.as_str().map_err(SecretUnavailable::Text)?;
    SigningSecret::parse(text).map_err(SecretUnavailable::Malformed)
}

async fn read_body(response: &mut Response, excerpt: &mut Excerpt) -> Result<(), reqwest::Error> {
    let mut read = 0usize;
    while read < RESPONSE_BYTES_MAX {
        let Some(chunk) = response.chunk().await? else { break };
        read = read.saturating_add(chunk.len());
        excerpt.push(&chunk);
    }
    Ok(())
}

/// Our own refusal travels inside the client's error.
fn classify(error: reqwest::Error) -> AttemptError {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(refused) = cause.downcast_ref::<AddressError>() {
            return AttemptError::Address(*refused);
        }
        source = cause.source();
    }
    // The client's errors name the URL; what stands in its path or query may be the merchant's secret.
    let error = error.without_url();
    if error.is_connect() { AttemptError::Connect(error) } else { AttemptError::Broken(error) }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::classify;

    #[tokio::test]
    async fn errors_do_not_name_the_url() {
        let url = "http://127.0.0.1:1/hook?token=hunter2";
        let error = classify(reqwest::Client::new().post(url).send().await.unwrap_err());
        let mut text = format!("{error} {error:?}");
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(&error.to_string());
            cause = error.source();
        }
        assert!(!text.contains("hunter2"), "{text}");
    }
}
