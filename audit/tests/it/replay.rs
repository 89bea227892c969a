//! What was at a moment, from a real log.

use std::sync::Mutex;

use wopay_audit::explain::explain;
use wopay_audit::replay::{LedgerFold, Moment, MomentError, ReplayError, Subject, history, ledger, resolve};
use wopay_eventbus::log;

use crate::story::{DEADLINE, Story, at, merchant_id, payment_id, whole};

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_at_its_end() {
    let story = Story::told().await;
    let told = Mutex::new(Vec::new());
    let replay = ledger(story.pool(), None, |progress| told.lock().unwrap().push(progress)).await.unwrap();
    assert_eq!(replay.as_of_position, story.position());
    assert_eq!(replay.merchants, 1);
    assert_eq!(
        replay.payments_by_status.into_iter().collect::<Vec<_>>(),
        [("completed", 3), ("expired", 1), ("reversed", 1)]
    );
    assert!(replay.is_balanced && replay.unbalanced_positions.is_empty());
    let balance = |account: &str, asset: &str| {
        let line = replay
            .balances
            .iter()
            .find(|line| line.account.to_string() == account && line.asset.as_str().ends_with(asset));
        line.map(|line| (line.posted.to_string(), line.pending.to_string())).unwrap()
    };
    // 100 + 60 + 120 − 20 + 100; what was seen is confirmed or gone.
    let payable = format!("merchant:{}:payable", merchant_id());
    assert_eq!(balance(&payable, "7955"), (whole(360).to_string(), "0".to_owned()));
    assert_eq!(balance("custody:bsc", "7955"), (whole(360).to_string(), "0".to_owned()));
    assert_eq!(balance("platform:gas", "native"), ("21000".to_owned(), "0".to_owned()));
    assert_eq!(balance("custody:bsc", "native"), ("-21000".to_owned(), "0".to_owned()));
    assert_eq!(told.lock().unwrap().last().unwrap().position, story.position());
}

/// Every position: what the log up to there folds to is what the ledger says as of there, and its books balance.
#[tokio::test(flavor = "multi_thread")]
async fn as_of_any_position_is_the_fold_of_what_was_there() {
    let story = Story::told().await;
    let mut events = log::scan(story.pool(), 0, i64::MAX);
    let chunk = events.next().await.unwrap().unwrap();
    for position in 0..=story.position() {
        let mut fold = LedgerFold::default();
        for event in chunk.iter().take_while(|event| event.position <= position) {
            fold.add(&event).unwrap();
        }
        let replay = ledger(story.pool(), Some(Moment::Position(position)), |_| {}).await.unwrap();
        assert!(replay.is_balanced, "as of {position}");
        assert_eq!(replay, fold.finish().unwrap());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_is_the_last_position_recorded_by_then() {
    let story = Story::told().await;
    let position = async |time| resolve(story.pool(), Some(Moment::Time(time))).await.unwrap().position;
    assert_eq!(position(at(-1)).await, 0);
    assert_eq!(position(at(0)).await, 1);
    assert_eq!(position(at(9)).await, 6);
    assert_eq!(position(at(DEADLINE * 100)).await, story.position());
    let ahead = resolve(story.pool(), Some(Moment::Position(story.position() + 1))).await;
    assert!(matches!(ahead, Err(MomentError::Ahead { .. })));

    let early = ledger(story.pool(), Some(Moment::Time(at(15))), |_| {}).await.unwrap();
    assert_eq!(
        early.payments_by_status.into_iter().collect::<Vec<_>>(),
        [("confirming", 1), ("partially_paid", 1), ("pending", 3)]
    );
    let custody = early.balances.iter().find(|line| line.account.to_string() == "custody:bsc").unwrap();
    assert_eq!((custody.posted.to_string(), custody.pending.to_string()), ("0".to_owned(), whole(160).to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payments_history_names_causes_and_rules() {
    let story = Story::told().await;
    let history = history(story.pool(), &Subject::Payment(payment_id(4)), None).await.unwrap();
    let events: Vec<_> = history.steps.iter().map(|step| step.event_type.as_str()).collect();
    let expected = [
        "PaymentCreated",
        "DepositDetected",
        "PaymentConfirming",
        "DepositConfirmed",
        "PaymentCompleted",
        "DepositOrphaned",
        "PaymentReversed",
    ];
    assert_eq!(events, expected);
    let created = &history.steps[0].cause;
    assert!(created.actor.starts_with("merchant:") && created.request_id.as_deref() == Some("req-5"));
    let seen = &history.steps[1];
    assert_eq!(seen.cause.block.as_ref().unwrap().number, 110);
    assert_eq!(seen.effective_at, at(15));
    assert_eq!(seen.recorded_at, at(30));
    assert_eq!(seen.booked.len(), 2);
    assert_eq!(history.steps[3].rule, "10 blocks deep, the policy asks for 10: booked to the merchant.");
    assert_eq!(history.steps[5].standing.as_ref().unwrap().status, "completed");
    assert_eq!(history.steps[6].standing.as_ref().unwrap().status, "reversed");

    let early = super::replay::history_at(&story, 4, 4).await;
    assert!(matches!(early, Err(ReplayError::NotFound { .. })));
}

pub(crate) async fn history_at(story: &Story, number: u32, position: i64) -> Result<usize, ReplayError> {
    let history =
        history(story.pool(), &Subject::Payment(payment_id(number)), Some(Moment::Position(position))).await?;
    Ok(history.steps.len())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merchant_has_a_history_too() {
    let story = Story::told().await;
    let history = history(story.pool(), &Subject::Merchant(merchant_id()), None).await.unwrap();
    assert_eq!(history.steps.len(), 1);
    assert_eq!(history.steps[0].cause.actor, "operator");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_is_explained_in_words() {
    let story = Story::told().await;
    let text = explain(story.pool(), payment_id(5), None).await.unwrap();
    for sentence in [
        "100 USDT on bsc, to be paid to 0x0000000000000000000000000000000000000005 until 2023-11-14 23:13:20 UTC.",
        "by the merchant, with API key 00000000-0000-0000-0000-000000000009, in request req-6.",
        "10 confirmations; nothing less than the whole amount is enough",
        "A deposit of 120 USDT from 0x00000000000000000000000000000000000000bb was seen in block 120 of bsc",
        "By the watcher of bsc",
        "10 blocks deep, the policy asks for 10: booked to the merchant.",
        "A refund of 20 USDT to 0x00000000000000000000000000000000000000bb was asked for: \"paid too much\".",
        "Completed (overpaid, partially_refunded).",
        "custody:bsc (what our addresses hold): 100 USDT posted, 0 USDT pending.",
    ] {
        assert!(text.contains(sentence), "{sentence:?} is missing from\n{text}");
    }
    let early = explain(story.pool(), payment_id(5), Some(Moment::Position(6))).await.unwrap();
    assert!(early.contains("Nothing yet.") && early.contains("Nothing: no money moved."), "{early}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_position_stops_the_replay() {
    let story = Story::told().await;
    story.world.tamper(&["DELETE FROM events WHERE position = 7"]).await;
    let replayed = ledger(story.pool(), None, |_| {}).await;
    assert!(matches!(replayed, Err(ReplayError::Gap(7))));
}
