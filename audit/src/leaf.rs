//! What the log says of an event: one line of JSON, whose hash is a leaf of the tree.
//!
//! The line is made of what Postgres holds, byte for byte, so that it can be made again by anybody who has the row, and
//! checked with nothing but SHA-256: the leaf is `SHA256(0x00 || line)`. It must never change.

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tlog_tiles::Hash;
use wopay_eventbus::log::EventRef;

const MICROS_A_SECOND: i64 = 1_000_000;
const SECONDS_A_DAY: i64 = 86_400;
/// What RFC 6962 puts before a leaf.
const LEAF_PREFIX: u8 = 0;

/// The line of an event, without a line break:
/// `{"position":1,"aggregate_type":"…","aggregate_id":"…","sequence":1,"event_type":"…","event_version":"…","payload":…,"metadata":…,"recorded_at":"2026-11-23T18:00:00.123456Z"}`.
#[must_use]
pub fn line(event: &EventRef<'_>) -> Vec<u8> {
    let mut line = Vec::new();
    write_line(&mut line, event);
    line
}

/// The hash of an event's line in the tree.
#[must_use]
pub fn hash(event: &EventRef<'_>) -> Hash {
    hash_in(&mut Vec::new(), event)
}

/// [`hash`], with a buffer to use again.
pub(crate) fn hash_in(buffer: &mut Vec<u8>, event: &EventRef<'_>) -> Hash {
    buffer.clear();
    buffer.push(LEAF_PREFIX);
    write_line(buffer, event);
    Hash(Sha256::digest(buffer).into())
}

/// The hash of a line that is there already.
#[must_use]
pub fn record(line: &[u8]) -> Hash {
    tlog_tiles::record_hash(line)
}

/// [`line()`], appended to a buffer.
pub fn write_line(line: &mut Vec<u8>, event: &EventRef<'_>) {
    line.reserve(event.payload.len() + event.metadata.len() + 320);
    line.extend_from_slice(b"{\"position\":");
    write_integer(line, event.position);
    line.extend_from_slice(b",\"aggregate_type\":");
    write_text(line, event.aggregate_type);
    line.extend_from_slice(b",\"aggregate_id\":");
    write_text(line, event.aggregate_id);
    line.extend_from_slice(b",\"sequence\":");
    write_integer(line, event.sequence);
    line.extend_from_slice(b",\"event_type\":");
    write_text(line, event.event_type);
    line.extend_from_slice(b",\"event_version\":");
    write_text(line, event.event_version);
    line.extend_from_slice(b",\"payload\":");
    line.extend_from_slice(event.payload.as_bytes());
    line.extend_from_slice(b",\"metadata\":");
    line.extend_from_slice(event.metadata.as_bytes());
    line.extend_from_slice(b",\"recorded_at\":\"");
    write_time(line, event.recorded_at_micros);
    line.extend_from_slice(b"\"}");
}

fn write_integer(line: &mut Vec<u8>, value: i64) {
    if value < 0 {
        line.push(b'-');
    }
    let mut digits = [0; 20];
    let mut rest = value.unsigned_abs();
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = digit(rest % 10);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    line.extend_from_slice(&digits[first..]);
}

fn digit(value: u64) -> u8 {
    b"0123456789"[usize::try_from(value % 10).unwrap_or(0)]
}

/// A JSON string. What our own names and ids are made of needs no escape.
fn write_text(line: &mut Vec<u8>, text: &str) {
    line.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            0..0x20 => line.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => line.push(byte),
        }
    }
    line.push(b'"');
}

