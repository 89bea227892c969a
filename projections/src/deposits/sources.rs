//! Where odd money is found, and how a page of it is asked for without reading all of it.
//!
//! A deposit stands in one of three tables: what the ledger was told of as nobody's, what a payment has, what the watchers
//! keep. Each state in each table is a branch of its own: a condition that implies an index, in the order of that index,
//! cut to the page. So a page costs what it shows, however much odd money there is; a filter by chain or asset reads
//! what it leaves out.

use sqlx::{Postgres, QueryBuilder};

use super::query::{DepositFilter, DepositState};
use crate::page::Cursor;

/// A table, as the list shows it: columns and, where they differ, the names of what pages are ordered and filtered by.
struct Source {
    select: &'static str,
    id: &'static str,
    chain: &'static str,
    /// Whether the index knows the id: else it is of blocks only, and a page sorts those of one block.
    is_indexed_by_id: bool,
}

/// A state in a table, by a condition in which nothing is bound: the planner must see that an index covers it.
struct Branch {
    state: DepositState,
    source: &'static Source,
    condition: &'static str,
}

/// Those that were assigned are listed as their payment's, once that has them.
const UNMATCHED: Source = Source {
    select: "concat_ws(':', blockchain, transaction_hash, leg) AS deposit, NULL::text AS hold_reason,
             status = 'recorded' AS is_confirmed, payment_id, blockchain, asset, amount_minor, from_address, to_address,
             block_number, block_time, decision, decision_reason, decision_transaction, decided_at,
             NULL::uuid AS assigned_to FROM unmatched_deposits WHERE NOT is_counted AND ",
    id: "id",
    chain: "blockchain",
    is_indexed_by_id: true,
};

const PAYMENTS: Source = Source {
    select: "concat_ws(':', blockchain, transaction_hash, leg) AS deposit, hold_reason,
             status = 'confirmed' AS is_confirmed, payment_id, blockchain, asset, amount_minor, from_address, to_address,
             block_number, block_time, decision, decision_reason, decision_transaction, decided_at,
             assigned_to FROM blockchain_transactions WHERE ",
    id: "id",
    chain: "blockchain",
    is_indexed_by_id: true,
};

const WATCHED: Source = Source {
    select: "concat_ws(':', chain, tx_hash, leg) AS deposit, NULL::text AS hold_reason,
             stage = 'confirmed' AS is_confirmed, payment_id, chain AS blockchain, asset, amount_minor, from_address,
             address AS to_address, block_number, block_time, NULL::text AS decision, NULL::text AS decision_reason,
             NULL::text AS decision_transaction, NULL::timestamptz AS decided_at,
             NULL::uuid AS assigned_to FROM deposit_observations WHERE kind <> 'money' AND ",
    // That of the deposit, as if the ledger knew it.
    id: "left(encode(sha256(convert_to(concat_ws(':', chain, tx_hash, leg), 'UTF8')), 'hex'), 32)::uuid",
    chain: "chain",
    is_indexed_by_id: false,
};

/// Every row of odd money is in exactly one of these.
const BRANCHES: [Branch; 12] = [
    Branch {
        state: DepositState::Unmatched,
        source: &UNMATCHED,
        condition: "decision IS NULL AND status = 'recorded'",
    },
    Branch {
        state: DepositState::Assigning,
        source: &UNMATCHED,
        condition: "decision = 'assigned' AND status = 'recorded'",
    },
    Branch {
        state: DepositState::Refunded,
        source: &UNMATCHED,
        condition: "decision = 'refunded' AND status = 'recorded'",
    },
    Branch { state: DepositState::Orphaned, source: &UNMATCHED, condition: "status = 'orphaned'" },
    // What was assigned and stands in another asset since a reorganization counts no more.
    Branch {
        state: DepositState::Held,
        source: &PAYMENTS,
        condition: "disposition = 'hold' AND decision IS DISTINCT FROM 'refunded' AND assigned_to IS NULL AND status <> 'orphaned'",
    },
    // Held, and given to a payment that does not have it yet; once that has it, it is listed as that payment's.
    Branch {
        state: DepositState::Assigning,
        source: &PAYMENTS,
        condition: "assigned_to IS NOT NULL AND NOT is_counted",
    },
    Branch {
        state: DepositState::Assigned,
        source: &PAYMENTS,
        condition: "disposition = 'credit' AND decision = 'assigned' AND status <> 'orphaned'",
    },
    Branch {
        state: DepositState::Refunded,
        source: &PAYMENTS,
        condition: "decision = 'refunded' AND status <> 'orphaned'",
    },
    Branch {
        state: DepositState::Orphaned,
        source: &PAYMENTS,
        condition: "status = 'orphaned' AND (disposition = 'hold' OR decision IS NOT NULL) AND assigned_to IS NULL",
    },
    Branch { state: DepositState::Dust, source: &WATCHED, condition: "kind = 'dust' AND stage <> 'orphaned'" },
    Branch {
        state: DepositState::UnknownToken,
        source: &WATCHED,
        condition: "kind = 'unknown_token' AND stage <> 'orphaned'",
    },
    Branch { state: DepositState::Orphaned, source: &WATCHED, condition: "stage = 'orphaned'" },
];

/// Pushes the rows that `filter` lets through, after `after`, `limit` and no more of each branch, in any order.
pub(super) fn push(query: &mut QueryBuilder<'_, Postgres>, filter: &DepositFilter, after: Option<&Cursor>, limit: i64) {
    let mut between = "(";
    for branch in &BRANCHES {
        if filter.states.is_empty() || filter.states.contains(&branch.state) {
            query.push(between);
            push_branch(query, branch, filter, after);
            query.push(" LIMIT ").push_bind(limit);
            between = ") UNION ALL (";
        }
    }
    query.push(")");
}

fn push_branch(
    query: &mut QueryBuilder<'_, Postgres>,
    branch: &Branch,
    filter: &DepositFilter,
    after: Option<&Cursor>,
) {
    let Source { select, id, chain, is_indexed_by_id } = branch.source;
    query.push(format!("SELECT '{}' AS state, {id} AS id, {select}{}", branch.state.as_str(), branch.condition));
    if let Some(name) = &filter.chain {
        query.push(format!(" AND {chain} = ")).push_bind(name.to_string());
    }
    if let Some(asset) = &filter.asset {
        query.push(" AND asset = ").push_bind(asset.to_string());
    }
    if let Some(Cursor { created_at: block_time, id: after }) = after {
        if !is_indexed_by_id {
            query.push(" AND block_time <= ").push_bind(*block_time);
        }
        query.push(format!(" AND (block_time, {id}) < (")).push_bind(*block_time);
        query.push(", ").push_bind(*after).push(")");
    }
    query.push(" ORDER BY block_time DESC, id DESC");
}
