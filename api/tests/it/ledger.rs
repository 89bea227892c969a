//! Finance queries: what they show, to whom, and as of when.

use serde_json::{Value, json};

use crate::books::{Books, assert_same_in_both, books, time, usdt};

fn row<'a>(list: &'a Value, account: &str) -> &'a Value {
    let found = list["data"].as_array().unwrap().iter().find(|row| row["account"] == account);
    found.unwrap_or_else(|| panic!("{account} is not in {list}"))
}

fn balances(row: &Value) -> [&str; 4] {
    ["posted", "available", "pending_in", "pending_out"].map(|member| row[member].as_str().unwrap())
}

#[tokio::test]
async fn accounts_show_what_is_booked_and_what_is_expected() {
    let books = books().await;
    let answer = books.api.ask(Some(&books.finance.key), "/api/v1/ledger/accounts", &[]).await;
    let shown: Value = serde_json::from_str(&books.redacted(&answer.text)).unwrap();
    insta::assert_json_snapshot!("accounts", shown, { ".as_of_position" => "[position]" });
    assert_eq!(shown["as_of_position"], books.head);
    assert_eq!(balances(row(&shown, "merchant:[shop]:payable")), ["125.500000", "115.500000", "0.000000", "10.000000"]);
    assert_eq!(balances(row(&shown, "merchant:[other]:payable")), ["3.000000", "3.000000", "7.000000", "0.000000"]);
}

#[tokio::test]
async fn entries_are_the_journal() {
    let books = books().await;
    let path = format!("/api/v1/ledger/entries?payment={}", books.payment);
    let answer = books.api.ask(Some(&books.finance.key), &path, &[]).await;
    let text = books.redacted(&answer.text).replace(&books.payment.to_string(), "[payment]");
    let shown: Value = serde_json::from_str(&text).unwrap();
    insta::assert_json_snapshot!("entries", shown, { ".data[].recorded_at" => "[time]", ".data[].effective_at" => "[time]" });
    let posted = books.seen(&format!("{path}&layer=posted&account=custody:ethereum")).await;
    assert_eq!(posted["data"].as_array().unwrap().len(), 1);
    assert_eq!(posted["data"][0]["effective_at"], "2026-03-01T12:00:00Z");
    let march = "from=2026-03-01T00:00:00Z&to=2026-04-01T00:00:00Z";
    let of_march = books.seen(&format!("/api/v1/ledger/entries?{march}")).await;
    assert!(of_march["data"].as_array().unwrap().iter().all(|line| line["aggregate_id"] == books.payment.to_string()));
    let recorded = books.seen(&format!("/api/v1/ledger/entries?{march}&axis=recorded")).await;
    assert_eq!(recorded["data"], json!([]), "nothing was recorded then");
}

#[tokio::test]
async fn a_statement_opens_runs_and_closes() {
    let books = books().await;
    let path = format!("/api/v1/ledger/statements?asset={}&from=2026-04-01T00:00:00Z&to=2026-05-01T00:00:00Z", usdt());
    let answer = books.api.ask(Some(&books.shop.api_key), &path, &[]).await;
    let shown: Value = serde_json::from_str(&books.redacted(&answer.text)).unwrap();
    insta::assert_json_snapshot!("statement", shown, {
        ".lines[].recorded_at" => "[time]", ".lines[].aggregate_id" => "[payment]",
    });
    assert_eq!(balances(&shown["opening"])[0], "100.500000");
    assert_eq!(balances(&shown["closing"])[0], "125.500000");

    let house = format!("{path}&merchant={}", books.shop.id);
    assert_eq!(books.seen(&house).await, books.seen_by(&books.shop.api_key, &path).await);

    // As a table, in pages: the opening comes first, the closing last, and the running balance fits.
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = books.api.ask(Some(&books.finance.key), &format!("{house}&limit=1&format=csv{cursor}"), &[]).await;
        rows.extend(page.table().into_iter().skip(1));
        let Some(next) = page.headers.get("x-next-cursor") else { break };
        cursor = format!("&cursor={}", next.to_str().unwrap());
    }
    let kinds: Vec<_> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"opening"), Some(&"closing")));
    assert_eq!(kinds.iter().filter(|kind| **kind == "line").count(), shown["lines"].as_array().unwrap().len());
    assert_eq!(rows[rows.len() - 2][18..], rows[rows.len() - 1][18..], "the last line leads to the closing");
}

