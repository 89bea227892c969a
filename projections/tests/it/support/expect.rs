//! What the read side must show, computed from the aggregates alone.

use sqlx::PgPool;
use wopay_domain::deposit::Outcome;
use wopay_domain::payment::{Deposit, DepositDecision, DepositState, Disposition, PaymentState};
use wopay_domain::{AssetId, DepositKey, MerchantId, PaymentId};
use wopay_projections::deposits::DepositFilter;
use wopay_projections::{AsOfPoint, balances, deposits, journal, merchants, payments, transactions};

use super::ledger::Book;

/// Asserts that every query shows what the aggregates hold.
pub(crate) async fn assert_projected(pool: &PgPool, book: &Book) {
    let opened: Vec<&PaymentState> = book.payments.values().filter_map(|(payment, _)| payment.state()).collect();
    for payment in &opened {
        assert_payment(pool, payment).await;
        assert_deposits(pool, book, payment).await;
    }
    for (id, (merchant, _)) in &book.merchants {
        assert_merchant(pool, merchant.state().unwrap()).await;
        let own = opened.iter().copied().filter(|payment| payment.merchant_id == *id);
        assert_balances(pool, *id, &own.collect::<Vec<_>>()).await;
    }
    assert_books_balance(pool).await;
    assert_odd(pool, book, &opened).await;
}

async fn assert_payment(pool: &PgPool, payment: &PaymentState) {
    let row = payments::find(pool, payment.merchant_id, payment.id).await.unwrap().unwrap();
    let totals = payment.totals().unwrap();
    assert_eq!(row.status, payment.status);
    assert_eq!(row.flags, payment.flags);
    assert_eq!(row.amount, payment.terms.amount);
    assert_eq!(row.asset, payment.terms.asset);
    assert_eq!(row.chain, payment.terms.chain);
    assert_eq!(row.amount_received, totals.received);
    assert_eq!(row.amount_confirmed, totals.confirmed);
    assert_eq!(row.amount_refunded, totals.refunded);
    assert_eq!(row.order_id, payment.order_id);
    assert_eq!(row.payment_address, payment.terms.address);
    assert_eq!(row.callback_url, payment.terms.callback_url);
    assert_eq!(row.required_confirmations, payment.terms.policy.required_confirmations);
    assert_eq!((row.expires_at, row.created_at), (payment.terms.expires_at, payment.created_at));
    assert_eq!(row.updated_at, payment.updated_at);
}

async fn assert_deposits(pool: &PgPool, book: &Book, payment: &PaymentState) {
    let rows = transactions::of_payment(pool, payment.merchant_id, payment.id).await.unwrap();
    assert_eq!(rows.len(), payment.deposits.len());
    for (key, deposit) in &payment.deposits {
        let row =
            rows.iter().find(|row| format!("{}:{}:{}", row.chain, row.transaction_hash, row.leg) == key.to_string());
        let row = row.unwrap_or_else(|| panic!("no row for {key}"));
        assert_eq!(row.status, deposit.state, "{key}");
        assert_eq!(row.amount, deposit.amount, "{key}");
        assert_eq!(row.disposition, deposit.disposition, "{key}");
        assert_eq!((row.block_number, &row.block_hash), (Some(deposit.block.number), &deposit.block.hash), "{key}");
        assert_eq!(row.block_time, deposit.block.time, "{key}");
        assert_eq!(row.from_address, deposit.from, "{key}");
        let elsewhere = book.given.get(&(payment.id, key.clone())).and_then(Option::as_ref);
        assert_eq!(&row.to_address, elsewhere.unwrap_or(&payment.terms.address), "{key}");
        assert_eq!(row.created_at, deposit.detected_at, "{key}");
        let assigned_to = match &deposit.decision {
            Some(DepositDecision::Reassigned { payment_id, .. }) => Some(*payment_id),
            Some(DepositDecision::Assigned { .. } | DepositDecision::Refunded { .. }) | None => None,
        };
        assert_eq!(row.assigned_to, assigned_to, "{key}");
    }
}

/// A deposit in the list of odd money: its key, its state, what was decided, and whose it is.
type Odd = (String, &'static str, Option<&'static str>, Option<PaymentId>);

/// Every piece of odd money once, in pages, and in its state.
async fn assert_odd(pool: &PgPool, book: &Book, opened: &[&PaymentState]) {
    let mut expected: Vec<Odd> = Vec::new();
    for payment in opened {
        let deposits = payment.deposits.iter();
        let odd = deposits.filter(|(_, it)| it.disposition != Disposition::Credit || it.decision.is_some());
        expected.extend(odd.filter_map(|(key, it)| odd_of_payment(book, payment.id, key, it)));
    }
    for state in book.deposits.values().filter_map(|(deposit, _)| deposit.state()) {
        let (decided, name) = match &state.outcome {
            None => (None, "unmatched"),
            Some(Outcome::Assigned { .. }) => (Some("assigned"), "assigning"),
            Some(Outcome::Refunded { .. }) => (Some("refunded"), "refunded"),
        };
        let payment = state.assigned_to();
        if payment.is_none_or(|payment| !book.given.contains_key(&(payment, state.deposit.clone()))) {
            let name = if state.is_live { name } else { "orphaned" };
            expected.push((state.deposit.to_string(), name, decided, payment));
        }
    }
    expected.sort();
    assert_eq!(listed(pool, DepositFilter::default()).await, expected);
    for state in deposits::DepositState::ALL {
        let of_state: Vec<Odd> = expected.iter().filter(|odd| odd.1 == state.as_str()).cloned().collect();
        assert_eq!(listed(pool, DepositFilter { states: vec![state], ..DepositFilter::default() }).await, of_state);
    }
}

