//! Odd money end to end: seen, listed at the command line and over HTTP, and decided about.

use serde_json::{Value, json};
use wopay_commands::{Ledger, LedgerOptions};
use wopay_domain::Metadata;
use wopay_domain::payment::{Payment, PaymentCommand, ReassignDeposit, decide};
use wopay_eventbus::AppendSignal;
use wopay_testkit::{Mining, TokenKind, eventually};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// The deposits that the command line lists in a state, once there are so many.
pub(crate) async fn listed<C, T>(shop: &Shop<C, T>, state: &str, count: usize) -> Vec<Value> {
    eventually(&format!("{count} {state}"), PATIENCE, async || {
        let list = shop.gateway.run_json(&["deposits", "list", "--state", state, "--json"]);
        let deposits = list["deposits"].as_array().unwrap().clone();
        let confirmed = deposits.iter().all(|deposit| deposit["is_confirmed"] == true);
        (deposits.len() == count && confirmed).then_some(deposits)
    })
    .await
}

/// Addresses that are nobody's for long: the last of the pool.
pub(crate) async fn spares<const COUNT: usize, C, T>(shop: &Shop<C, T>, family: &str) -> [String; COUNT] {
    let addresses: Vec<String> =
        sqlx::query_scalar("SELECT address FROM address_pool WHERE family = $1 ORDER BY idx DESC LIMIT $2")
            .bind(family)
            .bind(i64::try_from(COUNT).unwrap())
            .fetch_all(&shop.database.pool)
            .await
            .unwrap();
    addresses.try_into().unwrap()
}

async fn pay(shop: &Shop, address: &str, minor: u128) {
    let payer = shop.payer().to_owned();
    shop.chain.transfer(&shop.token, &payer, address, minor).await;
    shop.chain.mine(CONFIRMATIONS - 1).await;
}

