//! SQL: what following a chain by addresses needs.

use std::collections::{BTreeMap, HashMap};

use sqlx::{PgConnection, PgPool};
use wopay_domain::{ChainFamily, ChainName, Timestamp};

use super::store::{StoreError, to_sql};

/// An address that a payment claims.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub(super) struct Watched {
    pub(super) address: String,
    /// Its payment waits for money, or is so new that the read model does not show it yet.
    pub(super) is_open: bool,
}

/// The accounts of an address, each with the transaction up to which its history is known.
pub(super) type Accounts = BTreeMap<String, Option<String>>;

/// The addresses of payments that are open, or were opened since that moment, the newest first.
pub(super) async fn watched(
    pool: &PgPool,
    family: ChainFamily,
    opened_since: Timestamp,
) -> Result<Vec<Watched>, StoreError> {
    let watched = sqlx::query_as(
        "SELECT c.key AS address, COALESCE(p.status IN ('pending', 'partially_paid'), true) AS is_open
         FROM claims c
         LEFT JOIN payments p ON p.id = c.aggregate_id::uuid
         WHERE c.kind = $1
           AND (c.aggregate_id COLLATE \"C\" >= $2 OR p.status IN ('pending', 'partially_paid'))
         ORDER BY c.aggregate_id COLLATE \"C\" DESC",
    )
    .bind(format!("deposit:{family}"))
    .bind(first_id_at(opened_since))
    .fetch_all(pool)
    .await?;
    Ok(watched)
}

/// What the ids of payments (UUID v7) that are opened from that moment on are not below, as text.
pub(super) fn first_id_at(moment: Timestamp) -> String {
    let millis = u64::try_from(moment.timestamp_millis()).unwrap_or_default();
    format!("{:08x}-{:04x}", millis >> 16, millis & 0xffff)
}

/// The accounts known so far of each of these addresses.
pub(super) async fn accounts(
    pool: &PgPool,
    chain: &ChainName,
    addresses: &[&str],
) -> Result<HashMap<String, Accounts>, StoreError> {
    let rows: Vec<(String, String, Option<String>)> = sqlx::query_as(
        "SELECT address, account, until_transaction FROM watched_accounts WHERE chain = $1 AND address = ANY($2)",
    )
    .bind(chain.as_str())
    .bind(addresses)
    .fetch_all(pool)
    .await?;
    let mut known: HashMap<String, Accounts> = HashMap::new();
    for (address, account, until) in rows {
        known.entry(address).or_default().insert(account, until);
    }
    Ok(known)
}

/// Notes the accounts of an address.
pub(super) async fn keep_accounts(
    conn: &mut PgConnection,
    chain: &ChainName,
    address: &str,
    accounts: &Accounts,
) -> Result<(), StoreError> {
    let (accounts, until): (Vec<&str>, Vec<Option<&str>>) =
        accounts.iter().map(|(account, until)| (account.as_str(), until.as_deref())).unzip();
    sqlx::query(
        "INSERT INTO watched_accounts AS w (chain, address, account, until_transaction)
         SELECT $1, $2, * FROM unnest($3::text[], $4::text[])
         ON CONFLICT (chain, address, account) DO UPDATE
         SET until_transaction = EXCLUDED.until_transaction
         WHERE w.until_transaction IS DISTINCT FROM EXCLUDED.until_transaction",
    )
    .bind(chain.as_str())
    .bind(address)
    .bind(accounts)
    .bind(until)
    .execute(conn)
    .await?;
    Ok(())
}

/// Forgets the processed blocks below that height. Those of a chain that is followed by addresses do not stand on each
/// other, and are final.
pub(super) async fn delete_blocks_below(
    conn: &mut PgConnection,
    chain: &ChainName,
    height: u64,
) -> Result<(), StoreError> {
    sqlx::query("DELETE FROM chain_blocks WHERE chain = $1 AND height < $2")
        .bind(chain.as_str())
        .bind(to_sql(height))
        .execute(conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::{NoContext, Uuid};

    use super::*;

    #[test]
    fn ids_of_payments_lie_on_the_right_side_of_their_moment() {
        let at = |seconds, nanos| Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos)).to_string();
        let moment = Timestamp::from_timestamp(1_700_000_000, 500_000_000).unwrap();
        let first = first_id_at(moment);
        assert!(at(1_700_000_000, 500_000_000) > first && at(1_700_000_000, 501_000_000) > first);
        assert!(at(1_700_000_000, 499_000_000) < first);
    }
}
