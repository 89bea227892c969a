//! The bulk scan gives what the log holds, whatever is asked for.

use wopay_eventbus::log;

use crate::support::World;

async fn positions(world: &World, after: i64, upto: i64) -> Vec<i64> {
    let mut scan = log::scan(world.pool(), after, upto);
    let mut positions = Vec::new();
    while let Some(chunk) = scan.next().await.unwrap() {
        assert!(!chunk.is_empty());
        positions.extend(chunk.iter().map(|event| event.position));
    }
    positions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_gives_every_event_of_its_range_as_it_is_stored() {
    let world = World::new().await;
    assert!(positions(&world, 0, i64::MAX).await.is_empty());
    let head = world.append(40_000).await;

    let mut scan = log::scan(world.pool(), 0, i64::MAX);
    let mut expected = log::read(world.pool(), 0, 40_000).await.unwrap().into_iter();
    while let Some(chunk) = scan.next().await.unwrap() {
        for event in chunk.iter() {
            assert_eq!(Some(event.to_recorded().unwrap()), expected.next());
        }
    }
    assert_eq!(expected.next(), None);

    assert_eq!(positions(&world, 32_760, 32_770).await, (32_761..=32_770).collect::<Vec<_>>());
    assert_eq!(positions(&world, head - 1, head).await, [head]);
    assert!(positions(&world, head, i64::MAX).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_passes_over_holes_and_reads_beyond_the_head() {
    let world = World::new().await;
    world.append(70_000).await;
    let statements = [
        "SET session_replication_role = replica",
        "DELETE FROM events WHERE position BETWEEN 100 AND 69000",
        "UPDATE ledger_head SET position = 50",
        "RESET session_replication_role",
    ];
    let mut connection = world.pool().acquire().await.unwrap();
    for statement in statements {
        sqlx::query(statement).execute(&mut *connection).await.unwrap();
    }
    let expected: Vec<i64> = (1..100).chain(69_001..=70_000).collect();
    assert_eq!(positions(&world, 0, i64::MAX).await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_given_byte_for_byte() {
    let world = World::new().await;
    let payload = "{ \"name\" :\n\t\"Zoë \\u0041 €\",\"n\":1.0E+2 }";
    sqlx::query("UPDATE ledger_head SET position = 1").execute(world.pool()).await.unwrap();
    sqlx::query(
        "INSERT INTO events (position, aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata, recorded_at)
         VALUES (1, 'payment', 'a', 7, 'T', '1.0', $1::text::json, '{}', '1969-12-31T23:59:59.999999Z')",
    )
    .bind(payload)
    .execute(world.pool())
    .await
    .unwrap();
    let chunk = log::scan(world.pool(), 0, 1).next().await.unwrap().unwrap();
    let event = chunk.iter().next().unwrap();
    assert_eq!((event.payload, event.sequence, event.recorded_at_micros), (payload, 7, -1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_that_is_dropped_gives_its_connection_back() {
    let world = World::new().await;
    world.append(40_000).await;
    for _ in 0..40 {
        assert!(log::scan(world.pool(), 0, i64::MAX).next().await.unwrap().is_some());
    }
    assert_eq!(log::head(world.pool()).await.unwrap(), 40_000);
}