fn refused(shop: &Shop, args: &[&str], why: &str) {
    let output = shop.gateway.run(args);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && stderr.contains(why), "{args:?}: {stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn held_and_unmatched_money_is_assigned_or_recorded_as_sent_back() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (cancelled, address) = id_and_address(&shop.create("ORDER-1", "100", "USDT", 3600).await);
    let cancel = format!("{}/api/v1/payments/{cancelled}/cancel", shop.gateway.url);
    let answer = shop.client.post(cancel).bearer_auth(&shop.api_key).send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    pay(&shop, &address, 100_000_000).await;
    shop.reaches(&cancelled, "held").await;
    let held = listed(&shop, "held", 1).await;
    assert_eq!((&held[0]["hold_reason"], &held[0]["payment_id"]), (&json!("cancelled"), &json!(cancelled)));
    let deposit = held[0]["deposit"].as_str().unwrap();
    let (other, _) = id_and_address(&shop.create("ORDER-2", "5", "USDT", 3600).await);
    let assign = ["deposits", "assign", deposit, &cancelled, "--reason", "the goods went out", "--json"];
    let assigned = shop.gateway.run_json(&assign);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    assert_eq!(shop.gateway.run_json(&assign), assigned, "the same again changes nothing");
    assert_eq!(shop.webhook(&cancelled, "payment.completed").await.json()["amount_paid"], "100.000000");

    let [spare] = spares(&shop, "evm").await;
    pay(&shop, &spare, 5_000_000).await;
    pay(&shop, &spare, 7_000_000).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let of = |minor: &str| {
        let found = stray.iter().find(|deposit| deposit["amount_minor"] == minor).unwrap();
        found["deposit"].as_str().unwrap().to_owned()
    };
    let assigned = shop.gateway.run_json(&["deposits", "assign", &of("5000000"), &other, "--reason", "r", "--json"]);
    assert_eq!(assigned["payment_status"], "completed", "{assigned}");
    let hash = format!("0x{}", "ab".repeat(32));
    refused(&shop, &["deposits", "refund", &of("7000000"), "--transaction", "0x12", "--reason", "r"], "64 hex digits");
    shop.gateway.run_json(&["deposits", "refund", &of("7000000"), "--transaction", &hash, "--reason", "r", "--json"]);
    refused(&shop, &["deposits", "assign", &of("7000000"), &other, "--reason", "r"], "refunded by transaction");
    assert_eq!(listed(&shop, "refunded", 1).await[0]["decision_transaction"], json!(hash));
    assert_eq!(listed(&shop, "assigned", 2).await.len(), 2);
    assert!(listed(&shop, "unmatched", 0).await.is_empty());

    let table = shop.gateway.run(&["deposits", "list"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("the goods went out"), "{table:?}");
    let key = shop.gateway.run_json(&["access", "create", "--role", "finance", "--label", "books", "--json"]);
    let csv = format!("{}/api/v1/deposits?state=assigned&format=csv", shop.gateway.url);
    let csv = shop.client.get(csv).bearer_auth(key["access_key"].as_str().unwrap()).send().await.unwrap();
    let csv = csv.text().await.unwrap();
    assert!(csv.starts_with("deposit,state,hold_reason") && csv.lines().count() == 3, "{csv}");
}

/// `account, asset, posted_debit, posted_credit, pending_debit, pending_credit` of every account, in order.
type Sums = Vec<[String; 6]>;

/// Folded from the events up to a position by the audit, which knows no read model.
fn replayed(shop: &Shop, position: i64) -> (Sums, Value) {
    let replay = shop.gateway.run_json(&["audit", "replay", "--as-of", &position.to_string(), "--json"]);
    let line = |line: &Value| {
        ["account", "asset", "posted_debit", "posted_credit", "pending_debit", "pending_credit"]
            .map(|name| line[name].as_str().unwrap().to_owned())
    };
    let mut sums: Sums = replay["balances"].as_array().unwrap().iter().map(line).collect();
    sums.sort();
    assert_eq!(replay["is_balanced"], true, "{replay}");
    (sums, replay["deposits_by_state"].clone())
}

/// As the journal of the read side has them.
async fn journal(shop: &Shop, position: i64) -> Sums {
    let rows: Vec<(String, String, Vec<String>)> = sqlx::query_as(
        "SELECT b.account, b.asset, ARRAY[
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'posted' AND p.side = 'debit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'posted' AND p.side = 'credit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'pending' AND p.side = 'debit'), 0)::text,
                COALESCE(sum(p.amount_minor) FILTER (WHERE p.layer = 'pending' AND p.side = 'credit'), 0)::text]
         FROM ledger_postings p
         JOIN account_balances b ON b.id = p.balance_id
         WHERE p.position <= $1
         GROUP BY b.account, b.asset",
    )
    .bind(position)
    .fetch_all(&shop.database.pool)
    .await
    .unwrap();
    let mut sums: Sums = rows
        .into_iter()
        .map(|(account, asset, sums)| {
            let sums: [String; 4] = sums.try_into().unwrap();
            let [a, b, c, d] = sums;
            [account, asset, a, b, c, d]
        })
        .collect();
    sums.sort();
    sums
}

/// The newest position of the ledger, once the read side has come so far.
async fn projected(shop: &Shop) -> i64 {
    let head: i64 =
        sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(&shop.database.pool).await.unwrap();
    eventually("the journal", PATIENCE, async || {
        let reached: i64 = sqlx::query_scalar("SELECT position FROM follower_checkpoints WHERE name = 'projections'")
            .fetch_optional(&shop.database.pool)
            .await
            .unwrap()?;
        (reached >= head).then_some(())
    })
    .await;
    head
}

