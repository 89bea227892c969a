//! The sealer: within a second, alone, whole after every crash, and never against what it signed before.

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wopay_audit::{AuditKey, Refusal, SealError, SealState, Sealer, SealerStatus, SignedCheckpoint};
use wopay_eventbus::AppendSignal;
use wopay_testkit::eventually;

use crate::sealed::{ORIGIN, World, append, texts};

/// Generous: other builds and tests run on the same cores.
const SOON: Duration = Duration::from_secs(60);

struct Running {
    status: SealerStatus,
    token: CancellationToken,
    task: JoinHandle<()>,
}

fn run(sealer: Sealer) -> Running {
    let (status, token) = (sealer.status(), CancellationToken::new());
    Running { status, task: tokio::spawn(sealer.run(token.clone())), token }
}

impl Running {
    async fn wait_for(&self, what: &str, is_it: impl Fn(&SealState) -> bool) -> SealState {
        eventually(what, SOON, async || Some(self.status.state()).filter(|state| is_it(state))).await
    }

    async fn wait_for_size(&self, size: i64) {
        self.wait_for(
            "everything to be sealed",
            |state| matches!(state, SealState::Sealing { size: s, .. } if *s == size),
        )
        .await;
    }

    async fn stop(self) {
        self.token.cancel();
        self.task.await.unwrap();
    }

    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|error| error.is_cancelled()));
    }
}

fn copy_of(world: &World) -> SignedCheckpoint {
    let note = std::fs::read_to_string(world.checkpoint_file()).unwrap();
    SignedCheckpoint::open(&note, &[world.public()]).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_appended_is_sealed_and_copied() {
    let world = World::new().await;
    let signal = AppendSignal::new();
    let running = run(world.sealer(&signal));
    running.wait_for_size(0).await;
    for count in [1, 3, 700] {
        // Without the signal, as another process would.
        let start = Instant::now();
        let head = world.append(count).await;
        running.wait_for_size(head).await;
        tracing::debug!(elapsed = ?start.elapsed());
        assert_eq!(copy_of(&world).size, head);
    }
    running.stop().await;
    assert_eq!(texts(&world.verify().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seals_and_another_takes_over() {
    let world = World::new().await;
    let signal = AppendSignal::new();
    let first = run(world.sealer(&signal));
    first.wait_for_size(0).await;
    let second = run(world.sealer(&signal));
    second.wait_for("the second to stand by", |state| *state == SealState::Standby).await;
    assert!(matches!(world.try_seal().await, Err(SealError::Standby)));
    world.append(10).await;
    first.wait_for_size(10).await;
    first.kill().await;
    world.append(10).await;
    second.wait_for_size(20).await;
    second.stop().await;
    assert_eq!(texts(&world.verify().await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_anywhere_it_goes_on_where_it_was() {
    let world = World::new().await;
    let signal = AppendSignal::new();
    let pool = world.pool().clone();
    let writer = tokio::spawn({
        let signal = signal.clone();
        async move {
            for round in 0..60_i64 {
                let head = append(&pool, 1 + round * 37 % 900).await;
                signal.appended(head);
            }
        }
    });
    let mut kills = 0_u32;
    while !writer.is_finished() || kills < 40 {
        let running = run(world.sealer(&signal));
        // At another point each time: the pauses are what is tested.
        tokio::time::sleep(Duration::from_millis(u64::from(kills * 7 % 61))).await;
        running.kill().await;
        kills += 1;
    }
    writer.await.unwrap();
    world.append(5).await;
    // A connection that was cut off holds the lock until Postgres has noticed.
    eventually("the lock", SOON, async || world.try_seal().await.ok()).await;
    let report = world.verify().await;
    assert_eq!(texts(&report), [""; 0]);
    assert_eq!(report.unsealed(), 0);
    assert_eq!(copy_of(&world).size, report.newest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_is_behind_is_brought_up_to_date() {
    let world = World::sealed_at(&[10]).await;
    let older = std::fs::read_to_string(world.checkpoint_file()).unwrap();
    world.append(10).await;
    world.seal().await;
    // As a crash between commit and copy leaves it.
    std::fs::write(world.checkpoint_file(), &older).unwrap();
    world.seal().await;
    assert_eq!(copy_of(&world).size, 20);
    std::fs::remove_file(world.checkpoint_file()).unwrap();
    world.seal().await;
    assert_eq!(copy_of(&world).size, 20);
}

fn refused(sealed: Result<wopay_audit::Sealed, SealError>) -> Refusal {
    match sealed {
        Err(SealError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_does_not_sign_what_it_cannot_extend() {
    let world = World::sealed_at(&[400, 1_000]).await;
    world.tamper(&["DELETE FROM events WHERE position = 1000", "UPDATE ledger_head SET position = 999"]).await;
    assert!(matches!(refused(world.try_seal().await), Refusal::Shortened { head: 999, sealed: 1_000 }));

    let world = World::sealed_at(&[400, 1_000]).await;
    world.tamper(&["DELETE FROM audit_checkpoints WHERE size = 1000"]).await;
    assert!(matches!(refused(world.try_seal().await), Refusal::CopyAhead { copy: 1_000, stored: 400 }));

    let world = World::sealed_at(&[1_000]).await;
    let other = world.key.sign(600, wopay_audit::leaf::record(b"another history")).unwrap();
    std::fs::write(world.checkpoint_file(), other.note).unwrap();
    assert!(matches!(refused(world.try_seal().await), Refusal::CopyOfAnotherLog { size: 600 }));

    let world = World::sealed_at(&[1_000]).await;
    std::fs::write(world.checkpoint_file(), "nothing of ours").unwrap();
    assert!(matches!(refused(world.try_seal().await), Refusal::Copy(_)));

    let world = World::sealed_at(&[1_000]).await;
    std::fs::remove_file(world.checkpoint_file()).unwrap();
    let other = world.sealer_with(AuditKey::from_seed(&[9; 32], ORIGIN).unwrap(), &AppendSignal::new());
    assert!(matches!(refused(other.seal_now().await), Refusal::ForeignCheckpoint { size: 1_000 }));

    let world = World::sealed_at(&[1_000]).await;
    world.tamper(&["UPDATE audit_tiles SET hashes = set_byte(hashes, 40, 0) WHERE level = 0 AND idx = 3"]).await;
    assert!(matches!(refused(world.try_seal().await), Refusal::Tiles { size: 1_000 }));

    let world = World::sealed_at(&[1_000]).await;
    world.append(100).await;
    world.tamper(&["DELETE FROM events WHERE position = 1050"]).await;
    assert!(matches!(refused(world.try_seal().await), Refusal::Gap { position: 1_050 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_shown_until_a_person_has_looked() {
    let world = World::sealed_at(&[1_000]).await;
    let signal = AppendSignal::new();
    let running = run(world.sealer(&signal));
    running.wait_for_size(1_000).await;
    world.tamper(&["UPDATE ledger_head SET position = 900", "DELETE FROM events WHERE position > 900"]).await;
    let state = running.wait_for("a refusal", |state| matches!(state, SealState::Refused { .. })).await;
    assert!(matches!(state, SealState::Refused { reason } if reason.contains("events are gone")));
    world.append(100).await;
    // New events in the place of the old: nothing is signed, and verify says where.
    running.stop().await;
    let newest: i64 =
        sqlx::query_scalar("SELECT max(size) FROM audit_checkpoints").fetch_one(world.pool()).await.unwrap();
    assert_eq!(newest, 1_000);
    assert_eq!(world.verify().await.first_position(), Some(901));
}
