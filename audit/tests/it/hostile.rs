//! What hostile hands and odd but valid events must not do: stop a verification, accuse an innocent ledger, or break a
//! proof.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use wopay_audit::{Problem, check_proof, query};
use wopay_eventbus::AppendSignal;

use crate::sealed::{World, append, texts};

/// Whoever may insert checkpoints and tiles cannot make a verification walk through positions that never were.
#[tokio::test(flavor = "multi_thread")]
async fn heads_from_nowhere_are_named_in_time() {
    let statements = [
        "INSERT INTO audit_checkpoints (size, root, note)
         SELECT 9000000000000000000, root, note FROM audit_checkpoints",
        "INSERT INTO audit_tiles (level, idx, width, hashes) VALUES (0, 30000000000000000, 1, sha256(''))",
        "INSERT INTO audit_tiles (level, idx, width, hashes) VALUES (0, 9000000000000000000, 1, sha256(''))",
    ];
    for statement in statements {
        let world = World::sealed_at(&[1_000]).await;
        world.tamper(&[statement]).await;
        let report = tokio::time::timeout(Duration::from_secs(60), world.verify()).await.expect(statement);
        assert_eq!(report.verified, 1_000, "{:?}", texts(&report));
        let is_named = |problem: &Problem| {
            matches!(
                problem,
                Problem::Checkpoint { size: 9_000_000_000_000_000_000, .. } | Problem::CheckpointGone { .. }
            )
        };
        assert!(report.findings.iter().any(|finding| is_named(&finding.problem)), "{:?}", texts(&report));
    }
}

/// Nor an event that stands where none can have come to.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_far_away_is_named_in_time() {
    for head in ["position", "9000000000000000000"] {
        let world = World::sealed_at(&[1_000]).await;
        world
            .tamper(&[
                "UPDATE events SET position = 9000000000000000000 WHERE position = 1000",
                &format!("UPDATE ledger_head SET position = {head}"),
            ])
            .await;
        let report = tokio::time::timeout(Duration::from_secs(60), world.verify()).await.unwrap();
        let found = texts(&report);
        assert_eq!(report.first_position(), Some(1_000), "{found:?}");
        assert!(found.iter().any(|text| text.contains("9000000000000000000: inserted")), "{found:?}");
    }
}

/// Large events, and JSON as only Postgres may write it.
#[tokio::test(flavor = "multi_thread")]
async fn odd_events_are_sealed_and_proven() {
    let world = World::new().await;
    let payloads = [
        "json_build_object('a', repeat('x', 65535))",
        "json_build_object('a', repeat('é\\n\"', 2000000))",
        "E' {\\n\\t\"a\" : 1e400, \"a\": -0.0, \"\\\\u0000\": \"\\\\ud83d\\\\ude00\" } '::json",
        "'null'::json",
        "'[]'::json",
        "'123456789012345678901234567890123456789012345678901234567890'::json",
    ];
    for payload in payloads {
        append(world.pool(), 1).await;
        world.tamper(&[&format!("UPDATE events SET payload = {payload}, metadata = payload, aggregate_id = E'\\n\"' || position WHERE position = (SELECT max(position) FROM events)")]).await;
    }
    world.tamper(&["UPDATE events SET sequence = 1"]).await;
    world.seal().await;
    let report = world.verify().await;
    assert_eq!(texts(&report), [""; 0]);
    for position in 1..=report.newest {
        let proof = query::inclusion_proof(world.pool(), position, None).await.unwrap().to_string();
        assert_eq!(check_proof(&proof, &world.public()).unwrap().position, position);
    }
}

/// Verifications beside two sealers and appends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_ledger_at_work_is_never_accused() {
    let world = World::sealed_at(&[300]).await;
    let token = CancellationToken::new();
    let signal = AppendSignal::new();
    let sealers: Vec<_> = (0..2).map(|_| tokio::spawn(world.sealer(&signal).run(token.clone()))).collect();
    let (pool, stop) = (world.pool().clone(), token.clone());
    let appending = tokio::spawn(async move {
        while !stop.is_cancelled() {
            append(&pool, 97).await;
        }
    });
    for _ in 0..15 {
        let report = world.verify().await;
        assert_eq!(texts(&report), [""; 0]);
    }
    token.cancel();
    appending.await.unwrap();
    for sealer in sealers {
        sealer.await.unwrap();
    }
    assert!(world.verify().await.is_sound());
}
