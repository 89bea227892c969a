//! Money that one payment held and that is another's by decision.

use wopay_domain::payment::{
    AssignDeposit, DepositReport, DepositStage, Holder, PaymentCommand, ReassignDeposit, RefundHeldDeposit,
    ToldDeposit, UnmatchedMoney,
};
use wopay_domain::{DepositKey, DepositLeg};

use super::{Book, CONFIRMED, Chain, address, at, chain_name, id, native};

impl Book {
    /// As an operator gives money that one payment holds to another.
    async fn reassign(&mut self, holder: u32, deposit: &DepositKey, receiver: u32) {
        let (to_payment_id, reason, at) = (id(receiver).parse().unwrap(), "r".to_owned(), at(110));
        let reassign = ReassignDeposit { deposit: deposit.clone(), to_payment_id, reason: reason.clone(), at };
        self.execute(holder, PaymentCommand::ReassignDeposit(Box::new(reassign))).await;
        let state = self.payments[&holder].state().unwrap();
        let known = &state.deposits[deposit];
        let unmatched = UnmatchedMoney {
            revision: known.revision,
            amount: known.amount.clone(),
            address: state.terms.address.clone(),
            from: known.from.clone(),
            block: known.block.clone(),
            held_by: Some(Holder { payment_id: state.id, merchant_id: state.merchant_id }),
        };
        let assign = AssignDeposit { deposit: deposit.clone(), unmatched: Some(unmatched), reason, at };
        self.execute(receiver, PaymentCommand::AssignDeposit(Box::new(assign))).await;
    }
}

/// It stands at the address of the payment that held it, whoever has it, and may be sent back from there.
#[tokio::test]
async fn money_that_one_payment_held_and_another_has_is_expected_where_it_came_to() {
    let mut book = Book::new().await;
    book.open(1, "bsc").await;
    book.open(2, "bsc").await;
    book.execute(1, PaymentCommand::Cancel { at: at(50) }).await;
    book.report(1, 200, 5, CONFIRMED).await;
    book.report(1, 70, 5, CONFIRMED).await;
    let key =
        |minor: u128| DepositKey { chain: chain_name(), transaction: format!("0x1{minor}"), leg: DepositLeg::Native };
    book.reassign(1, &key(200), 2).await;
    let mut chain = Chain::holds([((address(1), native()), 270)]);
    let result = book.reconcile(9, &chain).await;
    assert_eq!((result.differences.as_slice(), result.totals[0].sums.confirmed), (&[][..], 270));

    // The other payment's refund may have been paid from there, and so may that of what is held.
    book.execute(2, PaymentCommand::Expire { at: at(90_000) }).await;
    book.request_refund(2, 150).await;
    book.complete_refund(2, None).await;
    let back = RefundHeldDeposit {
        deposit: key(70),
        transaction: "0xback".to_owned(),
        network_fee: None,
        reason: "r".to_owned(),
        at: at(130),
    };
    book.execute(1, PaymentCommand::RefundHeldDeposit(Box::new(back))).await;
    for held in [270, 120, 200, 50] {
        chain.held.insert((address(1), native()), held);
        assert_eq!(book.reconcile(9, &chain).await.differences, [], "{held}");
    }
    chain.held.insert((address(1), native()), 51);
    assert_eq!(book.reconcile(9, &chain).await.differences.len(), 1);

    // It is gone with its block: the other payment is told first, and the holder notes it.
    let state = book.payments[&1].state().unwrap();
    let known = state.deposits[&key(200)].clone();
    let (deposit, revision, at) = (key(200), known.revision + 100, at(140));
    let (amount, from, block, stage) = (known.amount, known.from, known.block, DepositStage::Orphaned);
    let report = DepositReport { deposit, revision, amount, from, block, stage, at };
    let told = id(2).parse().unwrap();
    book.execute(2, PaymentCommand::ObserveDeposit(Box::new(report.clone()))).await;
    book.execute(1, PaymentCommand::ObserveToldDeposit(Box::new(ToldDeposit { report, told }))).await;
    chain.held.insert((address(1), native()), 70);
    let result = book.reconcile(9, &chain).await;
    assert_eq!((result.differences.as_slice(), result.totals[0].sums.confirmed), (&[][..], 70));
}
