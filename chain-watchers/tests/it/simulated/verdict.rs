//! What must be true of every world: while it lives, and once it has settled.

use std::collections::BTreeSet;

use wopay_domain::deposit::UnmatchedDeposit;
use wopay_domain::payment::{DepositStage, DepositState};
use wopay_eventbus::ObserveDeposit;

use super::chain::Movement;
use super::plan::{AGREEING, Payer};
use super::store::{self, Stored};
use super::world::World;

/// Transaction, leg, address, minor units, block hash.
type Found<'a> = (&'a str, String, &'a str, u64, &'a str);

/// Whether a deposit was found by comparing balances.
fn is_of_balance(leg: &str) -> bool {
    leg.starts_with("trace:balance/")
}

impl World {
    /// A report is about to be executed: if it credits money, it may.
    pub(super) fn credit(&mut self, command: &ObserveDeposit) {
        let report = &command.report;
        let DepositStage::Confirmed { confirmations } = report.stage else { return };
        let payer = self.payers.iter().find(|payer| payer.id == command.payment_id).unwrap();
        assert!(confirmations >= payer.confirmations, "credited after {confirmations} confirmations: {report:?}");
        let told = self.nodes().told_final;
        assert!(!self.plan.tells_final || report.block.number <= told, "credited above {told}: {report:?}");
        if self.plan.agreement_above.is_some_and(|above| report.amount.minor() > u128::from(above)) {
            let named = self.nodes().named.get(&report.block.hash).map_or(0, std::collections::BTreeSet::len);
            assert!(named >= AGREEING, "credited although only {named} nodes name the block: {report:?}");
        }
        self.credits.push(report.clone());
    }

    /// The world has settled. Returns the greatest id of a report.
    pub(super) async fn judge(&self) -> i64 {
        let stored = store::stored(&self.pool, &self.plan).await;
        self.judge_blocks(&stored);
        self.judge_deposits(&stored);
        self.judge_strays(&stored);
        self.judge_payments(&stored);
        self.judge_credits();
        stored.last_report
    }

    /// The stored chain is the canonical one, without a gap.
    fn judge_blocks(&self, stored: &Stored) {
        let nodes = self.nodes();
        let head = nodes.chain.head();
        let (height, hash, _) = &stored.cursor;
        assert_eq!((*height, hash.as_str()), (head.height(), head.hash()), "the cursor stands at the head");
        let (height, hash, finalized) = &stored.head;
        assert_eq!((*height, hash.as_str()), (head.height(), head.hash()), "the published head is the head");
        // What is final is published as far as it was proven, and money is credited only as far.
        let credited = self.credits.iter().filter(|report| {
            self.plan.tells_final
                && nodes.chain.at(report.block.number).is_some_and(|block| block.hash() == report.block.hash)
        });
        let highest = credited.map(|report| report.block.number).max();
        assert!(*finalized >= highest, "{highest:?} is credited, {finalized:?} is published as final");
        let is_final = finalized.is_none_or(|height| self.plan.tells_final && height <= nodes.chain.finalized);
        assert!(is_final, "{finalized:?} is published as final");
        // Where heights can be empty, watching may begin on what the first block says it stands on.
        let is_begun_on = |height| self.plan.has_empty_heights() && height == stored.cursor.2;
        for (height, hash, parent) in stored.blocks.iter().filter(|(height, ..)| !is_begun_on(*height)) {
            let canonical = nodes.chain.at(*height).map(|block| (block.hash(), block.header.parent_hash.as_str()));
            assert_eq!(canonical, Some((hash.as_str(), parent.as_str())), "the stored block {height} is canonical");
        }
        let kept: BTreeSet<u64> = stored.blocks.iter().map(|(height, ..)| *height).collect();
        let lowest = head.height().saturating_sub(self.plan.window).max(stored.cursor.2);
        for block in nodes.chain.blocks.iter().filter(|block| block.height() > lowest) {
            assert!(kept.contains(&block.height()), "the window holds block {}", block.height());
        }
    }

    /// Everything that the canonical chain brought to our addresses is recorded, confirmed, and nothing else.
    fn judge_deposits(&self, stored: &Stored) {
        let mut found = BTreeSet::new();
        for (transaction, leg, address, minor, block, stage, is_claimed) in &stored.deposits {
            let payer = self.payers.iter().find(|payer| payer.address == *address).unwrap();
            // What was confirmed before a payment claimed its address stays nobody's until an operator decides.
            let may_be_nobodys = payer.first_at.is_none();
            assert!(*is_claimed == payer.claimed || (may_be_nobodys && !*is_claimed), "{transaction} is its payment's");
            assert_eq!(stage, "confirmed", "{transaction}");
            found.insert((transaction.as_str(), leg.clone(), address.as_str(), *minor, block.as_str()));
        }
        self.compare("recorded", &found, stored.cursor.2, |_| true);
    }

