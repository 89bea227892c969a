//! Odd money and chains that change, as auditors read them: replay, explanation, export, what-if.

use chrono::TimeDelta;
use cqrs_es::DomainEvent as _;
use wopay_audit::explain::explain;
use wopay_audit::export::{CheckOptions, ExportOptions, check, export};
use wopay_audit::replay::{History, Moment, Subject, history, ledger};
use wopay_audit::what_if::{Options, what_if};
use wopay_domain::chains::{AddToken, Chain, ChainCommand};
use wopay_domain::deposit::{
    AssignUnmatched, ObserveUnmatched, RefundUnmatched, UnmatchedDeposit, UnmatchedDepositCommand,
};
use wopay_domain::payment::{
    AssignDeposit, DepositReport, DepositStage, Holder, PaymentCommand, ReassignDeposit, ToldDeposit, UnmatchedMoney,
};
use wopay_domain::{Asset, AssetId, BlockRef, ChainName, DepositId, DepositKey, DepositLeg, Money, chains, deposit};

use crate::story::{Story, at, payment_id, usdt, whole};

const WATCHER: &str = "system:watchers/bsc";
const STRAY: &str = "0x00000000000000000000000000000000000000ee";

fn chain() -> ChainName {
    "bsc".parse().unwrap()
}

/// A token that no payment named.
fn gold() -> Asset {
    let id = AssetId::token(&chain(), "0x00000000000000000000000000000000000000cc").unwrap();
    Asset { id, symbol: "GOLD".to_owned(), decimals: 2 }
}

fn key(number: u32) -> DepositKey {
    DepositKey { chain: chain(), transaction: format!("0xdd{number}"), leg: DepositLeg::Log(0) }
}

/// A ledger with three deposits of nobody: one was assigned to payment 1, one sent back, one left the chain.
struct Odd {
    story: Story,
    deposits: [UnmatchedDeposit; 3],
}

impl Odd {
    async fn told() -> Self {
        let mut odd = Self { story: Story::new().await, deposits: Default::default() };
        odd.story.register().await;
        odd.change_chain().await;
        odd.story.create(1, 3).await;
        odd.report(0, Money::new(whole(100), usdt().id), DepositStage::Confirmed { confirmations: 10 }, 10).await;
        odd.report(1, Money::new(250, gold().id), DepositStage::Confirmed { confirmations: 10 }, 11).await;
        odd.report(2, Money::new(whole(7), usdt().id), DepositStage::Confirmed { confirmations: 10 }, 12).await;
        odd.assign(20).await;
        let refund = RefundUnmatched {
            transaction: "0xfeed".to_owned(),
            network_fee: Some(Money::new(21, AssetId::native(&chain()))),
            reason: "nobody knows what for".to_owned(),
            at: at(30),
        };
        odd.execute(1, UnmatchedDepositCommand::Refund(Box::new(refund)), "operator", 30).await;
        odd.report(2, Money::new(whole(7), usdt().id), DepositStage::Orphaned, 40).await;
        odd
    }

    async fn change_chain(&mut self) {
        let mut state = Chain::default();
        let add = ChainCommand::AddToken(AddToken {
            chain: chain(),
            token: gold(),
            min_deposit: None,
            configured: vec![usdt()],
            at: at(1),
        });
        let pause = ChainCommand::Pause { chain: chain(), reason: "upgrade".to_owned(), at: at(2) };
        for (command, second) in [(add, 1), (pause, 2)] {
            for event in chains::decide(&state, command).unwrap() {
                chains::evolve(&mut state, event.clone());
                let payload = serde_json::to_string(&event).unwrap();
                let (name, version) = (event.name(), event.event_version());
                self.story.insert("chain", "bsc", name, &version, &payload, "operator", second).await;
            }
        }
    }

    async fn report(&mut self, number: u32, amount: Money, stage: DepositStage, second: i64) {
        let report = DepositReport {
            deposit: key(number),
            revision: self.story.next_revision(),
            amount,
            from: Some("0x00000000000000000000000000000000000000bb".to_owned()),
            block: BlockRef { number: 90, hash: "0x90".to_owned(), time: at(0) - TimeDelta::seconds(5) },
            stage,
            at: at(second),
        };
        let observe = ObserveUnmatched { address: STRAY.to_owned(), report, told: None };
        self.execute(number, UnmatchedDepositCommand::Observe(Box::new(observe)), WATCHER, second).await;
    }