#[tokio::test]
async fn the_trial_balance_is_for_the_house_and_balances_at_every_position() {
    let books = books().await;
    let path = "/api/v1/ledger/trial-balance";
    let shown = books.seen(path).await;
    insta::assert_json_snapshot!("trial_balance", shown, { ".as_of_position" => "[position]" });
    for position in 0..=books.head {
        let then = books.seen(&format!("{path}?as_of={position}")).await;
        assert_eq!(then["as_of_position"], position);
        let totals = then["data"].as_array().unwrap().iter().filter(|row| row["kind"] == "total");
        assert!(totals.clone().all(|row| row["balanced"] == true), "{then}");
        for total in totals {
            assert_eq!(total["posted_debit"], total["posted_credit"], "{then}");
        }
    }
}

#[tokio::test]
async fn both_axes_of_time_are_asked_for() {
    let books = books().await;
    let account = format!("merchant:{}:payable", books.shop.id);
    let path = format!("/api/v1/ledger/accounts?account={account}");
    let posted = async |moment: &str| {
        let shown = books.seen(&format!("{path}{moment}")).await;
        shown["data"].get(0).map(|row| row["posted"].as_str().unwrap().to_owned())
    };
    assert_eq!(posted("").await.as_deref(), Some("125.500000"));
    assert_eq!(posted(&format!("&as_of={}", books.first_confirmed)).await.as_deref(), Some("100.500000"));
    assert_eq!(posted(&format!("&as_of={}", books.first_confirmed - 1)).await.as_deref(), Some("0.000000"));
    assert_eq!(posted("&as_of=0").await, None);
    assert_eq!(posted("&as_of=2020-01-01T00:00:00Z").await, None, "nothing was recorded then");
    assert_eq!(posted("&as_of=2999-01-01T00:00:00%2B01:00").await.as_deref(), Some("125.500000"));
    assert_eq!(posted("&effective_at=2026-03-15T00:00:00Z").await.as_deref(), Some("100.500000"));
    assert_eq!(posted("&effective_at=2026-02-15T00:00:00Z").await, None);
    let both = format!("&effective_at=2026-12-31T00:00:00Z&as_of={}", books.first_confirmed);
    assert_eq!(posted(&both).await.as_deref(), Some("100.500000"));

    let ahead = books.api.ask(Some(&books.finance.key), &format!("{path}&as_of={}", books.head + 1), &[]).await;
    ahead.problem(409, "position_not_reached");
    assert!(ahead.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn all_pages_of_a_list_belong_to_one_moment() {
    let books = books().await;
    let whole = books.seen("/api/v1/ledger/entries").await;
    let (mut lines, mut query) = (Vec::new(), "limit=3".to_owned());
    loop {
        let page = books.seen(&format!("/api/v1/ledger/entries?{query}")).await;
        lines.extend(page["data"].as_array().unwrap().clone());
        assert_eq!(page["as_of_position"], books.head);
        // The ledger goes on while the list is read.
        let payment = books.api.payment(&books.shop, &format!("page-{}", lines.len())).await;
        let stage = wopay_domain::payment::DepositStage::Confirmed { confirmations: 12 };
        books.api.deposit(payment, &format!("c{}", lines.len()), 1_000_000, 30, stage).await;
        books.api.project().await;
        let Some(next) = page["next_cursor"].as_str() else { break };
        query = format!("limit=3&cursor={next}");
    }
    assert_eq!(Value::from(lines), whole["data"]);

    let page = books.seen("/api/v1/ledger/entries?limit=3").await;
    let next = page["next_cursor"].as_str().unwrap();
    let refused = async |moment: &str| {
        let path = format!("/api/v1/ledger/entries?limit=3&cursor={next}&as_of={moment}");
        books.api.ask(Some(&books.finance.key), &path, &[]).await
    };
    for moment in ["1", "2026-01-01T00:00:00Z"] {
        let answer = refused(moment).await;
        answer.problem(400, "invalid_query");
        assert_eq!(answer.named_fields(), [("as_of".to_owned(), "invalid".to_owned())]);
    }
    assert_eq!(refused(&page["as_of_position"].to_string()).await.status, 200);
}

#[tokio::test]
async fn a_merchant_sees_its_own_and_nothing_else() {
    let books = books().await;
    let of_shop = [
        "/api/v1/ledger/accounts".to_owned(),
        "/api/v1/ledger/entries".to_owned(),
        "/api/v1/reports/volume?by=merchant".to_owned(),
        "/api/v1/reports/fees?by=merchant".to_owned(),
        "/api/v1/events".to_owned(),
    ];
    for path in &of_shop {
        let shown = books.seen_by(&books.shop.api_key, path).await.to_string();
        assert!(!shown.contains(&books.other.id.to_string()), "{path}: {shown}");
        assert!(!shown.contains("custody:"), "{path}: {shown}");
    }
    let theirs = books.other.id;
    for path in [
        format!("/api/v1/ledger/accounts?merchant={theirs}"),
        format!("/api/v1/ledger/accounts?account=merchant:{theirs}:payable"),
        "/api/v1/ledger/accounts?account=custody:ethereum".to_owned(),
        format!("/api/v1/ledger/entries?merchant={theirs}"),
        "/api/v1/ledger/entries?account=custody:ethereum".to_owned(),
        format!("/api/v1/reports/volume?by=merchant&merchant={theirs}"),
    ] {
        assert_eq!(books.seen_by(&books.shop.api_key, &path).await["data"], json!([]), "{path}");
    }
    for account in [format!("merchant={theirs}"), "account=custody:ethereum".to_owned(), "account=suspense".to_owned()]
    {
        let path = format!("/api/v1/ledger/statements?asset={}&{account}", usdt());
        books.api.ask(Some(&books.shop.api_key), &path, &[]).await.problem(404, "not_found");
    }
    let filtered = books.seen(&format!("/api/v1/ledger/accounts?merchant={theirs}")).await;
    assert_eq!(filtered["data"].as_array().unwrap().len(), 1, "finance may ask for one merchant");
}

#[tokio::test]
async fn tables_say_what_json_says() {
    let books = books().await;
    let keys = [&books.finance.key, &books.auditor.key];
    for (path, rows) in [
        ("/api/v1/ledger/accounts", 3),
        ("/api/v1/ledger/accounts?as_of=0", 0),
        ("/api/v1/ledger/entries", 22),
        ("/api/v1/ledger/entries?limit=5", 5),
        ("/api/v1/ledger/trial-balance", 3),
        ("/api/v1/reports/volume?granularity=month&by=merchant", 3),
        ("/api/v1/reports/fees", 0),
        ("/api/v1/events", usize::try_from(books.head).unwrap()),
    ] {
        for key in keys {
            assert_eq!(assert_same_in_both(&books.api, key, path).await, rows, "{path}");
        }
    }
    assert!(assert_same_in_both(&books.api, &books.shop.api_key, "/api/v1/events").await > 5);
    let file = books.api.ask(Some(keys[0]), "/api/v1/ledger/entries?format=csv", &[]).await;
    let name = format!("attachment; filename=\"ledger-entries-{}.csv\"", books.head);
    assert_eq!(file.headers["content-disposition"], name);
    assert_columns(&books).await;
}

/// The columns are part of the API, as the documentation lists them: new ones come last.
async fn assert_columns(books: &Books) {
    let documented = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/finance-api.md");
    let documented = std::fs::read_to_string(documented).unwrap();
    let mut columns = Vec::new();
    for path in [
        "ledger/accounts",
        "ledger/entries",
        &format!("ledger/statements?account=suspense&asset={}", usdt()),
        "ledger/trial-balance",
        "reports/volume",
        "reports/fees",
        "events",
    ] {
        let answer =
            books.api.ask(Some(&books.finance.key), &format!("/api/v1/{path}"), &[("accept", "text/csv")]).await;
        let name = path.split('?').next().unwrap();
        let header = &answer.table()[0];
        let listed =
            header.strip_prefix(&["kind".to_owned()]).filter(|_| name == "ledger/statements").unwrap_or(header);
        assert!(documented.contains(&format!("`{}`", listed.join(" "))), "docs/finance-api.md: {name}");
        columns.push(format!("{name}: {}", header.join(",")));
    }
    insta::assert_snapshot!("columns", columns.join("\n"));
}

#[tokio::test]
async fn volume_is_summed_by_day_week_and_month() {
    let books = books().await;
    let shown = books.seen("/api/v1/reports/volume?granularity=month&by=merchant").await;
    let shown: Value = serde_json::from_str(&books.redacted(&shown.to_string())).unwrap();
    insta::assert_json_snapshot!("volume", shown, { ".as_of_position" => "[position]" });
    let starts = async |granularity: &str| {
        let shown = books.seen(&format!("/api/v1/reports/volume?granularity={granularity}")).await;
        let rows = shown["data"].as_array().unwrap().clone();
        rows.iter().map(|row| time(row["period_start"].as_str().unwrap())).collect::<Vec<_>>()
    };
    assert_eq!(starts("day").await, [time("2026-03-01T00:00:00Z"), time("2026-04-02T00:00:00Z")]);
    assert_eq!(starts("week").await, [time("2026-02-23T00:00:00Z"), time("2026-03-30T00:00:00Z")]);
    assert_eq!(starts("month").await, [time("2026-03-01T00:00:00Z"), time("2026-04-01T00:00:00Z")]);
}

#[tokio::test]
async fn what_is_not_understood_is_refused_by_name() {
    let books = books().await;
    let asset = usdt();
    let statement = format!("ledger/statements?asset={asset}&account=suspense");
    let one = |field: &str, code: &str| vec![(field.to_owned(), code.to_owned())];
    for (path, named) in [
        ("ledger/accounts?acount=suspense", one("acount", "unknown")),
        ("ledger/accounts?account=nobody", one("account", "invalid")),
        ("ledger/accounts?merchant=1", one("merchant", "invalid")),
        ("ledger/accounts?asset=USDT", one("asset", "invalid")),
        ("ledger/accounts?as_of=yesterday", one("as_of", "invalid")),
        ("ledger/accounts?as_of=-1", one("as_of", "invalid")),
        ("ledger/accounts?effective_at=7", one("effective_at", "invalid")),
        ("ledger/accounts?limit=1001", one("limit", "invalid")),
        ("ledger/accounts?limit=%2B5", one("limit", "invalid")),
        ("ledger/accounts?cursor=1", one("cursor", "invalid")),
        ("ledger/accounts?cursor=1.x", one("cursor", "invalid")),
        ("ledger/accounts?format=xml", one("format", "invalid")),
        ("ledger/accounts?as_of=1&as_of=2", one("as_of", "duplicate")),
        ("ledger/entries?layer=both", one("layer", "invalid")),
        ("ledger/entries?axis=block", one("axis", "invalid")),
        ("ledger/entries?from=2026-02-01T00:00:00Z&to=2026-01-01T00:00:00Z", one("to", "invalid")),
        ("ledger/entries?payment=1", one("payment", "invalid")),
        ("ledger/statements?account=suspense", one("asset", "missing")),
        (&format!("ledger/statements?asset={asset}"), one("account", "missing")),
        (&format!("{statement}&merchant={}", books.shop.id), one("merchant", "invalid")),
        (&format!("{statement}&axis=recorded&effective_at=2026-01-01T00:00:00Z"), one("effective_at", "invalid")),
        ("ledger/trial-balance?account=suspense", one("account", "unknown")),
        ("reports/volume?granularity=year", one("granularity", "invalid")),
        ("reports/fees?by=payment", one("by", "invalid")),
        ("reports/volume?cursor=1.-fffffffffffffff~~bsc/native", one("cursor", "invalid")),
        ("events?after=-1", one("after", "invalid")),
        ("events?cursor=1", one("cursor", "unknown")),
        ("audit/checkpoint?size=x", one("size", "invalid")),
        ("audit/proof", one("position", "missing")),
        ("audit/proof?position=1&old=1", one("old", "invalid")),
        ("audit/proof?position=1&new=2", one("old", "invalid")),
        ("audit/tile/0/000?x=1", one("x", "unknown")),
    ] {
        let answer = books.api.ask(Some(&books.auditor.key), &format!("/api/v1/{path}"), &[]).await;
        answer.problem(400, "invalid_query");
        assert_eq!(answer.named_fields(), named, "{path}");
    }
}
