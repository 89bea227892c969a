//! Money that a payment holds and that is another payment's by decision: that one's once, whoever crashes when.

use std::collections::BTreeMap;

use sqlx::PgPool;
use wopay_commands::{Created, ExecuteError, Ledger};
use wopay_domain::payment::{
    DepositReport, DepositStage, DepositState, Payment, PaymentCommand, PaymentError, PaymentState, PaymentStatus,
    ReassignDeposit, RefundHeldDeposit, decide,
};
use wopay_domain::{AssetId, MerchantId, Money, PaymentId};

use crate::support::{assert_whole, books, chain, create, ledger, merchant_id, metadata, now, seen};

const AMOUNT: i128 = 100_000_000;

/// A payment that asks for the native coin, and one that asks for the token; both of one merchant.
struct Shop {
    ledger: Ledger,
    holder: PaymentId,
    receiver: PaymentId,
}

async fn open(ledger: &Ledger, merchant: MerchantId, order: &str, wants_native: bool) -> PaymentId {
    let mut request = create(merchant, order);
    if wants_native {
        request.terms.asset.id = AssetId::native(&chain());
        request.terms.amount = Money::new(5, AssetId::native(&chain()));
    }
    match ledger.create_payment(request, &metadata(), None).await.unwrap() {
        Created::New { payment, .. } => payment.id,
        Created::Existing { .. } => panic!("new"),
    }
}

impl Shop {
    async fn open(pool: &PgPool) -> Self {
        let (ledger, merchant) = (ledger(pool), merchant_id());
        let holder = open(&ledger, merchant, "native", true).await;
        let receiver = open(&ledger, merchant, "token", false).await;
        Self { ledger, holder, receiver }
    }

    async fn observe(&self, report: &DepositReport) {
        self.ledger.observe_deposit(self.holder, report, &metadata()).await.unwrap();
    }

    fn decision(&self, to_payment_id: PaymentId) -> ReassignDeposit {
        let reason = "the customer took the other token".to_owned();
        ReassignDeposit { deposit: confirmed(1).deposit, to_payment_id, reason, at: now() }
    }

    async fn reassign(&self) -> Result<PaymentState, ExecuteError<PaymentError>> {
        let executed = self.ledger.reassign_deposit(self.holder, self.decision(self.receiver), &metadata()).await;
        executed.map(|executed| executed.state)
    }

    /// The holder's stream says that it is the other's, and the process died before that one heard of it.
    async fn reassign_half(&self) {
        let command = PaymentCommand::ReassignDeposit(Box::new(self.decision(self.receiver)));
        let (store, id) = (self.ledger.store(), self.holder.to_string());
        let context = store.load::<Payment>(&id).await.unwrap();
        let events = decide(context.state(), command).unwrap();
        let metadata = metadata().to_map();
        store.append::<Payment>(&id, context.sequence(), &events, &metadata, Vec::new()).await.unwrap();
    }

    async fn status(&self, payment: PaymentId) -> PaymentStatus {
        self.ledger.payment(payment).await.unwrap().unwrap().0.status
    }
}

fn report(revision: u64, stage: DepositStage) -> DepositReport {
    DepositReport { stage, ..seen(7, revision, 100_000_000) }
}

fn confirmed(revision: u64) -> DepositReport {
    report(revision, DepositStage::Confirmed { confirmations: 3 })
}

/// All of it there, and nowhere else.
fn in_account(account: &str) -> BTreeMap<String, i128> {
    [(chain().to_string(), AMOUNT), (account.to_owned(), -AMOUNT)].into()
}