    async fn assign(&mut self, second: i64) {
        let reason = "an older address of the same shop".to_owned();
        let assign = AssignUnmatched { payment_id: payment_id(1), reason: reason.clone(), at: at(second) };
        self.execute(0, UnmatchedDepositCommand::Assign(assign), "operator", second).await;
        let state = self.deposits[0].state().unwrap().clone();
        let (revision, amount, from, block) = (state.revision, state.amount, state.from, state.block);
        let unmatched = Some(UnmatchedMoney { revision, amount, address: state.address, from, block, held_by: None });
        let assign = AssignDeposit { deposit: state.deposit, unmatched, reason, at: at(second) };
        self.story.execute(1, PaymentCommand::AssignDeposit(Box::new(assign)), "operator", second).await;
    }

    async fn execute(&mut self, number: u32, command: UnmatchedDepositCommand, actor: &str, second: i64) {
        let state = &mut self.deposits[usize::try_from(number).unwrap()];
        let events = deposit::decide(state, command).unwrap();
        for event in events {
            deposit::evolve(state, event.clone());
            let (id, payload) = (DepositId::of(&key(number)).to_string(), serde_json::to_string(&event).unwrap());
            let (name, version) = (event.name(), event.event_version());
            self.story.insert("deposit", &id, name, &version, &payload, actor, second).await;
        }
    }