/// RFC 3339 in UTC with six digits of fraction.
fn write_time(line: &mut Vec<u8>, micros: i64) {
    let seconds = micros.div_euclid(MICROS_A_SECOND);
    let day = seconds.div_euclid(SECONDS_A_DAY);
    let Some((year, month, day_of_month)) = date(day) else {
        // Before year 0 or after 9999: nothing we recorded. As far as chrono can go.
        let beyond = if micros < 0 { DateTime::<Utc>::MIN_UTC } else { DateTime::<Utc>::MAX_UTC };
        let time = DateTime::from_timestamp_micros(micros).unwrap_or(beyond);
        line.extend_from_slice(time.format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string().as_bytes());
        return;
    };
    let second = seconds.rem_euclid(SECONDS_A_DAY);
    write_padded::<4>(line, year);
    line.push(b'-');
    write_padded::<2>(line, month);
    line.push(b'-');
    write_padded::<2>(line, day_of_month);
    line.push(b'T');
    write_padded::<2>(line, second / 3_600);
    line.push(b':');
    write_padded::<2>(line, second / 60 % 60);
    line.push(b':');
    write_padded::<2>(line, second % 60);
    line.push(b'.');
    write_padded::<6>(line, micros.rem_euclid(MICROS_A_SECOND));
    line.push(b'Z');
}

fn write_padded<const WIDTH: usize>(line: &mut Vec<u8>, value: i64) {
    let mut digits = [b'0'; WIDTH];
    let mut rest = value.unsigned_abs();
    for place in digits.iter_mut().rev() {
        *place = digit(rest % 10);
        rest /= 10;
    }
    line.extend_from_slice(&digits);
}

/// Year, month and day of a day counted from 1970-01-01, for years 0 to 9999. Counts years from March, so that the leap
/// day is the last of its year and months fall into a pattern of five: 153 days.
fn date(day: i64) -> Option<(i64, i64, i64)> {
    const DAYS_400_YEARS: i64 = 146_097;
    const DAYS_FROM_MARCH_OF_YEAR_0: i64 = 719_468;
    if !(-719_000..2_932_896).contains(&day) {
        return None;
    }
    let day = day + DAYS_FROM_MARCH_OF_YEAR_0;
    let era = day.div_euclid(DAYS_400_YEARS);
    let day_of_era = day.rem_euclid(DAYS_400_YEARS);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day_of_month = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    Some((year, month, day_of_month))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test reports by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn event() -> EventRef<'static> {
        EventRef {
            position: 1,
            aggregate_type: "payment",
            aggregate_id: "0198-a",
            sequence: 2,
            event_type: "PaymentCreated",
            event_version: "1.1",
            payload: "{ \"a\" : 1.0 }",
            metadata: "{\"actor\":\"operator\"}",
            recorded_at_micros: 1_795_456_800_123_456,
        }
    }

    #[test]
    fn the_line_is_fixed_for_ever() {
        let expected = "{\"position\":1,\"aggregate_type\":\"payment\",\"aggregate_id\":\"0198-a\",\"sequence\":2,\
                        \"event_type\":\"PaymentCreated\",\"event_version\":\"1.1\",\"payload\":{ \"a\" : 1.0 },\
                        \"metadata\":{\"actor\":\"operator\"},\"recorded_at\":\"2026-11-23T18:00:00.123456Z\"}";
        assert_eq!(String::from_utf8(line(&event())).unwrap(), expected);
        let with_prefix = [b"\0", expected.as_bytes()].concat();
        assert_eq!(hash(&event()).0.as_slice(), Sha256::digest(with_prefix).as_slice());
    }

    #[test]
    fn odd_names_and_times_stay_json_and_apart() {
        let odd = EventRef { aggregate_id: "a\"\\\n", recorded_at_micros: i64::MAX, ..event() };
        let read: serde_json::Value = serde_json::from_slice(&line(&odd)).unwrap();
        assert_eq!(read["aggregate_id"], "a\"\\\n");
        let early = EventRef { recorded_at_micros: i64::MIN, ..event() };
        assert_ne!(line(&odd), line(&early));
    }

    proptest! {
        #[test]
        fn times_are_written_as_chrono_writes_them(micros in -62_000_000_000_000_000_i64..253_402_300_800_000_000) {
            let mut ours = Vec::new();
            write_time(&mut ours, micros);
            let theirs = DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            prop_assert_eq!(String::from_utf8(ours).unwrap(), theirs);
        }

        #[test]
        fn integers_are_written_as_the_library_writes_them(value in any::<i64>()) {
            let mut ours = Vec::new();
            write_integer(&mut ours, value);
            prop_assert_eq!(String::from_utf8(ours).unwrap(), value.to_string());
        }
    }
}
