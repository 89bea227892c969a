//! What is kept of a receiver's answer.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// The most bytes of an answer that are kept.
const EXCERPT_BYTES_MAX: usize = 1024;

/// The beginning of an answer.
#[derive(Debug, Default)]
pub(super) struct Excerpt(Vec<u8>);

impl Excerpt {
    pub(super) fn push(&mut self, chunk: &[u8]) {
        let room = EXCERPT_BYTES_MAX.saturating_sub(self.0.len());
        self.0.extend(chunk.iter().take(room));
    }

    /// Text that is safe to store and to show: what is not UTF-8 is replaced, control characters are left out except
    /// line ends and tabs.
    pub(super) fn into_text(self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        text.chars().filter(|char| !char.is_control() || matches!(char, '\n' | '\t')).collect()
    }
}

/// How long the receiver asks us to wait: seconds or an HTTP date. Nonsense is no wish.
pub(super) fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = DateTime::parse_from_rfc2822(value).ok()?;
    Some(date.signed_duration_since(now).to_std().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_short_and_printable() {
        let mut excerpt = Excerpt::default();
        excerpt.push(b"no\0 \x1b[31mcolour\xff\r\n");
        assert_eq!(excerpt.into_text(), "no [31mcolour\u{fffd}\n");
        let mut excerpt = Excerpt::default();
        for _ in 0..3 {
            excerpt.push(&[b'x'; 600]);
        }
        assert_eq!(excerpt.into_text().len(), EXCERPT_BYTES_MAX);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let read = |value: &str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]);
            retry_after(&headers, now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Thu, 01 Jan 2026 00:01:30 GMT"), Some(Duration::from_secs(90)));
        assert_eq!(read("Wed, 31 Dec 2025 00:00:00 GMT"), Some(Duration::ZERO));
        for nonsense in ["-1", "soon", "", "1.5", "99999999999999999999"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