#[tokio::test]
async fn it_is_the_other_payment_s_once_which_books_what_the_chain_does() {
    let database = wopay_testkit::database().await;
    let shop = Shop::open(&database.pool).await;
    shop.observe(&confirmed(1)).await;
    assert_eq!(books(&database.pool).await, in_account("suspense"));
    for _ in 0..2 {
        assert_eq!(shop.reassign().await.unwrap().status, PaymentStatus::Completed);
        assert_eq!(books(&database.pool).await, in_account("payable"));
    }
    assert_eq!(shop.status(shop.holder).await, PaymentStatus::Pending);
    for _ in 0..2 {
        shop.observe(&report(2, DepositStage::Orphaned)).await;
        assert_eq!(books(&database.pool).await, BTreeMap::new());
    }
    assert_eq!(shop.status(shop.receiver).await, PaymentStatus::Reversed);
    let (holder, _) = shop.ledger.payment(shop.holder).await.unwrap().unwrap();
    let noted = &holder.deposits[&confirmed(1).deposit];
    assert_eq!((noted.state, noted.revision), (DepositState::Orphaned, 2), "the outbox waits for this trace");
    shop.observe(&confirmed(3)).await;
    assert_eq!(books(&database.pool).await, in_account("payable"));
    assert_eq!(shop.status(shop.receiver).await, PaymentStatus::Completed);
    let assigned: i64 = sqlx::query_scalar("SELECT count(*) FROM events WHERE event_type = 'DepositAssigned'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(assigned, 1);
    assert_whole(&database.pool).await;
    shop.ledger.shutdown().await;
}

#[tokio::test]
async fn a_crash_between_the_payments_is_made_good_by_the_same_command_the_next_report_or_whoever_looks() {
    for way in ["command", "report", "look"] {
        let database = wopay_testkit::database().await;
        let shop = Shop::open(&database.pool).await;
        shop.observe(&confirmed(1)).await;
        shop.reassign_half().await;
        assert_eq!(books(&database.pool).await, in_account("suspense"), "it stays there");
        match way {
            "command" => drop(shop.reassign().await.unwrap()),
            "report" => {
                shop.observe(&report(2, DepositStage::Orphaned)).await;
                assert_eq!(books(&database.pool).await, BTreeMap::new());
                assert_eq!(shop.status(shop.receiver).await, PaymentStatus::Reversed, "it had been completed");
                shop.observe(&confirmed(3)).await;
            }
            _ => {
                let deposit = confirmed(1).deposit;
                for _ in 0..2 {
                    shop.ledger.complete_reassignment(shop.holder, &deposit, &metadata()).await.unwrap();
                }
            }
        }
        assert_eq!(books(&database.pool).await, in_account("payable"), "{way}");
        assert_eq!(shop.status(shop.receiver).await, PaymentStatus::Completed);
        assert_whole(&database.pool).await;
        shop.ledger.shutdown().await;
    }
}

#[tokio::test]
async fn a_process_that_dies_after_the_other_payment_was_told_of_a_report_leaves_nothing_to_be_booked_twice() {
    let database = wopay_testkit::database().await;
    let shop = Shop::open(&database.pool).await;
    shop.observe(&confirmed(1)).await;
    shop.reassign().await.unwrap();
    let gone = report(2, DepositStage::Orphaned);
    let told = PaymentCommand::ObserveDeposit(Box::new(gone.clone()));
    shop.ledger.execute_payment(shop.receiver, told, &metadata()).await.unwrap();
    assert_eq!(books(&database.pool).await, BTreeMap::new());
    shop.observe(&gone).await;
    assert_eq!(books(&database.pool).await, BTreeMap::new());
    assert_whole(&database.pool).await;
    shop.ledger.shutdown().await;
}

#[tokio::test]
async fn what_left_the_chain_before_is_not_assigned() {
    let database = wopay_testkit::database().await;
    let shop = Shop::open(&database.pool).await;
    shop.observe(&confirmed(1)).await;
    shop.observe(&report(2, DepositStage::Orphaned)).await;
    let refused = shop.reassign().await.unwrap_err();
    let expected = PaymentError::DepositNotConfirmed { state: DepositState::Orphaned };
    assert!(matches!(&refused, ExecuteError::Domain(error) if error == &expected), "{refused:?}");
    assert_eq!(books(&database.pool).await, BTreeMap::new());
    shop.ledger.shutdown().await;
}

#[tokio::test]
async fn a_payment_that_cannot_take_it_leaves_it_where_it_was() {
    let database = wopay_testkit::database().await;
    let shop = Shop::open(&database.pool).await;
    shop.observe(&confirmed(1)).await;
    let merchant = shop.ledger.payment(shop.holder).await.unwrap().unwrap().0.merchant_id;
    let native = open(&shop.ledger, merchant, "native too", true).await;
    let stranger = open(&shop.ledger, merchant_id(), "token", false).await;
    let nobody = PaymentId::from_uuid(merchant_id().as_uuid());
    let asset =
        "the deposit is of another asset than the payment asks for: open one in its asset, or refund the deposit";
    let itself = "the deposit is held by this payment: it is assigned, not reassigned";
    for (to, expected) in [
        (native, PaymentError::InvalidDecision(asset)),
        (stranger, PaymentError::OtherMerchant),
        (nobody, PaymentError::NotFound),
        (shop.holder, PaymentError::InvalidDecision(itself)),
    ] {
        let refused = shop.ledger.reassign_deposit(shop.holder, shop.decision(to), &metadata()).await.unwrap_err();
        assert!(matches!(&refused, ExecuteError::Domain(error) if error == &expected), "{refused:?}");
    }
    let (holder, _) = shop.ledger.payment(shop.holder).await.unwrap().unwrap();
    assert_eq!(holder.deposits[&confirmed(1).deposit].decision, None);
    assert_eq!(books(&database.pool).await, in_account("suspense"));

    shop.reassign().await.unwrap();
    let other = open(&shop.ledger, merchant, "token again", false).await;
    let refused = shop.ledger.reassign_deposit(shop.holder, shop.decision(other), &metadata()).await.unwrap_err();
    let gone = PaymentError::DepositReassigned(shop.receiver);
    assert!(matches!(&refused, ExecuteError::Domain(error) if error == &gone), "{refused:?}");
    shop.ledger.shutdown().await;
}

#[tokio::test]
async fn an_assignment_and_a_refund_at_once_are_one_of_the_two() {
    let database = wopay_testkit::database().await;
    let shop = Shop::open(&database.pool).await;
    shop.observe(&confirmed(1)).await;
    let refund = PaymentCommand::RefundHeldDeposit(Box::new(RefundHeldDeposit {
        deposit: confirmed(1).deposit,
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "another token".to_owned(),
        at: now(),
    }));
    let metadata = metadata();
    let (assigned, refunded) =
        tokio::join!(shop.reassign(), shop.ledger.execute_payment(shop.holder, refund, &metadata));
    assert!(assigned.is_ok() != refunded.is_ok(), "{assigned:?} and {refunded:?}");
    let expected = if assigned.is_ok() { in_account("payable") } else { BTreeMap::new() };
    assert_eq!(books(&database.pool).await, expected);
    shop.ledger.shutdown().await;
}