    /// What arrived of a token that nobody configured, at the addresses of payments and where it was searched for, is
    /// recorded, confirmed, and nothing else is.
    fn judge_strays(&self, stored: &Stored) {
        let nodes = self.nodes();
        let mut canonical = BTreeSet::new();
        for block in nodes.chain.blocks.iter().filter(|block| block.height() <= stored.swept) {
            for movement in block.movements.iter().filter(|movement| movement.succeeded && movement.is_stray()) {
                let payer = self.payers.iter().find(|payer| payer.address == movement.to).unwrap();
                let stray = (movement.transaction.as_str(), movement.to.as_str(), movement.minor, block.hash());
                let is_recorded =
                    stored.strays.iter().any(|(transaction, leg, address, minor, hash, stage, claimed)| {
                        (transaction.as_str(), address.as_str(), *minor, hash.as_str()) == stray
                            && (leg.as_str(), stage.as_str()) == ("log:4", "confirmed")
                            && *claimed
                    });
                let is_due = payer.first_at.is_some() && block.height() > stored.cursor.2;
                assert!(!is_due || is_recorded, "a stray is not recorded: {movement:?} in block {}", block.height());
                canonical.insert(stray);
            }
        }
        for (transaction, _, address, minor, hash, ..) in &stored.strays {
            let stray = (transaction.as_str(), address.as_str(), *minor, hash.as_str());
            assert!(canonical.contains(&stray), "an unknown token, but not canonical: {stray:?}");
        }
    }

    /// Payments, and the list of what is nobody's, hold exactly what the canonical chain brought, confirmed, and once.
    fn judge_payments(&self, stored: &Stored) {
        for payer in &self.payers {
            let state = payer.payment.state().unwrap();
            let mut found = BTreeSet::new();
            for (key, deposit) in state.deposits.iter().filter(|(_, deposit)| deposit.is_live()) {
                assert_eq!(deposit.state, DepositState::Confirmed, "{key}");
                let minor = u64::try_from(deposit.amount.minor()).unwrap();
                let leg = key.to_string().splitn(3, ':').nth(2).unwrap().to_owned();
                let (transaction, block) = (key.transaction.as_str(), deposit.block.hash.as_str());
                found.insert((transaction, leg, payer.address.as_str(), minor, block));
            }
            let unmatched = self.unmatched.values().filter_map(UnmatchedDeposit::state);
            for state in unmatched.filter(|state| state.is_live && state.address == payer.address) {
                let minor = u64::try_from(state.amount.minor()).unwrap();
                let leg = state.deposit.to_string().splitn(3, ':').nth(2).unwrap().to_owned();
                let (transaction, block) = (state.deposit.transaction.as_str(), state.block.hash.as_str());
                let is_new = found.insert((transaction, leg, payer.address.as_str(), minor, block));
                assert!(is_new && payer.first_at.is_none(), "{} counts twice", state.deposit);
            }
            self.judge_balance(payer, &found);
            self.compare("credited", &found, stored.cursor.2, |movement| movement.to == payer.address);
        }
    }

    /// Where balances are compared, what is credited in native money is what the address holds, however it came.
    fn judge_balance(&self, payer: &Payer, found: &BTreeSet<Found<'_>>) {
        let nodes = self.nodes();
        let of_token = |leg: &str| self.plan.rpc.is_some() && leg.starts_with("log:");
        let credited: u64 = found.iter().filter(|found| !of_token(&found.1)).map(|found| found.3).sum();
        let counts = |movement: &Movement| self.plan.rpc.is_none() || movement.is_native();
        let held = nodes.chain.held(nodes.chain.head().hash(), &payer.address, counts);
        if self.plan.compares && payer.claimed {
            assert_eq!(u128::from(credited), held, "{} holds as much as is credited: {found:?}", payer.address);
        }
        for (block, leg, _, _, hash) in found.iter().filter(|found| is_of_balance(&found.1)) {
            assert!(self.plan.compares && block == hash, "{leg} was found by a comparison");
            assert!(nodes.chain.blocks.iter().any(|known| known.hash() == *hash), "{leg} is in a canonical block");
        }
    }

    /// What is found is canonical, and what is canonical is found (up to where watching began it only may be).
    fn compare(&self, what: &str, found: &BTreeSet<Found<'_>>, base: u64, concerns: impl Fn(&Movement) -> bool) {
        let nodes = self.nodes();
        let mut canonical = BTreeSet::new();
        for block in &nodes.chain.blocks {
            for movement in block.movements.iter().filter(|movement| movement.succeeded && concerns(movement)) {
                if movement.is_unseen() || (self.plan.rpc.is_some() && movement.is_stray()) {
                    continue;
                }
                let Some(payer) = self.payers.iter().find(|payer| payer.address == movement.to) else { continue };
                let leg = match &movement.leg {
                    wopay_domain::DepositLeg::Native => "native".to_owned(),
                    wopay_domain::DepositLeg::Log(number) => format!("log:{number}"),
                    wopay_domain::DepositLeg::Trace(path) => format!("trace:{path}"),
                    wopay_domain::DepositLeg::Account(account) => format!("account:{account}"),
                };
                let entry = (movement.transaction.as_str(), leg, movement.to.as_str(), movement.minor, block.hash());
                let is_looked_for = payer.first_at.is_some_and(|at| at <= block.header.block.time);
                let is_due = block.height() > base || (is_looked_for && self.plan.start_block.is_none());
                assert!(!is_due || found.contains(&entry), "not {what}: {movement:?} in block {}", block.height());
                canonical.insert(entry);
            }
        }
        let invented: Vec<_> = found.difference(&canonical).filter(|found| !is_of_balance(&found.1)).collect();
        assert!(invented.is_empty(), "{what}, but not canonical: {invented:?}");
    }

    /// Where the chain says what is final, nothing was ever credited that was not.
    fn judge_credits(&self) {
        let nodes = self.nodes();
        for report in self.credits.iter().filter(|_| self.plan.tells_final) {
            let canonical = nodes.chain.at(report.block.number).map(super::chain::Block::hash);
            assert_eq!(canonical, Some(report.block.hash.as_str()), "credited what was not final: {report:?}");
        }
    }
}
