//! What nodes say, made fit to be shown.
//!
//! A node's own words stand in errors, and so in logs and in the health report. A gateway may echo what it was asked,
//! credentials and all; another may answer with a page of text. What is shown is short, on one line, and without the parts
//! of the endpoint's URL that may be secret.

use std::cmp::Reverse;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use url::{Url, form_urlencoded};

/// More of what a node says is not shown.
const CHARS_MAX: usize = 300;
/// Shorter parts of a URL are no secrets: they are versions and the names of chains.
const SECRET_BYTES_MIN: usize = 6;
/// Parts of a URL that are no secrets, and by which errors are told apart.
const NO_SECRETS: [&str; 3] = ["archive", "pruned", "pruning"];
/// Stands for what is left out.
const LEFT_OUT: &str = "…";

/// Knows what must not be shown of one endpoint.
pub(crate) struct Discretion(Vec<String>);

impl Discretion {
    pub(crate) fn of(url: &Url) -> Self {
        let people = [Some(url.username()), url.password()].into_iter().flatten();
        let segments = url.path_segments().into_iter().flatten();
        let values = url.query().into_iter().flat_map(|query| query.split('&'));
        let values = values.map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value));
        let parts = people.chain(segments).chain(values).flat_map(|part| [part.to_owned(), decoded(part)]);
        // As a header holds them.
        let (name, word) = (decoded(url.username()), decoded(url.password().unwrap_or_default()));
        let header = STANDARD.encode(format!("{name}:{word}"));
        let mut secrets: Vec<String> = parts
            .chain([header])
            .filter(|part| part.len() >= SECRET_BYTES_MIN && !NO_SECRETS.contains(&part.as_str()))
            .collect();
        // One may be a part of another.
        secrets.sort_by_key(|secret| Reverse(secret.len()));
        secrets.dedup();
        Self(secrets)
    }

    /// The text as it may be shown.
    pub(crate) fn clean(&self, text: &str) -> String {
        let mut text: String = text.chars().filter(|letter| !letter.is_control()).collect();
        for secret in &self.0 {
            text = text.replace(secret, LEFT_OUT);
        }
        if let Some((end, _)) = text.char_indices().nth(CHARS_MAX) {
            text.truncate(end);
            text.push_str(LEFT_OUT);
        }
        text
    }
}

impl std::fmt::Debug for Discretion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Without percent-encoding.
fn decoded(part: &str) -> String {
    // The first pair has no name, whatever stands in the part.
    let encoded = part.replace('&', "%26").replace('+', "%2B");
    form_urlencoded::parse(format!("={encoded}").as_bytes()).map(|(_, value)| value.into_owned()).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn clean(url: &str, text: &str) -> String {
        Discretion::of(&url.parse().unwrap()).clean(text)
    }

    #[test]
    fn what_a_url_keeps_secret_is_not_shown() {
        let url = "https://someone:pass%2Fword@node.example/v3/abcdef/abcdefgh?key=k1k2k3k4&abc=1&barekey";
        assert_eq!(clean(url, "no /v3/abcdef/abcdefgh here"), "no /v3/…/… here");
        assert_eq!(clean(url, "?key=k1k2k3k4&abc=1&barekey"), "?key=…&abc=1&…");
        assert_eq!(clean(url, "someone pass%2Fword pass/word"), "… … …");
        assert_eq!(clean(url, "Basic c29tZW9uZTpwYXNzL3dvcmQ="), "Basic …");
        assert_eq!(clean(url, "node.example said abc"), "node.example said abc");
        assert_eq!(clean("https://node.example/archive/", "ask an archive node"), "ask an archive node");
        assert_eq!(clean("https://node.example", "anything at all"), "anything at all");
    }

    #[test]
    fn what_is_long_or_would_move_the_cursor_is_cut() {
        let long = clean("https://node.example/secret", &"é".repeat(1_000_000));
        assert_eq!(long, format!("{}…", "é".repeat(300)));
        assert_eq!(clean("https://node.example/secret", "a\u{1b}[2J\nb\r\u{7}c se\u{0}cret"), "a[2Jbc …");
        let cut_within = format!("{}secret", "x".repeat(297));
        assert_eq!(clean("https://node.example/secret", &cut_within), format!("{}…", "x".repeat(297)));
    }
}
