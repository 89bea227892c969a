//! Proofs prove what they say to whoever has the public key, and nothing else.

use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use wopay_audit::query::{checkpoint_at, consistency_proof, entries, inclusion_proof, latest_checkpoint, tile};
use wopay_audit::{
    AuditError, AuditKey, ProofError, SignedCheckpoint, check_consistency, check_proof, check_proof_of, leaf,
};

use crate::sealed::{ORIGIN, World};

const SIZES: [i64; 7] = [1, 2, 255, 256, 257, 700, 1_100];

#[tokio::test(flavor = "multi_thread")]
async fn every_event_can_be_proven_in_every_checkpoint_that_covers_it() {
    let world = World::sealed_at(&SIZES).await;
    for size in SIZES {
        for position in [1, 2, 128, 255, 256, 257, 512, 699, 700, 1_024, 1_099, 1_100] {
            let proof = inclusion_proof(world.pool(), position, Some(size)).await;
            if position > size {
                assert!(matches!(proof, Err(AuditError::NotSealed { .. })));
                continue;
            }
            let text = proof.unwrap().to_string();
            let proven = check_proof(&text, &world.public()).unwrap();
            assert_eq!((proven.position, proven.checkpoint.size), (position, size));
            let line: serde_json::Value = serde_json::from_str(&proven.line).unwrap();
            assert_eq!(line["payload"]["amount"], position.to_string());
        }
    }
    assert!(matches!(inclusion_proof(world.pool(), 0, None).await, Err(AuditError::NotSealed { .. })));
    assert!(matches!(inclusion_proof(world.pool(), 1, Some(3)).await, Err(AuditError::NoCheckpoint { size: 3 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_contains_every_older_one() {
    let world = World::sealed_at(&SIZES).await;
    for old in SIZES {
        let kept = SignedCheckpoint::open(&world.note(old).await, &[world.public()]).unwrap();
        for new in SIZES {
            let proof = consistency_proof(world.pool(), old, Some(new)).await;
            if old > new {
                assert!(matches!(proof, Err(AuditError::Sizes { .. })));
                continue;
            }
            let text = proof.unwrap().to_string();
            let proven = check_consistency(&text, &kept, &[world.public()]).unwrap();
            assert_eq!(proven.note, world.note(new).await);
            let forged = SignedCheckpoint { root: leaf::record(b"another history"), ..kept.clone() };
            assert!(check_consistency(&text, &forged, &[world.public()]).is_err());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_of_something_else_fails() {
    let world = World::sealed_at(&[300, 1_000]).await;
    let text = inclusion_proof(world.pool(), 200, None).await.unwrap().to_string();
    let other = inclusion_proof(world.pool(), 201, None).await.unwrap();
    let line = String::from_utf8(other.line.clone()).unwrap();
    let keys = [world.public()];

    // Another event.
    assert!(matches!(check_proof_of(&text, Some(&line), &keys), Err(ProofError::OtherEvent)));
    let swapped = wopay_audit::InclusionProof { position: 200, ..other.clone() }.to_string();
    assert!(matches!(check_proof(&swapped, &world.public()), Err(ProofError::OtherEvent)));
    let this = inclusion_proof(world.pool(), 200, None).await.unwrap();
    let mixed = wopay_audit::InclusionProof { line: other.line.clone(), position: 201, ..this.clone() }.to_string();
    assert!(matches!(check_proof(&mixed, &world.public()), Err(ProofError::NotIncluded(_))));
    // Altered by a digit.
    let altered = String::from_utf8(this.line.clone()).unwrap().replace("\"200\"", "\"900\"");
    let altered = wopay_audit::InclusionProof { line: altered.into_bytes(), ..this.clone() }.to_string();
    assert!(matches!(check_proof(&altered, &world.public()), Err(ProofError::NotIncluded(_))));
    // Another key, of the same name and of another.
    let stranger = AuditKey::from_seed(&[9; 32], ORIGIN).unwrap();
    assert!(matches!(check_proof(&text, stranger.public()), Err(ProofError::Checkpoint(_))));
    let renamed = AuditKey::from_seed(&[7; 32], "wopay.test/other").unwrap();
    assert!(matches!(check_proof(&text, renamed.public()), Err(ProofError::Checkpoint(_))));
    // Another checkpoint, well signed.
    let moved = wopay_audit::InclusionProof { checkpoint: world.note(300).await, ..this.clone() }.to_string();
    assert!(matches!(check_proof(&moved, &world.public()), Err(ProofError::NotIncluded(_))));
    let too_small =
        wopay_audit::InclusionProof { checkpoint: world.key.sign(10, this.hashes[0]).unwrap().note, ..this };
    assert!(matches!(check_proof(&too_small.to_string(), &world.public()), Err(ProofError::NotIncluded(_))));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_byte_of_a_proof_goes_unnoticed() {
    let world = World::sealed_at(&[700]).await;
    let text = inclusion_proof(world.pool(), 500, None).await.unwrap().to_string();
    let proven = check_proof(&text, &world.public()).unwrap();
    let key = world.public();
    TestRunner::new(ProptestConfig::with_cases(2_000))
        .run(&(any::<prop::sample::Index>(), any::<u8>()), |(place, byte)| {
            let mut bytes = text.clone().into_bytes();
            let place = place.index(bytes.len());
            prop_assume!(bytes[place] != byte);
            bytes[place] = byte;
            if let Ok(altered) = String::from_utf8(bytes) {
                // What base64 does not look at may change; what is proven may not.
                if let Ok(still) = check_proof(&altered, &key) {
                    prop_assert_eq!((&still.line, still.checkpoint.root), (&proven.line, proven.checkpoint.root));
                }
            }
            Ok(())
        })
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_proven_of_a_ledger_that_was_altered() {
    let world = World::sealed_at(&[700]).await;
    world.tamper(&["UPDATE events SET payload = '{}' WHERE position = 500"]).await;
    assert!(matches!(inclusion_proof(world.pool(), 500, None).await, Err(AuditError::Damaged { size: 700 })));
    assert!(inclusion_proof(world.pool(), 501, None).await.is_ok());
    world.tamper(&["DELETE FROM events WHERE position = 501"]).await;
    assert!(matches!(inclusion_proof(world.pool(), 501, None).await, Err(AuditError::EventMissing { position: 501 })));
    world.tamper(&["DELETE FROM audit_tiles WHERE level = 0 AND idx = 0"]).await;
    assert!(matches!(inclusion_proof(world.pool(), 1, None).await, Err(AuditError::Damaged { size: 700 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_entries_are_as_c2sp_wants_them() {
    let world = World::new().await;
    assert_eq!(latest_checkpoint(world.pool()).await.unwrap(), None);
    assert!(matches!(inclusion_proof(world.pool(), 1, None).await, Err(AuditError::NothingSealed)));
    let world = World::sealed_at(&[100, 700]).await;
    assert_eq!(latest_checkpoint(world.pool()).await.unwrap().unwrap().size, 700);
    assert_eq!(checkpoint_at(world.pool(), 100).await.unwrap().unwrap().note, world.note(100).await);

    let leaves = tile(world.pool(), 0, 0, 256).await.unwrap().unwrap();
    assert_eq!(leaves.len(), 8_192);
    assert_eq!(tile(world.pool(), 0, 0, 100).await.unwrap().unwrap(), leaves[..3_200]);
    assert_eq!(tile(world.pool(), 0, 2, 256).await.unwrap(), None);
    assert_eq!(tile(world.pool(), 0, 2, 188).await.unwrap().unwrap().len(), 188 * 32);
    assert_eq!(tile(world.pool(), 1, 0, 2).await.unwrap().unwrap().len(), 64);
    assert_eq!(tile(world.pool(), 1, 0, 3).await.unwrap(), None);

    let bundle = entries(world.pool(), 0, 256).await.unwrap().unwrap();
    let mut rest = bundle.as_slice();
    for leaf_bytes in leaves.chunks_exact(32) {
        let (length, after) = rest.split_at(2);
        let length = usize::from(u16::from_be_bytes(length.try_into().unwrap()));
        let (entry, after) = after.split_at(length);
        assert_eq!(leaf::record(entry).0, leaf_bytes);
        rest = after;
    }
    assert!(rest.is_empty());
    assert_eq!(entries(world.pool(), 2, 256).await.unwrap(), None, "not all of them are sealed");
    assert!(entries(world.pool(), 2, 188).await.unwrap().is_some());
    world.append(300).await;
    assert_eq!(entries(world.pool(), 2, 256).await.unwrap(), None, "there, and not sealed");
}