#[tokio::test(flavor = "multi_thread")]
async fn replay_and_the_journal_agree_on_money_of_nobody() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (other, _) = id_and_address(&shop.create("ORDER-1", "5", "USDT", 3600).await);
    let [assigned, refunded, gone] = spares(&shop, "evm").await;
    pay(&shop, &assigned, 5_000_000).await;
    pay(&shop, &refunded, 7_000_000).await;
    let stray = listed(&shop, "unmatched", 2).await;
    let of = |address: &str| {
        let found = stray.iter().find(|deposit| deposit["to_address"].as_str().unwrap().eq_ignore_ascii_case(address));
        found.unwrap()["deposit"].as_str().unwrap().to_owned()
    };
    let (assigned, refunded) = (of(&assigned), of(&refunded));
    shop.gateway.run_json(&["deposits", "assign", &assigned, &other, "--reason", "his other wallet", "--json"]);
    let hash = format!("0x{}", "cd".repeat(32));
    shop.gateway.run_json(&["deposits", "refund", &refunded, "--transaction", &hash, "--reason", "r", "--json"]);
    pay(&shop, &gone, 9_000_000).await;
    listed(&shop, "unmatched", 1).await;
    shop.chain.reorg(CONFIRMATIONS).await;
    shop.chain.mine(1).await;
    let orphaned = async || {
        let list = shop.gateway.run_json(&["deposits", "list", "--state", "orphaned", "--json"]);
        list["deposits"].as_array().unwrap().iter().any(|one| one["amount_minor"] == "9000000").then_some(())
    };
    eventually("the orphaned deposit", PATIENCE, orphaned).await;

    let head = projected(&shop).await;
    let positions: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events
         WHERE (aggregate_type = 'deposit' OR event_type = 'DepositAssigned') AND position <= $1
         ORDER BY position",
    )
    .bind(head)
    .fetch_all(&shop.database.pool)
    .await
    .unwrap();
    assert!(positions.len() >= 7, "{positions:?}");
    for position in positions.iter().copied().chain([head]) {
        assert_eq!(replayed(&shop, position).0, journal(&shop, position).await, "as of {position}");
    }
    let (sums, states) = replayed(&shop, head);
    assert_eq!(states, json!({ "assigned": 1, "orphaned": 1, "refunded": 1 }));
    let suspense = sums.iter().find(|line| line[0] == "suspense").unwrap();
    assert_eq!((&suspense[2], &suspense[3]), (&"21000000".to_owned(), &"21000000".to_owned()), "nothing is left in it");

    let history = shop.gateway.run_json(&["audit", "replay", "--deposit", &assigned, "--json"]);
    let steps: Vec<_> = history["steps"].as_array().unwrap().iter().map(|step| &step["event_type"]).collect();
    assert_eq!(steps, ["UnmatchedDepositRecorded", "UnmatchedDepositAssigned"]);
    let id = history["aggregate_id"].as_str().unwrap();
    assert_eq!(shop.gateway.run_json(&["audit", "replay", "--deposit", id, "--json"]), history);
    let explained = String::from_utf8(shop.gateway.run(&["audit", "explain", &other]).stdout).unwrap();
    let said = "an operator decided that it is this payment's: \"his other wallet\"";
    assert!(explained.contains(said) && explained.contains("which no payment claimed"), "{explained}");
    let paused = shop.gateway.run(&["chains", "pause", "ethereum", "--reason", "upgrade"]);
    assert!(paused.status.success(), "{paused:?}");
    let chain = shop.gateway.run_json(&["audit", "replay", "--chain", "ethereum", "--json"]);
    assert_eq!(chain["steps"][0]["event_type"], "ChainPaused", "{chain}");
}

/// As a process does that dies between the two streams of an assignment: the holder's is written, the other payment was
/// not told.
async fn half_assigned(shop: &Shop, holder: &str, receiver: &str, deposit: &str) {
    let ledger = Ledger::start(shop.database.pool.clone(), AppendSignal::new(), LedgerOptions::default());
    let context = ledger.store().load::<Payment>(holder).await.unwrap();
    let at = context.state().state().unwrap().updated_at;
    let (deposit, to_payment_id) = (deposit.parse().unwrap(), receiver.parse().unwrap());
    let reassign = ReassignDeposit { deposit, to_payment_id, reason: "the other currency".to_owned(), at };
    let events = decide(context.state(), PaymentCommand::ReassignDeposit(Box::new(reassign))).unwrap();
    let metadata = Metadata::system("test").to_map();
    ledger.store().append::<Payment>(holder, context.sequence(), &events, &metadata, Vec::new()).await.unwrap();
    ledger.shutdown().await;
}

