//! Reads odd money, wherever it stands: one list.

use sqlx::postgres::PgRow;
use sqlx::{PgPool, Postgres, QueryBuilder, Row};
use uuid::Uuid;
use wopay_domain::{AssetId, ChainName, PaymentId, Timestamp};

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
    /// Was held or unmatched and is a payment's by decision.
    Assigned,
    /// Was held or unmatched and was sent back, as somebody said.
    Refunded,
    /// Was unmatched or odd, and its block left the chain.
    Orphaned,
}

impl DepositState {
    /// Every state.
    pub const ALL: [Self; 7] =
        [Self::Held, Self::Unmatched, Self::Dust, Self::UnknownToken, Self::Assigned, Self::Refunded, Self::Orphaned];

    /// The name in the API and at the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Unmatched => "unmatched",
            Self::Dust => "dust",
            Self::UnknownToken => "unknown_token",
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
    /// Made from the deposit's key.
    pub id: Uuid,
    /// `<chain>:<transaction>:<leg>`, by which an operator names it.
    pub deposit: String,
    /// Where it stands.
    pub state: DepositState,
    /// Why it is held.
    pub hold_reason: Option<String>,
    /// Whether it is confirmed.
    pub is_confirmed: bool,
    /// The payment whose address received it, or that it was assigned to.
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
    /// Why it was decided so.
    pub decision_reason: Option<String>,
    /// The transaction that is said to have sent it back.
    pub decision_transaction: Option<String>,
    /// When it was decided.
    pub decided_at: Option<Timestamp>,
}

/// Where odd money is found. A deposit stands in one of the three: what the ledger was told of as nobody's, what a payment
/// holds, what the watchers keep. A deposit that was assigned is listed by the stream that decided.
const SOURCES: &str = "
    SELECT id, concat_ws(':', blockchain, transaction_hash, leg) AS deposit,
           CASE WHEN decision IS NOT NULL THEN decision
                WHEN status = 'orphaned' THEN 'orphaned'
                ELSE 'unmatched' END AS state,
           NULL::text AS hold_reason, status = 'recorded' AS is_confirmed, payment_id, blockchain, asset, amount_minor,
           from_address, to_address, block_number, block_time, decision_reason, decision_transaction, decided_at
    FROM unmatched_deposits
    UNION ALL
    SELECT id, concat_ws(':', blockchain, transaction_hash, leg),
           CASE WHEN decision IS NOT NULL THEN decision
                WHEN status = 'orphaned' THEN 'orphaned'
                ELSE 'held' END,
           hold_reason, status = 'confirmed', payment_id, blockchain, asset, amount_minor,
           from_address, to_address, block_number, block_time, decision_reason, decision_transaction, decided_at
    FROM blockchain_transactions
    WHERE (disposition = 'hold' OR decision IS NOT NULL)
      AND NOT EXISTS (SELECT FROM unmatched_deposits known WHERE known.id = blockchain_transactions.id)
    UNION ALL
    SELECT left(encode(sha256(convert_to(concat_ws(':', chain, tx_hash, leg), 'UTF8')), 'hex'), 32)::uuid,
           concat_ws(':', chain, tx_hash, leg),
           CASE WHEN stage = 'orphaned' THEN 'orphaned' ELSE kind END,
           NULL, stage = 'confirmed', payment_id, chain, asset, amount_minor,
           from_address, address, block_number, block_time, NULL, NULL, NULL
    FROM deposit_observations
    WHERE kind <> 'money'";

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
    query.push_bind(FOLLOWER).push("), 0) AS position) AS checkpoint LEFT JOIN LATERAL (SELECT odd.*, odd.amount_minor::text AS amount_text, assets.symbol, assets.decimals FROM (");
    query.push(SOURCES).push(") AS odd LEFT JOIN assets ON assets.asset = odd.asset WHERE true");
    if !filter.states.is_empty() {
        let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
        query.push(" AND odd.state = ANY(").push_bind(states).push(")");
    }
    if let Some(chain) = &filter.chain {
        query.push(" AND odd.blockchain = ").push_bind(chain.to_string());
    }
    if let Some(asset) = &filter.asset {
        query.push(" AND odd.asset = ").push_bind(asset.to_string());
    }
    if let Some(after) = after {
        query
            .push(" AND (odd.block_time, odd.id) < (")
            .push_bind(after.created_at)
            .push(", ")
            .push_bind(after.id)
            .push(")");
    }
    query.push(" ORDER BY odd.block_time DESC, odd.id DESC LIMIT ").push_bind(i64::from(limit).saturating_add(1));
    query.push(") AS odd ON true ORDER BY odd.block_time DESC, odd.id DESC");
    let rows = query.build().fetch_all(pool).await?;
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
        decision_reason: row.try_get("decision_reason")?,
        decision_transaction: row.try_get("decision_transaction")?,
        decided_at: row.try_get("decided_at")?,
    })
}

fn state(row: &PgRow) -> Result<DepositState, sqlx::Error> {
    let name: &str = row.try_get("state")?;
    DepositState::parse(name).ok_or_else(|| invalid("state", format!("{name:?} is no state")))
}

fn decimals(row: &PgRow) -> Result<Option<u8>, sqlx::Error> {
    let decimals: Option<i16> = row.try_get("decimals")?;
    decimals.map(u8::try_from).transpose().map_err(|error| invalid("decimals", error))
}