/// `None`: it is listed as another payment's.
fn odd_of_payment(book: &Book, payment: PaymentId, key: &DepositKey, deposit: &Deposit) -> Option<Odd> {
    let decided = deposit.decision.as_ref().map(|decision| match decision {
        DepositDecision::Assigned { .. } | DepositDecision::Reassigned { .. } => "assigned",
        DepositDecision::Refunded { .. } => "refunded",
    });
    if let Some(DepositDecision::Reassigned { payment_id, .. }) = &deposit.decision {
        let has_it = book.given.contains_key(&(*payment_id, key.clone()));
        return (!has_it).then(|| (key.to_string(), "assigning", decided, Some(payment)));
    }
    let name = match (deposit.state, decided, deposit.disposition) {
        (DepositState::Orphaned, ..) => "orphaned",
        (_, Some("refunded"), _) => "refunded",
        (_, _, Disposition::Hold(_)) => "held",
        (_, _, Disposition::Credit) => "assigned",
    };
    Some((key.to_string(), name, decided, Some(payment)))
}

/// All pages, in another order than the list's, which is by block.
async fn listed(pool: &PgPool, filter: DepositFilter) -> Vec<Odd> {
    let (mut items, mut after) = (Vec::new(), None);
    loop {
        let page = deposits::list(pool, &filter, after.as_ref(), 3).await.unwrap();
        items.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert!(items.is_sorted_by_key(|it| std::cmp::Reverse((it.block_time, it.id))));
    let odd = items
        .iter()
        .map(|it| (it.deposit.clone(), it.state.as_str(), it.decision.map(deposits::Decision::as_str), it.payment_id));
    let mut odd: Vec<Odd> = odd.collect();
    odd.sort();
    odd
}

async fn assert_merchant(pool: &PgPool, merchant: &wopay_domain::merchant::MerchantState) {
    let row = merchants::find(pool, merchant.id).await.unwrap().unwrap();
    assert_eq!(row.name, merchants::FORGOTTEN);
    assert_eq!(row.email, None);
    assert_eq!(row.suspended, merchant.suspended.is_some());
    assert_eq!(row.webhook_url, merchant.webhook.as_ref().and_then(|webhook| webhook.url.clone()));
    let live = merchant.api_keys.values().filter(|key| key.revoked_at.is_none());
    let newest = live.max_by_key(|key| key.issued_at);
    assert_eq!(row.api_key_prefix, newest.map(|key| key.prefix.clone()));
    assert_eq!(row.api_secret, newest.map(|key| key.secret));
}

async fn assert_balances(pool: &PgPool, merchant: MerchantId, own: &[&PaymentState]) {
    let credited = |state: DepositState| {
        let deposits = own.iter().flat_map(|payment| payment.deposits.values());
        let counting =
            deposits.filter(move |deposit| deposit.state == state && deposit.disposition == Disposition::Credit);
        counting.collect::<Vec<&Deposit>>()
    };
    let balances = balances::of_merchant(pool, merchant).await.unwrap().value;
    let mut assets: Vec<&AssetId> = balances.iter().map(|row| &row.asset).collect();
    assets.extend(credited(DepositState::Seen).iter().map(|deposit| deposit.amount.asset()));
    assets.extend(credited(DepositState::Confirmed).iter().map(|deposit| deposit.amount.asset()));
    for asset in assets {
        let row = balances.iter().find(|row| row.asset == *asset).unwrap();
        let mut available = amounts(asset, &credited(DepositState::Confirmed));
        let refunds = own.iter().flat_map(|payment| payment.refunds.values()).filter(|refund| refund.is_live());
        let refunds = refunds.filter(|refund| refund.amount.asset() == asset);
        available.extend(refunds.map(|refund| format!("-{}", refund.amount.minor())));
        assert_eq!(row.available.to_string(), sum(pool, available).await);
        assert_eq!(row.pending.to_string(), sum(pool, amounts(asset, &credited(DepositState::Seen))).await);
    }
}

fn amounts(asset: &AssetId, deposits: &[&Deposit]) -> Vec<String> {
    let amounts = deposits.iter().filter(|deposit| deposit.amount.asset() == asset);
    amounts.map(|deposit| deposit.amount.minor().to_string()).collect()
}

/// In Postgres: wider than any integer here.
async fn sum(pool: &PgPool, amounts: Vec<String>) -> String {
    sqlx::query_scalar("SELECT COALESCE(sum(minor::numeric), 0)::text FROM unnest($1::text[]) AS minor")
        .bind(amounts)
        .fetch_one(pool)
        .await
        .unwrap()
}

async fn assert_books_balance(pool: &PgPool) {
    for books in journal::trial_balance(pool, AsOfPoint::NOW).await.unwrap().value {
        assert!(books.is_balanced(), "{books:?}");
    }
    let wrong: Vec<String> = sqlx::query_scalar(
        "SELECT account || ' ' || asset
         FROM account_balances AS balance
         FULL JOIN (
             SELECT balance_id AS id,
                    COALESCE(sum(amount_minor) FILTER (WHERE layer = 'posted' AND side = 'debit'), 0) AS debit,
                    COALESCE(sum(amount_minor) FILTER (WHERE layer = 'posted' AND side = 'credit'), 0) AS credit
             FROM ledger_postings GROUP BY balance_id
         ) AS journal USING (id)
         WHERE (posted_debit_minor, posted_credit_minor) IS DISTINCT FROM (debit, credit)",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(wrong, Vec::<String>::new());
}