fn reconciles(shop: &Shop, block: u64) {
    let block = block.to_string();
    let result = shop.gateway.run(&["audit", "reconcile", "--chain", "ethereum", "--block", &block, "--json"]);
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stdout));
}

/// A customer paid in USDT to the address of a payment in ETH. The merchant opens one in USDT, and the operator gives it
/// the money; the process dies on the way. Then the chain takes the money back, and gives it again.
#[tokio::test(flavor = "multi_thread")]
async fn money_of_another_asset_is_given_to_a_payment_that_asks_for_it() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    let (holder, address) = id_and_address(&shop.create("ORDER-1", "1", "ETH", 3600).await);
    pay(&shop, &address, 100_000_000).await;
    let held = listed(&shop, "held", 1).await;
    assert_eq!((&held[0]["hold_reason"], &held[0]["payment_id"]), (&json!("wrong_asset"), &json!(holder)));
    let deposit = held[0]["deposit"].as_str().unwrap().to_owned();

    let (receiver, own) = id_and_address(&shop.create("ORDER-1-USDT", "100", "USDT", 3600).await);
    let (native, _) = id_and_address(&shop.create("ORDER-2", "1", "ETH", 3600).await);
    let args =
        |payment: &str| ["deposits", "assign", &deposit, payment, "--reason", "the other currency"].map(str::to_owned);
    let refuses = |payment: &str, why: &str| {
        let args = args(payment);
        refused(&shop, &args.each_ref().map(String::as_str), why);
    };
    refuses(&holder, "another asset than the payment asks for");
    refuses(&native, "another asset than the payment asks for");
    let merchant = ["merchant", "create", "--name", "Other", "--email", "other@example.com", "--json"];
    let stranger = shop.gateway.run_json(&merchant);
    let body = json!({ "order_id": "THEIRS", "amount": "100", "currency": "USDT", "blockchain": "ethereum" });
    let theirs = shop.client.post(format!("{}/api/v1/payments", shop.gateway.url)).json(&body);
    let theirs = theirs.bearer_auth(stranger["api_key"].as_str().unwrap()).send().await.unwrap();
    let theirs: Value = theirs.json().await.unwrap();
    refuses(theirs["id"].as_str().unwrap(), "a payment of another merchant");
    assert_eq!(listed(&shop, "held", 1).await.len(), 1, "nothing has happened");

    shop.gateway.kill();
    half_assigned(&shop, &holder, &receiver, &deposit).await;
    let head: i64 =
        sqlx::query_scalar("SELECT position FROM ledger_head").fetch_one(&shop.database.pool).await.unwrap();
    let open = |sums: &Sums, account: &str| -> i64 {
        let lines = sums.iter().filter(|line| line[0].starts_with(account) && line[1] != "ethereum/native");
        lines.map(|line| line[3].parse::<i64>().unwrap() - line[2].parse::<i64>().unwrap()).sum()
    };
    let (between, _) = replayed(&shop, head);
    assert_eq!((open(&between, "suspense"), open(&between, "merchant")), (100_000_000, 0), "it waits in suspense");

    shop.gateway.start().await;
    let completed = shop.reaches(&receiver, "completed").await;
    assert_eq!(completed["transactions"][0]["credited"], true, "{completed}");
    assert_eq!(shop.webhook(&receiver, "payment.completed").await.json()["amount_paid"], "100.000000");
    let shown = shop.payment(&holder).await;
    assert_eq!((&shown["status"], &shown["transactions"][0]["assigned_to"]), (&json!("pending"), &json!(receiver)));
    let command = [args(&receiver).as_slice(), &["--json".to_owned()]].concat();
    let again = shop.gateway.run_json(&command.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((&again["payment_id"], &again["payment_status"]), (&json!(receiver), &json!("completed")));
    let assigned = &listed(&shop, "assigned", 1).await[0];
    assert_eq!((&assigned["payment_id"], &assigned["deposit"]), (&json!(receiver), &json!(deposit)));
    assert!(!assigned["to_address"].as_str().unwrap().eq_ignore_ascii_case(&own), "it stands where it came to");
    assert!(listed(&shop, "held", 0).await.is_empty() && listed(&shop, "assigning", 0).await.is_empty());
    let back = ["deposits", "refund", &deposit, "--transaction", &format!("0x{}", "ab".repeat(32)), "--reason", "r"];
    refused(&shop, &back, &format!("assigned to payment {receiver}"));
    reconciles(&shop, shop.chain.height().await);

    let explained = |payment: &str| String::from_utf8(shop.gateway.run(&["audit", "explain", payment]).stdout).unwrap();
    let (first, second) = (explained(&holder), explained(&receiver));
    assert!(first.contains(&format!("was assigned to payment {receiver}")), "{first}");
    assert!(second.contains(&format!("Payment {holder} held it")), "{second}");

    shop.chain.reorg(CONFIRMATIONS).await;
    shop.chain.mine(1).await;
    shop.reaches(&receiver, "reversed").await;
    shop.webhook(&receiver, "payment.reversed").await;
    eventually("the holder's note", PATIENCE, async || {
        let shown = shop.payment(&holder).await;
        (shown["transactions"][0]["status"] == "orphaned").then_some(())
    })
    .await;
    reconciles(&shop, shop.chain.height().await);

    let head = projected(&shop).await;
    let positions: Vec<i64> = sqlx::query_scalar(
        "SELECT position FROM events WHERE event_type LIKE '%Deposit%' AND position <= $1 ORDER BY position",
    )
    .bind(head)
    .fetch_all(&shop.database.pool)
    .await
    .unwrap();
    for position in positions.iter().copied().chain([head]) {
        assert_eq!(replayed(&shop, position).0, journal(&shop, position).await, "as of {position}");
    }
    let (sums, _) = replayed(&shop, head);
    for account in ["suspense", "merchant", "custody"] {
        assert_eq!(open(&sums, account), 0, "{account}: {sums:?}");
    }
    let names: Vec<String> =
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(&receiver)
            .fetch_all(&shop.database.pool)
            .await
            .unwrap();
    assert_eq!(names, ["PaymentCreated", "DepositAssigned", "PaymentCompleted", "DepositOrphaned", "PaymentReversed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erc20_that_nobody_configured_is_listed_and_in_no_book() {
    let shop = Shop::open(Mining::OnDemand).await;
    let (paid, address) = id_and_address(&shop.create("ORDER-1", "5", "USDT", 3600).await);
    let strange = shop.chain.deploy_token(TokenKind::Plain, "STRANGE", 18).await;
    let sent = shop.chain.mint(&strange, &address, 41).await;
    pay(&shop, &address, 5_000_000).await;
    shop.reaches(&paid, "completed").await;
    // It is looked for below the blocks that a reorganization may replace.
    shop.chain.mine(200).await;
    let unknown = listed(&shop, "unknown_token", 1).await;
    let asset = format!("ethereum/{}", strange.address);
    assert_eq!(unknown[0]["deposit"], format!("ethereum:{}:log:0", sent.hash), "{unknown:?}");
    assert_eq!((&unknown[0]["asset"], &unknown[0]["amount_minor"]), (&json!(asset), &json!("41")), "{unknown:?}");
    let to = unknown[0]["to_address"].as_str().unwrap();
    assert_eq!((&unknown[0]["payment_id"], to.to_lowercase()), (&json!(paid), address.to_lowercase()), "{unknown:?}");
    let table = shop.gateway.run(&["deposits", "list", "--dust"]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("unknown_token") && table.contains(&sent.hash[..10]), "{table}");
    let deposit = unknown[0]["deposit"].as_str().unwrap();
    refused(&shop, &["deposits", "assign", deposit, &paid, "--reason", "r"], "not");
    let named: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE payload::text LIKE '%' || $1 || '%'")
        .bind(&strange.address)
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(named, 0, "no event names it");
}
