//! Whatever is done to a sealed ledger, `verify` names the position.

use wopay_audit::{AuditKey, Problem, VerifyError, VerifyOptions, verify};

use crate::sealed::{ORIGIN, World, texts};

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_ledger_is_sound() {
    let world = World::new().await;
    assert!(world.verify().await.is_sound(), "an empty one");
    world.append(5).await;
    let report = world.verify().await;
    assert!(report.is_sound());
    assert_eq!((report.events, report.verified, report.unsealed()), (5, 0, 5));

    for count in [1, 300, 255, 256, 70_000] {
        world.append(count).await;
        world.seal().await;
    }
    let head = world.append(3).await;
    let report = world.verify().await;
    assert_eq!(texts(&report), [""; 0]);
    assert_eq!((report.events, report.newest, report.verified, report.unsealed()), (head, head, head - 3, 3));
    // The last is sealed in two batches.
    assert_eq!(report.checkpoints, 6);
    assert_eq!(report.checkpoint, Some(world.note(head - 3).await));
}

/// Each kind of hand on one event: what it does, and what is said of it.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_altered_is_named() {
    let cases = [
        (
            "payload",
            "UPDATE events SET payload = replace(payload::text, '\"444\"', '\"445\"')::json WHERE position = 444",
        ),
        ("white space", "UPDATE events SET payload = (payload::text || ' ')::json WHERE position = 444"),
        ("metadata", "UPDATE events SET metadata = '{\"actor\" : \"operatos\"}' WHERE position = 444"),
        ("time", "UPDATE events SET recorded_at = recorded_at + interval '1 microsecond' WHERE position = 444"),
        ("type", "UPDATE events SET event_type = 'PaymentCreates' WHERE position = 444"),
        ("version", "UPDATE events SET event_version = '1.1' WHERE position = 444"),
        ("stream", "UPDATE events SET aggregate_id = 'another', sequence = 1 WHERE position = 444"),
    ];
    for (what, statement) in cases {
        let world = World::sealed_at(&[100, 443, 444, 1_000]).await;
        world.tamper(&[statement]).await;
        let report = world.verify().await;
        assert_eq!(report.first_position(), Some(444), "{what}: {:?}", texts(&report));
        assert_eq!(report.findings[0].problem, Problem::Altered, "{what}");
        assert_eq!(report.verified, 1_000, "{what}: the others are still vouched for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_that_changed_places_are_named() {
    let world = World::sealed_at(&[1_000]).await;
    world
        .tamper(&[
            "UPDATE events SET position = -1 WHERE position = 300",
            "UPDATE events SET position = 300 WHERE position = 700",
            "UPDATE events SET position = 700 WHERE position = -1",
        ])
        .await;
    let report = world.verify().await;
    assert_eq!(
        texts(&report),
        [
            "position 300: reordered: the event was sealed at position 700",
            "position 700: reordered: the event was sealed at position 300"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_cannot_be_deleted() {
    let world = World::sealed_at(&[500, 1_000]).await;
    world.tamper(&["DELETE FROM events WHERE position = 1000", "UPDATE ledger_head SET position = 999"]).await;
    let report = world.verify().await;
    assert_eq!(texts(&report), ["position 1000: missing: what was sealed here is gone"]);

    // Also with all that the database knows of it: there is a copy.
    world
        .tamper(&[
            "DELETE FROM audit_checkpoints WHERE size = 1000",
            "DELETE FROM audit_tiles WHERE level = 0 AND (idx > 1 OR idx = 1 AND width > 244)",
            "DELETE FROM audit_tiles WHERE level = 1 AND width > 1",
        ])
        .await;
    let report = world.verify().await;
    assert_eq!(report.first_position(), Some(501), "from 501 on nothing in the database vouches for anything");
    assert!(
        report.findings.iter().any(|finding| finding.problem == Problem::Missing && finding.position == Some(1_000))
    );
    assert!(report.findings.iter().any(|finding| finding.problem == Problem::CheckpointGone { size: 1_000 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_in_the_middle_cannot_be_deleted() {
    let world = World::sealed_at(&[500, 1_000]).await;
    world.tamper(&["DELETE FROM events WHERE position = 300"]).await;
    let report = world.verify().await;
    assert_eq!(report.findings[0].to_string(), "position 300: missing: what was sealed here is gone");
    assert_eq!(report.verified, 1_000);

    // Also when the others close ranks.
    world
        .tamper(&[
            "UPDATE events SET position = -position WHERE position > 300",
            "UPDATE events SET position = -position - 1 WHERE position < 0",
            "UPDATE ledger_head SET position = 999",
        ])
        .await;
    let report = world.verify().await;
    assert_eq!(report.first_position(), Some(300));
    assert_eq!(report.findings[0].problem, Problem::Missing, "{:?}", texts(&report));
    assert!(texts(&report)[1].contains("reordered: the event was sealed at position 301"), "{:?}", texts(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_put_in_is_named() {
    let insert = "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                  VALUES (401, 'payment', 'mine', 1, 'PaymentCompleted', '1.0', '{}', '{}')";
    let world = World::sealed_at(&[500, 1_000]).await;
    world
        .tamper(&[
            "UPDATE events SET position = -position WHERE position > 400",
            "UPDATE events SET position = -position + 1 WHERE position < 0",
            insert,
            "UPDATE ledger_head SET position = 1001",
        ])
        .await;
    let report = world.verify().await;
    assert_eq!(report.findings[0].to_string(), "position 401: inserted: no such event was sealed here");
    assert_eq!(report.findings[1].problem, Problem::Moved { from: 401 });

    // At the end, behind the ledger's back.
    let world = World::sealed_at(&[400]).await;
    world.tamper(&[insert]).await;
    let report = world.verify().await;
    assert_eq!(report.findings[0].to_string(), "position 401: inserted: no such event was sealed here");
    // Before the beginning.
    let world = World::sealed_at(&[400]).await;
    world.tamper(&[&insert.replace("401", "0")]).await;
    assert_eq!(world.verify().await.first_position(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_in_a_stream_is_named() {
    let world = World::sealed_at(&[300]).await;
    world.tamper(&["UPDATE events SET sequence = 9 WHERE position = 150"]).await;
    let report = world.verify().await;
    assert_eq!(report.findings[0].problem, Problem::Altered);
    assert!(texts(&report)[1].starts_with("position 150: payment p50 has no event number 3"), "{:?}", texts(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_backup_under_a_newer_copy_shows() {
    let world = World::sealed_at(&[600]).await;
    let tables = ["events", "ledger_head", "audit_tiles", "audit_checkpoints"];
    for table in tables {
        world.tamper(&[&format!("CREATE TABLE backup_{table} AS TABLE {table}")]).await;
    }
    world.append(400).await;
    world.seal().await;
    for table in tables {
        world.tamper(&[&format!("DELETE FROM {table}"), &format!("INSERT INTO {table} TABLE backup_{table}")]).await;
    }
    let report = world.verify().await;
    assert_eq!(report.first_position(), Some(601));
    assert!(texts(&report).contains(&"positions 601 to 1000: missing: what was sealed here is gone".to_owned()));

    // And after the ledger has grown beyond the copy again.
    world.append(500).await;
    let report = world.verify().await;
    assert_eq!(report.first_position(), Some(601), "{:?}", texts(&report));
    assert!(report.findings.iter().any(|finding| finding.problem == Problem::Rewritten), "{:?}", texts(&report));
}

#[tokio::test(flavor = "multi_thread")]
async fn stored_hashes_that_were_altered_are_told_from_events_that_were() {
    // One bit of the leaf of position 300: the tile was written in one row.
    let flip = |level: i16, idx: i64, byte: i64| {
        format!(
            "UPDATE audit_tiles SET hashes = set_byte(hashes, {byte}, get_byte(hashes, {byte}) # 1)
             WHERE level = {level} AND idx = {idx}"
        )
    };
    let world = World::sealed_at(&[1_000]).await;
    world.tamper(&[&flip(0, 1, 43 * 32)]).await;
    let report = world.verify().await;
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].problem, Problem::Tile { level: 0, index: 1 });
    assert_eq!((report.first_position(), report.verified), (Some(300), 1_000));

    let world = World::sealed_at(&[1_000]).await;
    world.tamper(&[&flip(1, 0, 2 * 32)]).await;
    let report = world.verify().await;
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].problem, Problem::Tile { level: 1, index: 0 });
    assert_eq!((report.findings[0].position, report.findings[0].upto), (Some(513), Some(768)));

    let world = World::sealed_at(&[1_000]).await;
    world.tamper(&["DELETE FROM audit_tiles WHERE level = 0 AND idx = 1"]).await;
    let report = world.verify().await;
    assert_eq!(report.findings.len(), 1, "{:?}", texts(&report));
    assert_eq!((report.findings[0].position, report.findings[0].upto), (Some(257), Some(512)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_with_hashes_made_to_fit_is_found_by_what_was_signed() {
    let world = World::sealed_at(&[100, 400, 600, 1_000]).await;
    world.tamper(&["UPDATE events SET payload = '{\"amount\":\"1000000\"}' WHERE position = 450"]).await;
    // What the leaf of the altered event would be.
    let scan = wopay_eventbus::log::scan(world.pool(), 449, 450).next().await.unwrap().unwrap();
    let leaf = wopay_audit::leaf::hash(&scan.iter().next().unwrap());
    // 401 to 512 were sealed by one row of tile 1, 145 to 256 of its hashes.
    let place = 449 - 400;
    let update = format!(
        "UPDATE audit_tiles SET hashes = overlay(hashes PLACING '\\x{}' FROM {} FOR 32) WHERE level = 0 AND idx = 1 AND width = 256",
        hex::encode(leaf.0),
        place * 32 + 1,
    );
    world.tamper(&[&update]).await;
    let report = world.verify().await;
    assert_eq!(report.findings.len(), 1, "{:?}", texts(&report));
    assert_eq!(report.findings[0].problem, Problem::Rewritten);
    assert_eq!((report.findings[0].position, report.findings[0].upto), (Some(257), Some(512)), "the tile above tells");
    assert_eq!(report.verified, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_that_were_altered_are_named() {
    let world = World::sealed_at(&[100, 200, 300]).await;
    world
        .tamper(&["UPDATE audit_checkpoints SET note = replace(note, E'\\n200\\n', E'\\n201\\n') WHERE size = 200"])
        .await;
    let report = world.verify().await;
    assert!(matches!(report.findings[..], [ref only] if matches!(only.problem, Problem::Checkpoint { size: 200, .. })));
    assert_eq!((report.checkpoints, report.verified), (2, 300));

    let world = World::sealed_at(&[100, 200, 300]).await;
    world.tamper(&["UPDATE audit_checkpoints SET root = sha256('x') WHERE size = 200"]).await;
    assert_eq!(world.verify().await.first_position(), Some(200));

    // A checkpoint of another key over a history of its own: the table says one thing, the copy another.
    let world = World::sealed_at(&[100, 200, 300]).await;
    let other = AuditKey::from_seed(&[9; 32], ORIGIN).unwrap();
    let signed = other.sign(300, wopay_audit::leaf::record(b"other")).unwrap();
    sqlx::query("UPDATE audit_checkpoints SET note = $1, root = $2 WHERE size = 300")
        .bind(&signed.note)
        .bind(signed.root.0.as_slice())
        .execute(&mut *replica(&world).await)
        .await
        .unwrap();
    let report = world.verify().await;
    assert_eq!(report.first_position(), Some(300), "{:?}", texts(&report));
    assert_eq!(report.verified, 300, "the copy vouches");
}

async fn replica(world: &World) -> sqlx::pool::PoolConnection<sqlx::Postgres> {
    let mut connection = world.pool().acquire().await.unwrap();
    sqlx::query("SET session_replication_role = replica").execute(&mut *connection).await.unwrap();
    connection
}

#[tokio::test(flavor = "multi_thread")]
async fn two_heads_of_one_size_are_a_split_view() {
    let world = World::sealed_at(&[100, 200]).await;
    let other = world.key.sign(150, wopay_audit::leaf::record(b"other history")).unwrap();
    let report = world.verify_with(VerifyOptions { kept: vec![other.note], ..VerifyOptions::default() }).await;
    assert_eq!(report.first_position(), Some(101), "{:?}", texts(&report));
    let other = world.key.sign(200, wopay_audit::leaf::record(b"other history")).unwrap();
    let report = world.verify_with(VerifyOptions { kept: vec![other.note], ..VerifyOptions::default() }).await;
    assert!(report.findings.iter().any(|finding| finding.problem == Problem::SplitView { size: 200 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_came_after_a_trusted_checkpoint_can_be_read() {
    let world = World::sealed_at(&[300, 1_000]).await;
    let since = VerifyOptions { since: Some(world.note(300).await), ..VerifyOptions::default() };
    let report = world.verify_with(since.clone()).await;
    assert_eq!(texts(&report), [""; 0]);
    assert_eq!((report.from, report.events, report.verified), (300, 700, 1_000));

    world.tamper(&["UPDATE events SET payload = '{}' WHERE position IN (200, 900)"]).await;
    assert_eq!(world.verify_with(since.clone()).await.first_position(), Some(900));
    assert_eq!(world.verify().await.first_position(), Some(200));

    let foreign = AuditKey::from_seed(&[9; 32], ORIGIN).unwrap().sign(300, wopay_audit::leaf::record(b"")).unwrap();
    let options = VerifyOptions { keys: vec![world.public()], since: Some(foreign.note), ..VerifyOptions::default() };
    assert!(matches!(verify(world.pool(), &options, |_| {}).await, Err(VerifyError::Kept(_))));
    let invented = world.key.sign(300, wopay_audit::leaf::record(b"")).unwrap();
    let options = VerifyOptions { since: Some(invented.note), ..options };
    assert!(matches!(verify(world.pool(), &options, |_| {}).await, Err(VerifyError::Since { size: 300 })));
}
