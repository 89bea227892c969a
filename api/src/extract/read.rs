//! Texts that become types: what query parameters are read with. Each says what it expected.

use std::borrow::Cow;
use std::str::FromStr;

use chrono::DateTime;
use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, ChainName, Timestamp};

/// What a reader gives.
pub(crate) type Read<T> = Result<T, Cow<'static, str>>;

const TEXT_CHARS_MAX: usize = 255;
const HYPHENATED_UUID_BYTES: usize = 36;

/// Text that may be asked for: Postgres has no NUL, and longer ones nothing has.
pub(crate) fn text(text: &str) -> Read<String> {
    let sized = (1..=TEXT_CHARS_MAX).contains(&text.chars().count());
    if sized && !text.chars().any(char::is_control) {
        Ok(text.to_owned())
    } else {
        Err("must have 1 to 255 printable characters".into())
    }
}

/// A moment, in RFC 3339.
pub(crate) fn time(text: &str) -> Read<Timestamp> {
    let time = DateTime::parse_from_rfc3339(text);
    time.map(|time| time.to_utc()).map_err(|_| "must be a time such as 2026-01-31T12:00:00Z (RFC 3339)".into())
}

/// How many items a page has, from 1 to `max`.
pub(crate) fn limit(max: u16) -> impl FnOnce(&str) -> Read<u16> {
    move |text| {
        let limit = digits(text).and_then(|digits| digits.parse().ok()).filter(|limit| (1..=max).contains(limit));
        limit.ok_or_else(|| format!("must be a whole number from 1 to {max}").into())
    }
}

/// A position of the ledger, or a sequence number: 0, 1, 2 …
pub(crate) fn position(text: &str) -> Read<i64> {
    digits(text).and_then(|digits| digits.parse().ok()).ok_or_else(|| "must be a whole number, 0 or more".into())
}

/// An id, written in the one way in which the API writes them: `uuid` would also read braces and `urn:`.
pub(crate) fn id<T: FromStr>(text: &str) -> Read<T> {
    let id = (text.len() == HYPHENATED_UUID_BYTES).then(|| text.parse().ok()).flatten();
    id.ok_or_else(|| "must be an id such as 01890a5d-ac96-774b-bcce-b302099a8057".into())
}

/// The name of an account.
pub(crate) fn account(text: &str) -> Read<Account> {
    expected("must be an account such as custody:bsc, merchant:<id>:payable or suspense")(text)
}

/// What identifies an asset.
pub(crate) fn asset(text: &str) -> Read<AssetId> {
    expected("must be an asset such as bsc/native, or <chain>/<contract>")(text)
}

/// The name of a chain.
pub(crate) fn chain(text: &str) -> Read<ChainName> {
    expected("must be the name of a chain")(text)
}

/// Anything that has a text form; `what` says what was expected.
pub(crate) fn expected<T: FromStr>(what: &'static str) -> impl FnOnce(&str) -> Read<T> {
    move |text| text.parse().map_err(|_| what.into())
}

/// One of a few words.
pub(crate) fn one_of<T: Copy>(words: &'static [(&'static str, T)]) -> impl FnOnce(&str) -> Read<T> {
    move |text| {
        let found = words.iter().find(|(word, _)| *word == text);
        found.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("must be one of: {}", words.join(", ")).into()
        })
    }
}

fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}
