//! What a report is asked for.

use std::fmt;
use std::str::FromStr;

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;
use wopay_domain::{AssetId, ChainName, MerchantId, Timestamp};

use crate::as_of::{
    AsOfPoint, Moment, Period, QueryError, Scope, TimeAxis, askable, just_before, last_before, resolve,
};
use crate::page::CursorError;

/// How long a row's period is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granularity {
    /// From midnight, UTC.
    Day,
    /// From Monday's midnight, UTC.
    Week,
    /// From the first day's midnight, UTC.
    Month,
}

impl Granularity {
    /// `day`, `week` or `month`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// The granularity of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Day, Self::Week, Self::Month].into_iter().find(|granularity| granularity.as_str() == name)
    }
}

/// What a row is about. Always one asset, since amounts of two cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupBy {
    /// One merchant in one asset.
    Merchant,
    /// One asset, all merchants together; ordered by chain. An asset lives on one chain, so these are the rows of `Asset`.
    Chain,
    /// One asset, all merchants together.
    Asset,
}

impl GroupBy {
    /// `merchant`, `chain` or `asset`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Merchant => "merchant",
            Self::Chain => "chain",
            Self::Asset => "asset",
        }
    }

    /// The group of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Merchant, Self::Chain, Self::Asset].into_iter().find(|group| group.as_str() == name)
    }
}

/// What a report is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportRequest {
    /// Whose books.
    pub scope: Scope,
    /// From when until when, and by which clock rows are told apart.
    pub period: Period,
    /// How long a row's period is.
    pub granularity: Granularity,
    /// What a row is about.
    pub by: GroupBy,
    /// Only this merchant.
    pub merchant: Option<MerchantId>,
    /// Only this asset.
    pub asset: Option<AssetId>,
    /// Only assets on this chain.
    pub chain: Option<ChainName>,
    /// As of when. An effective time goes with a period of effective time only.
    pub as_of: AsOfPoint,
}

/// A place in a report: right after the row of this period, merchant and asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportCursor {
    pub(super) starts_at: Timestamp,
    pub(super) merchant: Option<MerchantId>,
    pub(super) asset: AssetId,
}

impl fmt::Display for ReportCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let merchant = self.merchant.map(|merchant| merchant.to_string()).unwrap_or_default();
        write!(f, "{:x}~{merchant}~{}", self.starts_at.timestamp_micros(), self.asset)
    }
}

impl FromStr for ReportCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, '~');
        let mut next = || parts.next().ok_or(CursorError);
        let micros = i64::from_str_radix(next()?, 16).map_err(|_| CursorError)?;
        // No report begins before 1970, and Postgres refuses much earlier times.
        let starts_at = Timestamp::from_timestamp_micros(micros).filter(|at| *at >= Timestamp::UNIX_EPOCH);
        let starts_at = starts_at.ok_or(CursorError)?;
        let merchant = match next()? {
            "" => None,
            merchant => Some(merchant.parse().map_err(|_| CursorError)?),
        };
        Ok(Self { starts_at, merchant, asset: next()?.parse().map_err(|_| CursorError)? })
    }
}

/// The bounds of a report: those of the clock that is not asked for are open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) as_of_position: i64,
    pub(super) after_position: i64,
    pub(super) last_position: i64,
    pub(super) effective_from: Timestamp,
    /// The last moment; `None`: open.
    pub(super) effective_last: Option<Timestamp>,
}

impl Bounds {
    pub(super) async fn of(pool: &PgPool, request: &ReportRequest) -> Result<Self, QueryError> {
        let Moment { position, effective } = resolve(pool, request.as_of).await?;
        let mut bounds = Self {
            as_of_position: position,
            after_position: 0,
            last_position: position,
            effective_from: Timestamp::UNIX_EPOCH,
            effective_last: effective,
        };
        let Period { axis, from, to } = request.period;
        match axis {
            TimeAxis::Recorded if effective.is_some() => return Err(QueryError::MixedAxes),
            TimeAxis::Recorded => {
                if let Some(from) = from {
                    bounds.after_position = last_before(pool, from).await?;
                }
                if let Some(to) = to {
                    bounds.last_position = last_before(pool, to).await?.min(position);
                }
            }
            TimeAxis::Effective => {
                bounds.effective_from = from.map_or(Timestamp::UNIX_EPOCH, askable);
                bounds.effective_last = to.map(just_before).into_iter().chain(effective).min();
            }
        }
        Ok(bounds)
    }
}

impl ReportRequest {
    /// Conditions on `balance`, each with `AND` before it: assets only.
    pub(super) fn push_assets(&self, query: &mut QueryBuilder<'_, Postgres>) {
        if let Some(asset) = &self.asset {
            query.push(" AND balance.asset = ").push_bind(asset.to_string());
        }
        if let Some(chain) = &self.chain {
            query.push(" AND split_part(balance.asset, '/', 1) = ").push_bind(chain.to_string());
        }
    }

    /// The merchants that a row may be about: all of these at once.
    pub(super) fn merchants(&self) -> impl Iterator<Item = MerchantId> {
        self.scope.merchant().into_iter().chain(self.merchant)
    }

    /// Pushes the end of a report whose rows are `report (starts_at, merchant, asset, …)`, `merchant` being a UUID: after
    /// `cursor`, in order, one more than `limit`.
    pub(super) fn push_page(query: &mut QueryBuilder<'_, Postgres>, cursor: Option<&ReportCursor>, limit: u16) {
        query.push(" LEFT JOIN assets ON assets.asset = report.asset");
        if let Some(ReportCursor { starts_at, merchant, asset }) = cursor {
            query.push(" WHERE (report.starts_at, report.merchant, report.asset) > (").push_bind(*starts_at);
            query.push(", ").push_bind(merchant.map_or(Uuid::nil(), |merchant| merchant.as_uuid()));
            query.push(", ").push_bind(asset.to_string()).push(" COLLATE \"C\")");
        }
        query.push(" ORDER BY report.starts_at, report.merchant, report.asset LIMIT ");
        query.push_bind(i64::from(limit).saturating_add(1));
    }
}

/// The nil UUID stands for all merchants together.
pub(super) fn merchant(row: &PgRow) -> Result<Option<MerchantId>, sqlx::Error> {
    let merchant: Uuid = row.try_get("merchant")?;
    Ok((!merchant.is_nil()).then(|| MerchantId::from_uuid(merchant)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test reports by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let starts_at = Timestamp::from_timestamp_micros(1_790_000_000_000_000).unwrap();
        for merchant in [None, Some(MerchantId::from_uuid(Uuid::from_u128(5)))] {
            let cursor = ReportCursor { starts_at, merchant, asset: "bsc/native".parse().unwrap() };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1", "1~", "1~x~bsc/native", "1~~", "z~~bsc/native", "-7000000000000000~~bsc/native"] {
            assert_eq!(text.parse::<ReportCursor>(), Err(CursorError), "{text}");
        }
    }

    #[test]
    fn names_read_back() {
        for granularity in [Granularity::Day, Granularity::Week, Granularity::Month] {
            assert_eq!(Granularity::parse(granularity.as_str()), Some(granularity));
        }
        for group in [GroupBy::Merchant, GroupBy::Chain, GroupBy::Asset] {
            assert_eq!(GroupBy::parse(group.as_str()), Some(group));
        }
    }
}