    async fn history(&self, subject: Subject) -> History {
        history(self.story.pool(), &subject, None).await.unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_and_a_chain_have_histories() {
    let odd = Odd::told().await;
    let history = odd.history(Subject::Deposit(DepositId::of(&key(0)))).await;
    let steps: Vec<_> =
        history.steps.iter().map(|step| (step.event_type.as_str(), step.cause.actor.as_str())).collect();
    assert_eq!(steps, [("UnmatchedDepositRecorded", WATCHER), ("UnmatchedDepositAssigned", "operator")]);
    assert_eq!(history.aggregate_type, "deposit");
    assert_eq!(history.steps[0].booked.len(), 2);
    assert_eq!(history.steps[0].cause.block.as_ref().unwrap().number, 90);
    assert!(history.steps.iter().all(|step| step.cause.deposit == Some(key(0)) && step.standing.is_none()));
    assert!(history.steps[1].rule.contains("an older address of the same shop"), "{}", history.steps[1].rule);
    let refunded = odd.history(Subject::Deposit(DepositId::of(&key(1)))).await;
    assert_eq!(refunded.steps[1].cause.transaction.as_deref(), Some("0xfeed"));

    let history = odd.history(Subject::Chain(chain())).await;
    let rules: Vec<_> = history.steps.iter().map(|step| step.rule.as_str()).collect();
    assert!(rules[0].starts_with("GOLD (bsc/0x") && rules[1].contains("\"upgrade\""), "{rules:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_holds_what_is_nobody_s_in_suspense() {
    let odd = Odd::told().await;
    let replay = ledger(odd.story.pool(), None, |_| {}).await.unwrap();
    let states: Vec<_> = replay.deposits_by_state.clone().into_iter().collect();
    assert_eq!(states, [("assigned", 1), ("orphaned", 1), ("refunded", 1)]);
    assert!(replay.is_balanced);
    assert!(replay.assets.contains(&gold()), "named when it was added");
    let suspense = |replay: &wopay_audit::replay::LedgerReplay, asset: &AssetId| {
        let line = replay.balances.iter().find(|line| line.account.to_string() == "suspense" && &line.asset == asset);
        line.map(|line| (line.posted.to_string(), line.pending.to_string()))
    };
    let nothing = Some(("0".to_owned(), "0".to_owned()));
    assert_eq!((suspense(&replay, &usdt().id), suspense(&replay, &gold().id)), (nothing.clone(), nothing));
    let early = ledger(odd.story.pool(), Some(Moment::Time(at(15))), |_| {}).await.unwrap();
    assert_eq!(early.deposits_by_state.into_iter().collect::<Vec<_>>(), [("unmatched", 3)]);
    let early = ledger(odd.story.pool(), Some(Moment::Time(at(15))), |_| {}).await.unwrap();
    assert_eq!(suspense(&early, &usdt().id), Some((whole(107).to_string(), "0".to_owned())));
    assert_eq!(suspense(&early, &gold().id), Some(("250".to_owned(), "0".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_is_explained_with_who_and_why() {
    let odd = Odd::told().await;
    let text = explain(odd.story.pool(), payment_id(1), None).await.unwrap();
    for sentence in [
        "The deposit of 100 USDT in block 90 of bsc, transaction 0xdd0, was assigned to this payment: it counts from now on.",
        "Why: It was no payment's; an operator decided that it is this payment's: \"an older address of the same shop\".",
        "By an operator at the command line (position",
        "Money that an operator gave to this payment",
        "100 USDT from 0x00000000000000000000000000000000000000bb, transaction 0xdd0, came to 0x00000000000000000000000000000000000000ee, which no payment claimed.",
        "Why: It is confirmed, and no payment claims its address: booked to suspense.",
        "By the watcher of bsc (position 5, report 1).",
        "Posted: 100 USDT, debit suspense, credit merchant:",
        "custody:bsc (what our addresses hold): 100 USDT posted, 0 USDT pending.",
        "suspense (held until somebody decides): 0 USDT posted, 0 USDT pending.",
    ] {
        assert!(text.contains(sentence), "{sentence:?} is missing from\n{text}");
    }
    let early = explain(odd.story.pool(), payment_id(1), Some(Moment::Time(at(15)))).await.unwrap();
    assert!(!early.contains("gave to this payment"), "{early}");
}

/// Payment 1 was cancelled and paid all the same; payment 2 is the order anew, and the money is given to it.
async fn given_to_another() -> Story {
    let mut story = Story::new().await;
    story.register().await;
    story.create(1, 1).await;
    story.create(2, 2).await;
    story.execute(1, PaymentCommand::Cancel { at: at(3) }, "operator", 3).await;
    story.confirmed(1, 100, whole(100), 20).await;
    let state = story.payment(1).clone();
    let (deposit, known) = state.deposits.first_key_value().unwrap();
    let (deposit, to_payment_id, reason) = (deposit.clone(), payment_id(2), "the second order".to_owned());
    let reassign = ReassignDeposit { deposit: deposit.clone(), to_payment_id, reason: reason.clone(), at: at(30) };
    story.execute(1, PaymentCommand::ReassignDeposit(Box::new(reassign)), "operator", 30).await;
    let unmatched = Some(UnmatchedMoney {
        revision: known.revision,
        amount: known.amount.clone(),
        address: state.terms.address.clone(),
        from: known.from.clone(),
        block: known.block.clone(),
        held_by: Some(Holder { payment_id: state.id, merchant_id: state.merchant_id }),
    });
    let assign = AssignDeposit { deposit: deposit.clone(), unmatched, reason, at: at(30) };
    story.execute(2, PaymentCommand::AssignDeposit(Box::new(assign)), "operator", 30).await;
    let (revision, amount, from, block) =
        (story.next_revision(), known.amount.clone(), known.from.clone(), known.block.clone());
    let report = DepositReport { deposit, revision, amount, from, block, stage: DepositStage::Orphaned, at: at(40) };
    story.execute(2, PaymentCommand::ObserveDeposit(Box::new(report.clone())), WATCHER, 40).await;
    let told = ToldDeposit { report, told: payment_id(2) };
    story.execute(1, PaymentCommand::ObserveToldDeposit(Box::new(told)), WATCHER, 40).await;
    story
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_went_from_one_payment_to_another_is_told_by_both() {
    let story = given_to_another().await;
    let replayed = history(story.pool(), &Subject::Payment(payment_id(1)), None).await.unwrap();
    let steps: Vec<_> = replayed.steps.iter().map(|step| step.event_type.as_str()).collect();
    assert_eq!(steps[steps.len() - 3..], ["HeldDepositReassigned", "PaymentCancelled", "ReassignedDepositReported"]);
    assert!(replayed.steps[steps.len() - 3].booked.is_empty() && replayed.steps[steps.len() - 1].booked.is_empty());
    assert_eq!(replayed.steps[steps.len() - 1].cause.block.as_ref().unwrap().number, 100);

    let (first, second) = (payment_id(1), payment_id(2));
    let at_30 = Some(Moment::Time(at(35)));
    let giver = explain(story.pool(), first, at_30).await.unwrap();
    let taker = explain(story.pool(), second, at_30).await.unwrap();
    let later = explain(story.pool(), first, None).await.unwrap();
    for (text, sentence) in [
        (&giver, format!("The held deposit of 100 USDT, transaction 0x{:064x}, was assigned to payment {second}.", 1)),
        (
            &giver,
            format!(
                "Why: An operator decided that it is payment {second}'s, which books it from now on: \"the second order\"."
            ),
        ),
        (&giver, format!("100 USDT, confirmed, assigned to payment {second}.")),
        (&giver, format!("was given to payment {second}, which is explained by itself.")),
        (
            &taker,
            format!(
                "Why: Payment {first} held it; an operator decided that it is this payment's: \"the second order\"."
            ),
        ),
        (&taker, format!("came to 0x{:040x}, which is payment {first}'s.", 1)),
        (&taker, "It was confirmed.".to_owned()),
        (&taker, "suspense (held until somebody decides): 0 USDT posted, 0 USDT pending.".to_owned()),
        (&taker, "custody:bsc (what our addresses hold): 100 USDT posted, 0 USDT pending.".to_owned()),
        (&later, format!("which payment {second} has, left the chain with block 100")),
        (&later, format!("Why: Payment {second} has it by decision, was told of this first, and books it.")),
    ] {
        assert!(text.contains(&sentence), "{sentence:?} is missing from\n{text}");
    }
    let replay = ledger(story.pool(), None, |_| {}).await.unwrap();
    assert!(replay.is_balanced);
    assert!(
        replay.balances.iter().all(|line| line.posted.minor == 0 && line.pending.minor == 0),
        "{:?}",
        replay.balances
    );
    let early = ledger(story.pool(), at_30, |_| {}).await.unwrap();
    let posted: Vec<_> = early.balances.iter().filter(|line| line.posted.minor > 0).collect();
    assert_eq!(posted.len(), 2, "custody and the merchant: {posted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_that_went_from_one_payment_to_another_is_exported_and_decided_again() {
    let story = given_to_another().await;
    story.world.seal().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("export");
    let options = ExportOptions { from: None, to: None, out: out.clone(), trusted: None };
    export(story.pool(), &story.world.public(), &options, |_| {}).await.unwrap();
    let checked = CheckOptions { key: Some(story.world.public()), trusted: None };
    assert_eq!(check(&out, &checked, &|_| {}).unwrap().problems, []);
    let report = what_if(story.pool(), &Options::default(), |_| {}).await.unwrap();
    assert_eq!(
        (report.payments, report.same, report.not_reproduced),
        (2, 2, 0),
        "{:?}",
        report.not_reproduced_examples
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_money_is_in_exports_and_decided_again() {
    let odd = Odd::told().await;
    odd.story.world.seal().await;
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("export");
    let options = ExportOptions { from: None, to: None, out: out.clone(), trusted: None };
    export(odd.story.pool(), &odd.story.world.public(), &options, |_| {}).await.unwrap();
    let checked = CheckOptions { key: Some(odd.story.world.public()), trusted: None };
    assert_eq!(check(&out, &checked, &|_| {}).unwrap().problems, []);
    let journal = std::fs::read_to_string(out.join("journal.csv")).unwrap();
    let of_gold: Vec<_> = journal.lines().filter(|line| line.contains("00cc")).collect();
    assert!(of_gold.len() == 4 && of_gold.iter().all(|line| line.ends_with(",250,2.50")), "{of_gold:#?}");

    let report = what_if(odd.story.pool(), &Options::default(), |_| {}).await.unwrap();
    assert_eq!((report.payments, report.same, report.not_reproduced), (1, 1, 0));
}
