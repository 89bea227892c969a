//! Reads odd money, wherever it stands: one list.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;
use wopay_domain::{AssetId, ChainName, PaymentId, Timestamp};

use super::sources;
use crate::decode::{invalid, parsed, total};
use crate::handler::FOLLOWER;
use crate::minor::MinorTotal;
use crate::page::{AsOf, Cursor, Page, as_of, page};

/// Where odd money stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DepositState {
    /// At a payment's address and not counted (late, cancelled, of another asset): somebody must decide.
    Held,
    /// At an address that no payment claimed: somebody must decide.
    Unmatched,
    /// Less than what counts of its asset. In no book.
    Dust,
    /// Of a contract or mint that is not configured. In no book.
    UnknownToken,
    /// Was held or unmatched and is to be another payment's by decision, which that payment's own stream does not say yet.
    /// Not counted; the same decision again completes it.
    Assigning,
    /// Was held or unmatched and is a payment's by decision, which counts it.
    Assigned,
    /// Was held or unmatched and was sent back, as somebody said.
    Refunded,
    /// Its block left the chain, whatever was decided before ([`OddDeposit::decision`]).
    Orphaned,
}

impl DepositState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Held,
        Self::Unmatched,
        Self::Dust,
        Self::UnknownToken,
        Self::Assigning,
        Self::Assigned,
        Self::Refunded,
        Self::Orphaned,
    ];

    /// The name in the API and at the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Unmatched => "unmatched",
            Self::Dust => "dust",
            Self::UnknownToken => "unknown_token",
            Self::Assigning => "assigning",
            Self::Assigned => "assigned",
            Self::Refunded => "refunded",
            Self::Orphaned => "orphaned",
        }
    }

    /// The state of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

/// What somebody decided about odd money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is a payment's.
    Assigned,
    /// It was sent back, as somebody said.
    Refunded,
}

impl Decision {
    /// The name in the API and at the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Assigned => "assigned",
            Self::Refunded => "refunded",
        }
    }
}

/// Which odd money to list; empty means all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DepositFilter {
    /// Only what stands in one of these states; none: in any.
    pub states: Vec<DepositState>,
    /// Only on this chain.
    pub chain: Option<ChainName>,
    /// Only of this asset.
    pub asset: Option<AssetId>,
}

/// Odd money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OddDeposit {
    /// Made from the deposit's key, and from the payment that has it, if one has.
    pub id: Uuid,
    /// `<chain>:<transaction>:<leg>`, by which an operator names it.
    pub deposit: String,
    /// Where it stands.
    pub state: DepositState,
    /// Why it is held.
    pub hold_reason: Option<String>,
    /// Whether it is confirmed.
    pub is_confirmed: bool,
    /// The payment whose address received it, or that it was assigned to. After a reorganization there may be two rows of
    /// a deposit: where it was, orphaned, and where it is.
    pub payment_id: Option<PaymentId>,
    /// What.
    pub asset: AssetId,
    /// How much, in minor units.
    pub amount: MinorTotal,
    /// The asset's symbol; `None` if no payment ever asked for it.
    pub symbol: Option<String>,
    /// Its digits after the point; `None` likewise.
    pub decimals: Option<u8>,
    /// The sender, where the chain names one.
    pub from_address: Option<String>,
    /// Our address.
    pub to_address: String,
    /// The block's height or slot.
    pub block_number: Option<i64>,
    /// The block's time.
    pub block_time: Timestamp,
    /// What was decided. It stays when the deposit's block leaves the chain.
    pub decision: Option<Decision>,
    /// Why it was decided so.
    pub decision_reason: Option<String>,
    /// The transaction that is said to have sent it back.
    pub decision_transaction: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
    /// Of one that `payment_id` holds and that is being assigned to another payment: that payment.
    pub assigned_to: Option<PaymentId>,
}

