//! The audit log over HTTP: what it gives verifies, and only to whom it may.

use serde_json::Value;
use tlog_tiles::{Hash, record_hash};
use wopay_audit::{SignedCheckpoint, check_consistency, check_proof};

use crate::books::{Books, books};
use crate::support::{Answer, audit_key};

async fn ask(books: &Books, key: &str, path: &str) -> Answer {
    books.api.ask(Some(key), &format!("/api/v1/audit/{path}"), &[]).await
}

#[tokio::test]
async fn before_anything_is_sealed_there_is_nothing_to_prove() {
    let books = books().await;
    books.api.ask(None, "/api/v1/audit/checkpoint", &[]).await.problem(404, "not_found");
    books.api.ask(None, "/api/v1/audit/tile/0/000", &[]).await.problem(404, "not_found");
    ask(&books, &books.auditor.key, "proof?position=1").await.problem(404, "not_found");
    ask(&books, &books.auditor.key, "tile/entries/000.p/1").await.problem(404, "not_found");
}

#[tokio::test]
async fn a_proof_leads_from_an_event_to_a_checkpoint_that_anybody_may_have() {
    let books = books().await;
    let (size, key) = (books.api.seal().await, audit_key());
    let answer = books.api.ask(None, "/api/v1/audit/checkpoint", &[]).await;
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let checkpoint = SignedCheckpoint::open(&answer.text, std::slice::from_ref(key.public())).unwrap();
    assert_eq!((checkpoint.size, size), (books.head, books.head));

    for position in 1..=size {
        let proof = ask(&books, &books.auditor.key, &format!("proof?position={position}")).await;
        assert_eq!(proof.status, 200, "{}", proof.text);
        let proven = check_proof(&proof.text, key.public()).unwrap();
        assert_eq!((proven.position, &proven.checkpoint), (position, &checkpoint));
        let line: Value = serde_json::from_str(&proven.line).unwrap();
        assert_eq!(line["position"], position);
    }

    books.api.payment(&books.shop, "later").await;
    let later = books.api.seal().await;
    let consistency = ask(&books, &books.auditor.key, &format!("proof?old={size}&new={later}")).await;
    let newer = check_consistency(&consistency.text, &checkpoint, std::slice::from_ref(key.public())).unwrap();
    assert_eq!(newer.size, later);
    let old = books.api.ask(None, &format!("/api/v1/audit/checkpoint?size={size}"), &[]).await;
    assert_eq!(old.text, checkpoint.note, "kept for ever");
    assert_eq!(old.headers["cache-control"], "public, max-age=31536000, immutable");
    let at_old = ask(&books, &books.auditor.key, &format!("proof?position=1&size={size}")).await;
    assert_eq!(check_proof(&at_old.text, key.public()).unwrap().checkpoint, checkpoint);
    for missing in [
        "proof?position=1&size=1",
        &format!("proof?position={}", later + 1),
        "proof?position=0",
        "proof?old=1",
        &format!("proof?old={}", later + 1),
    ] {
        ask(&books, &books.auditor.key, missing).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_merchant_proves_its_own_events_and_no_others() {
    let books = books().await;
    let size = books.api.seal().await;
    let key = audit_key();
    let own = books.seen_by(&books.shop.api_key, "/api/v1/events").await;
    let own: Vec<_> = own["data"].as_array().unwrap().iter().map(|event| event["position"].as_i64().unwrap()).collect();
    assert!(own.len() > 5);
    for position in 1..=size + 1 {
        let proof = ask(&books, &books.shop.api_key, &format!("proof?position={position}")).await;
        if own.contains(&position) {
            assert_eq!(check_proof(&proof.text, key.public()).unwrap().position, position);
        } else {
            let problem = proof.problem(404, "not_found");
            assert_eq!(problem["detail"], "There is no such event.");
        }
    }
    assert_eq!(ask(&books, &books.shop.api_key, &format!("proof?old={size}")).await.status, 200);
    ask(&books, &books.finance.key, "proof?position=1").await.problem(403, "forbidden");
    ask(&books, &books.finance.key, "tile/entries/000.p/1").await.problem(403, "forbidden");
    ask(&books, &books.shop.api_key, "tile/entries/000.p/1").await.problem(403, "forbidden");
}

#[tokio::test]
async fn tiles_and_entries_make_the_same_tree() {
    let books = books().await;
    let size = books.api.seal().await;
    let count = usize::try_from(size).unwrap();
    assert!(count < 256);
    let tile = books.api.ask(None, &format!("/api/v1/audit/tile/0/000.p/{size}"), &[]).await;
    assert_eq!(tile.headers["content-type"], "application/octet-stream");
    let hashes: Vec<Hash> = tile.bytes.chunks(32).map(|hash| Hash(hash.try_into().unwrap())).collect();
    assert_eq!(hashes.len(), count);

    let bundle = ask(&books, &books.auditor.key, &format!("tile/entries/000.p/{size}")).await;
    assert_eq!(bundle.headers["cache-control"], "private, max-age=31536000, immutable");
    let (mut rest, mut lines) = (bundle.bytes.as_slice(), Vec::new());
    while let [high, low, after @ ..] = rest {
        let (line, after) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        lines.push(line);
        rest = after;
    }
    assert_eq!(lines.iter().map(|line| record_hash(line)).collect::<Vec<_>>(), hashes);

    for missing in ["000", "001", "000.p/255", "000.p/0", "0", "x001/000", "000.p", "000/"] {
        books.api.ask(None, &format!("/api/v1/audit/tile/0/{missing}"), &[]).await.problem(404, "not_found");
        ask(&books, &books.auditor.key, &format!("tile/entries/{missing}")).await.problem(404, "not_found");
    }
    for level in ["1", "64", "x", "00", "-1"] {
        books.api.ask(None, &format!("/api/v1/audit/tile/{level}/000"), &[]).await.problem(404, "not_found");
    }
}

#[tokio::test]
async fn a_damaged_log_says_so_and_proves_nothing() {
    let books = books().await;
    books.api.seal().await;
    // As an administrator of the database might.
    for statement in [
        "ALTER TABLE events DISABLE TRIGGER ALL",
        "UPDATE events SET payload = replace(payload::text, '1', '2')::json WHERE position = 1",
    ] {
        sqlx::query(statement).execute(&books.api.db.pool).await.unwrap();
    }
    ask(&books, &books.auditor.key, "proof?position=1").await.problem(500, "log_damaged");
    assert_eq!(ask(&books, &books.auditor.key, "proof?position=2").await.status, 200);
}
