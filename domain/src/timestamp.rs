//! Reading times from JSON. Whoever replays a ledger reads several in each event, and the general parser of RFC 3339 is the
//! dearest part of that; what our own events hold is of one form, which is read by hand. Every other form goes the general
//! way, so what is accepted does not change.

use chrono::{NaiveDate, NaiveDateTime, NaiveTime};
use serde::Deserializer;

use crate::Timestamp;

/// For `#[serde(deserialize_with)]`: as [`Timestamp`]'s own, faster.
///
/// # Errors
/// When the text is no time.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    crate::text::deserialize_with(deserializer, |text| parse(text.as_bytes()).map_or_else(|| text.parse(), Ok))
}

/// `2026-11-23T18:00:00Z`, or with 1 to 9 digits of a second. `None`: not of this form, or no such time.
fn parse(text: &[u8]) -> Option<Timestamp> {
    let (whole, rest) = text.split_at_checked(19)?;
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, b'T', h1, h2, b':', n1, n2, b':', s1, s2] = whole else {
        return None;
    };
    let year = i32::try_from(number(&[*y1, *y2, *y3, *y4])?).ok()?;
    let date = NaiveDate::from_ymd_opt(year, number(&[*m1, *m2])?, number(&[*d1, *d2])?)?;
    let nanos = match rest {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] => fraction(digits)?,
        _ => return None,
    };
    // A leap second, 60, goes the general way.
    let time = NaiveTime::from_hms_nano_opt(number(&[*h1, *h2])?, number(&[*n1, *n2])?, number(&[*s1, *s2])?, nanos)?;
    Some(NaiveDateTime::new(date, time).and_utc())
}

/// Digits after the point, as nanoseconds.
fn fraction(digits: &[u8]) -> Option<u32> {
    if !(1..=9).contains(&digits.len()) {
        return None;
    }
    (digits.len()..9).try_fold(number(digits)?, |nanos, _| nanos.checked_mul(10))
}

/// At most nine digits.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u32::from(digit.wrapping_sub(b'0')))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_forms_go_the_general_way() {
        for text in ["2026-11-23T18:00:00+01:00", "2026-11-23T18:00:00.Z", "2026-11-23 18:00:00Z", "2026-11-23T18:00Z"]
        {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        for text in ["2026-02-30T00:00:00Z", "2026-01-01T24:00:00Z", "2026-01-01T00:00:0\u{665}Z", "", "Z"] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_general_parser_does(seconds in -62_135_596_800_i64..253_402_300_799, nanos in 0_u32..1_000_000_000) {
            let time = chrono::DateTime::from_timestamp(seconds, nanos).unwrap();
            let text = serde_json::to_string(&time).unwrap();
            let text = text.trim_matches('"');
            prop_assert_eq!(parse(text.as_bytes()), Some(time));
            prop_assert_eq!(text.parse::<Timestamp>().unwrap(), time);
        }

        #[test]
        fn never_otherwise_than_the_general_parser(text in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{1,10})?Z") {
            if let Some(time) = parse(text.as_bytes()) {
                prop_assert_eq!(text.parse::<Timestamp>().unwrap(), time);
            }
        }
    }
}
