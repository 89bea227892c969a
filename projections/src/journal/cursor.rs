//! Places in the lists of the journal. Their texts are opaque to callers.

use std::fmt;
use std::str::FromStr;

use wopay_domain::ledger::Account;
use wopay_domain::{AssetId, Timestamp};

use crate::page::CursorError;

/// A place in a list of accounts: right after this account in this asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountCursor {
    pub(crate) account: Account,
    pub(crate) asset: AssetId,
}

/// A place in a list of journal lines: right after this line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineCursor {
    pub(crate) position: i64,
    pub(crate) line: i16,
    pub(crate) effective_at: Timestamp,
}

/// Between account and asset; neither holds one.
const SEPARATOR: char = '~';

impl fmt::Display for AccountCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { account, asset } = self;
        write!(f, "{account}{SEPARATOR}{asset}")
    }
}

impl FromStr for AccountCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (account, asset) = text.split_once(SEPARATOR).ok_or(CursorError)?;
        let account = account.parse().map_err(|_| CursorError)?;
        Ok(Self { account, asset: asset.parse().map_err(|_| CursorError)? })
    }
}

impl fmt::Display for LineCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, line, effective_at } = self;
        write!(f, "{:x}-{position:x}-{line:x}", effective_at.timestamp_micros())
    }
}

impl FromStr for LineCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split('-');
        let mut next = || {
            let digits = parts.next().filter(|digits| !digits.starts_with('+')).ok_or(CursorError)?;
            i64::from_str_radix(digits, 16).map_err(|_| CursorError)
        };
        let effective_at = Timestamp::from_timestamp_micros(next()?).ok_or(CursorError)?;
        let position = next()?;
        let line = i16::try_from(next()?).map_err(|_| CursorError)?;
        if parts.next().is_some() { Err(CursorError) } else { Ok(Self { position, line, effective_at }) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    #[test]
    fn cursors_survive_their_text() {
        let account = AccountCursor { account: Account::Suspense, asset: "bsc/native".parse().unwrap() };
        assert_eq!(account.to_string().parse(), Ok(account));
        let effective_at = Timestamp::from_timestamp_micros(1_790_000_000_123_456).unwrap();
        let line = LineCursor { position: 77, line: 3, effective_at };
        assert_eq!(line.to_string().parse(), Ok(line));
    }

    #[test]
    fn other_texts_are_no_cursors() {
        for text in ["", "-", "1-2", "1-2-3-4", "1-2-fffff", "+1-2-3", "x-2-3", "ffffffffffffffffff-1-1", "suspense"] {
            assert_eq!(text.parse::<LineCursor>(), Err(CursorError), "{text}");
        }
        for text in ["", "suspense", "suspense~", "~bsc/native", "suspense~bsc/native~", "nobody~bsc/native"] {
            assert_eq!(text.parse::<AccountCursor>(), Err(CursorError), "{text}");
        }
    }
}
