//! `?format=` and `Accept`: whether an answer is JSON or CSV.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::HeaderMap;
use axum::http::header::ACCEPT;
use axum::http::request::Parts;

use super::query::Query;
use super::read;

/// The form of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object.
    Json,
    /// A table (RFC 4180) with a header line.
    Csv,
}

const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("csv", Format::Csv)];

/// What the header `Accept` prefers: CSV only when it is named and nothing else is liked better, else JSON.
pub(crate) struct Preferred(Format);

impl<S: Sync> FromRequestParts<S> for Preferred {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(preferred(&parts.headers)))
    }
}

impl Preferred {
    /// Takes the parameter `format`, which outweighs the header.
    pub(crate) fn take(self, query: &mut Query) -> Format {
        query.take("format", read::one_of(FORMATS)).unwrap_or(self.0)
    }
}

fn preferred(headers: &HeaderMap) -> Format {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let (mut csv, mut json) = (0, 0);
    for range in values.flat_map(|value| value.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let weight = parts.find_map(weight).unwrap_or(Some(WEIGHT_MAX)).unwrap_or(0);
        if name.eq_ignore_ascii_case("text/csv") {
            csv = csv.max(weight);
        } else if name.eq_ignore_ascii_case("application/json") {
            json = json.max(weight);
        }
    }
    if csv > json { Format::Csv } else { Format::Json }
}

const WEIGHT_MAX: u16 = 1_000;

/// `q=0.5` in thousandths; `None` if the parameter is another one, `Some(None)` if its value is no weight.
fn weight(parameter: &str) -> Option<Option<u16>> {
    let value = parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q="))?;
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let read = || {
        let digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
        let thousandths: u16 = format!("{fraction:0<3}").parse().ok().filter(|_| digits)?;
        let whole: u16 = whole.parse().ok().filter(|whole| *whole <= 1)?;
        Some((whole * WEIGHT_MAX + thousandths).min(WEIGHT_MAX))
    };
    Some(read())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderMap, HeaderValue, header::ACCEPT};

    use super::{Format, preferred};

    fn of(accept: &str) -> Format {
        preferred(&HeaderMap::from_iter([(ACCEPT, HeaderValue::from_bytes(accept.as_bytes()).unwrap())]))
    }

    #[test]
    fn csv_is_given_to_those_who_ask_for_it() {
        for accept in ["text/csv", "TEXT/CSV;q=0.2", "text/csv, */*;q=0.1", "application/json;q=0.5,text/csv;q=0.51"] {
            assert_eq!(of(accept), Format::Csv, "{accept}");
        }
        for accept in ["*/*", "", "application/json", "text/csv;q=0", "text/csv, application/json", "text/csv;q=x", "é"]
        {
            assert_eq!(of(accept), Format::Json, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Format::Json);
    }
}