/// Odd money, newest block first. What the watchers keep is as it is now; the rest belongs to `as_of_position`.
///
/// # Errors
/// When the database cannot be asked.
pub async fn list(
    pool: &PgPool,
    filter: &DepositFilter,
    after: Option<&Cursor>,
    limit: u16,
) -> Result<Page<OddDeposit>, sqlx::Error> {
    let mut query: QueryBuilder<'_, Postgres> = QueryBuilder::new(
        "SELECT checkpoint.position AS as_of_position, odd.*
         FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = ",
    );
    query.push_bind(FOLLOWER).push(
        "), 0) AS position) AS checkpoint
         LEFT JOIN LATERAL (
             SELECT odd.*, odd.amount_minor::text AS amount_text, assets.symbol, assets.decimals
             FROM (",
    );
    let rows_max = i64::from(limit).saturating_add(1);
    sources::push(&mut query, filter, after, rows_max);
    query
        .push(") AS odd LEFT JOIN assets ON assets.asset = odd.asset ORDER BY odd.block_time DESC, odd.id DESC LIMIT ");
    query.push_bind(rows_max).push(") AS odd ON true ORDER BY odd.block_time DESC, odd.id DESC");
    // Planned anew each time: a plan for any limit reads whole tables.
    let rows = query.build().persistent(false).fetch_all(pool).await?;
    let answer = as_of(&rows, "id", odd)?;
    Ok(page(answer, limit, |deposit| Cursor { created_at: deposit.block_time, id: deposit.id }))
}

/// How much dust, or unknown money, there is of an asset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DustSum {
    /// What it is.
    pub state: DepositState,
    /// Of what.
    pub asset: AssetId,
    /// The asset's symbol; `None` if no payment ever asked for it.
    pub symbol: Option<String>,
    /// Its digits after the point; `None` likewise.
    pub decimals: Option<u8>,
    /// Deposits.
    pub count: i64,
    /// Their sum, in minor units.
    pub amount: MinorTotal,
}

/// The sums of what stands in no book: dust, and tokens that are not configured.
///
/// # Errors
/// When the database cannot be asked.
pub async fn dust(pool: &PgPool) -> Result<AsOf<Vec<DustSum>>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT checkpoint.position AS as_of_position, sums.*
         FROM (SELECT COALESCE((SELECT position FROM follower_checkpoints WHERE name = $1), 0) AS position) AS checkpoint
         LEFT JOIN LATERAL (
             SELECT kind AS state, odd.asset, assets.symbol, assets.decimals, count(*) AS count,
                    sum(amount_minor)::text AS amount_minor
             FROM deposit_observations odd
             LEFT JOIN assets ON assets.asset = odd.asset
             WHERE kind <> 'money' AND stage <> 'orphaned'
             GROUP BY kind, odd.asset, assets.symbol, assets.decimals
         ) AS sums ON true
         ORDER BY sums.state, sums.asset",
    )
    .bind(FOLLOWER)
    .fetch_all(pool)
    .await?;
    as_of(&rows, "state", |row| {
        Ok(DustSum {
            state: state(row)?,
            asset: parsed(row, "asset")?,
            symbol: row.try_get("symbol")?,
            decimals: decimals(row)?,
            count: row.try_get("count")?,
            amount: total(row, "amount_minor")?,
        })
    })
}

fn odd(row: &PgRow) -> Result<OddDeposit, sqlx::Error> {
    Ok(OddDeposit {
        id: row.try_get("id")?,
        deposit: row.try_get("deposit")?,
        state: state(row)?,
        hold_reason: row.try_get("hold_reason")?,
        is_confirmed: row.try_get("is_confirmed")?,
        payment_id: row.try_get::<Option<Uuid>, _>("payment_id")?.map(PaymentId::from_uuid),
        asset: parsed(row, "asset")?,
        amount: total(row, "amount_text")?,
        symbol: row.try_get("symbol")?,
        decimals: decimals(row)?,
        from_address: row.try_get("from_address")?,
        to_address: row.try_get("to_address")?,
        block_number: row.try_get("block_number")?,
        block_time: row.try_get("block_time")?,
        decision: decision(row)?,
        decision_reason: row.try_get("decision_reason")?,
        decision_transaction: row.try_get("decision_transaction")?,
        decided_at: row.try_get("decided_at")?,
        assigned_to: row.try_get::<Option<Uuid>, _>("assigned_to")?.map(PaymentId::from_uuid),
    })
}

fn state(row: &PgRow) -> Result<DepositState, sqlx::Error> {
    let name: &str = row.try_get("state")?;
    DepositState::parse(name).ok_or_else(|| invalid("state", format!("{name:?} is no state")))
}

fn decision(row: &PgRow) -> Result<Option<Decision>, sqlx::Error> {
    let Some(name) = row.try_get::<Option<&str>, _>("decision")? else { return Ok(None) };
    let decision = [Decision::Assigned, Decision::Refunded].into_iter().find(|decision| decision.as_str() == name);
    decision.map(Some).ok_or_else(|| invalid("decision", format!("{name:?} is no decision")))
}

fn decimals(row: &PgRow) -> Result<Option<u8>, sqlx::Error> {
    let decimals: Option<i16> = row.try_get("decimals")?;
    decimals.map(u8::try_from).transpose().map_err(|error| invalid("decimals", error))
}
