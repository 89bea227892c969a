//! What happens in a world besides its watchers' steps.

use wopay_chain_watchers::Traces;
use wopay_domain::DepositLeg;
use wopay_domain::payment::{PaymentCommand, decide, evolve};

use super::chain::{Block, Movement, STRAY, UNSEEN};
use super::store;
use super::world::World;

impl World {
    pub(super) async fn happen(&mut self) {
        if self.plan.is_long && self.random.chance(25) {
            self.plan.is_long = false;
            for _ in 0..self.random.between(70, 110) / 3 * 2 {
                self.mine();
            }
        }
        match self.random.below(100) {
            0..45 => self.mine(),
            45..72 => self.fork(),
            72..82 => self.finalize(),
            82..90 => {
                self.nodes().disturb();
                self.note(|world| format!("the nodes are {:?}", world.nodes().nodes));
            }
            90..95 => self.claim().await,
            95..97 => self.expire(),
            _ => {
                let index = self.random.index(self.watchers.len());
                self.watchers[index] = Some(self.watcher(index));
                self.note(|_| format!("watcher {index} restarts"));
            }
        }
    }

    /// What can happen between any two calls of a watcher to its nodes.
    pub(super) fn happen_meanwhile(&mut self) {
        match self.random.below(100) {
            0..4 => self.mine(),
            4..7 => self.fork(),
            7..9 => self.finalize(),
            9..11 => self.nodes().disturb(),
            _ => {}
        }
    }

    fn mine(&mut self) {
        for _ in 0..self.random.between(1, 3) {
            let movements = self.movements();
            let mut nodes = self.nodes.lock().unwrap();
            nodes.chain.mine(movements, &mut self.random);
        }
        self.note(|world| format!("mined {:?}", world.nodes().chain.head()));
    }

    /// The transactions of one block.
    fn movements(&mut self) -> Vec<Movement> {
        let count = [0, 0, 1, 1, 1, 2, 3][self.random.index(7)];
        (0..count).flat_map(|_| self.transaction()).collect()
    }

    fn transaction(&mut self) -> Vec<Movement> {
        let transaction = self.nodes().chain.name();
        let succeeded = self.random.chance(90);
        let first = self.random.below(2);
        let legs = if self.random.chance(20) { 2 } else { 1 };
        // Native money may come from a contract, where that can be seen.
        let inside = match &self.plan.rpc {
            Some(rpc) if rpc.traces != Traces::None => Some("0"),
            _ => self.plan.compares.then_some(UNSEEN),
        };
        let inside = inside.filter(|_| self.random.chance(40));
        let leg = |number: u64| match (self.plan.has_empty_heights(), number) {
            (true, number) => DepositLeg::Account(format!("a{number}/native")),
            (false, 0) => inside.map_or(DepositLeg::Native, |path| DepositLeg::Trace(path.to_owned())),
            (false, number) => DepositLeg::Log(u32::try_from(number - 1).unwrap()),
        };
        let legs: Vec<_> = (first..first + legs).map(leg).collect();
        let movement = |leg: DepositLeg| {
            let stranger = "0x00000000000000000000000000000000deadbeef".to_owned();
            let is_ours = self.random.chance(80);
            let to = if is_ours { self.payers[self.random.index(self.payers.len())].address.clone() } else { stranger };
            let minor = if self.random.chance(20) { 1 } else { self.random.between(1, 1000) };
            Movement { transaction: transaction.clone(), leg, to, minor, succeeded }
        };
        let mut movements: Vec<Movement> = legs.into_iter().map(movement).collect();
        movements.extend(self.stray(&transaction, succeeded));
        movements
    }

    /// Some transactions move a token besides that nobody configured: which, their hashes say.
    fn stray(&self, transaction: &str, succeeded: bool) -> Option<Movement> {
        let number = u64::from_str_radix(&transaction[transaction.len() - 8..], 16).unwrap();
        let payer = &self.payers[usize::try_from(number).unwrap() % self.payers.len()];
        (self.plan.rpc.is_some() && number.is_multiple_of(3)).then(|| Movement {
            transaction: transaction.to_owned(),
            leg: DepositLeg::Log(STRAY),
            to: payer.address.clone(),
            minor: number,
            succeeded,
        })
    }

    /// Another branch, from a block that is still allowed to lose what stands on it.
    fn fork(&mut self) {
        let places: Vec<u64> = {
            let nodes = self.nodes();
            let lowest = nodes.chain.finalized.max(nodes.chain.highest.saturating_sub(self.plan.window));
            // No cluster gives its first blocks up; nodes need not keep block 0.
            let lowest = lowest.max(u64::from(self.plan.has_empty_heights()));
            let heights = nodes.chain.blocks.iter().map(Block::height);
            heights.filter(|height| *height >= lowest).collect()
        };
        if places.is_empty() {
            return;
        }
        let place = places[self.random.index(places.len())];
        let orphaned = self.nodes().chain.cut_above(place);
        let length = self.random.below(places.len() as u64 + 2);
        let mut fresh: Vec<Vec<Movement>> = (0..length).map(|_| self.movements()).collect();
        let mut transactions: Vec<Vec<Movement>> = Vec::new();
        for movement in orphaned {
            match transactions.iter_mut().find(|known| known[0].transaction == movement.transaction) {
                Some(known) => known.push(movement),
                None => transactions.push(vec![movement]),
            }
        }
        self.random.shuffle(&mut transactions);
        for transaction in transactions {
            if fresh.is_empty() || self.random.chance(30) {
                continue;
            }
            let index = self.random.index(fresh.len());
            let transaction = self.changed(transaction);
            fresh[index].extend(transaction);
        }
        for movements in fresh {
            let mut nodes = self.nodes.lock().unwrap();
            nodes.chain.mine(movements, &mut self.random);
        }
        self.note(|world| format!("forked at {place}: {:?}", &world.nodes().chain.blocks));
    }

    /// A transaction as it comes out in another block: mostly as before.
    fn changed(&mut self, mut transaction: Vec<Movement>) -> Vec<Movement> {
        match self.random.below(100) {
            0..12 => transaction.iter_mut().for_each(|movement| movement.minor += 5),
            12..20 => transaction.iter_mut().for_each(|movement| movement.succeeded = !movement.succeeded),
            20..27 => transaction.truncate(1),
            27..34 => {
                transaction.truncate(1);
                let leg = if self.plan.has_empty_heights() {
                    DepositLeg::Account("other/native".to_owned())
                } else {
                    DepositLeg::Log(9)
                };
                transaction[0].leg = leg;
            }
            34..40 => transaction[0].to.clone_from(&self.payers[0].address),
            _ => {}
        }
        transaction
    }

    fn finalize(&mut self) {
        let mut nodes = self.nodes.lock().unwrap();
        let (low, high) = (nodes.chain.finalized, nodes.chain.head().height());
        nodes.chain.finalized = self.random.between(low, high.max(low));
        drop(nodes);
        self.note(|world| format!("final: {}", world.nodes().chain.finalized));
    }

    async fn claim(&mut self) {
        let Some(payer) = self.payers.iter_mut().find(|payer| !payer.claimed) else { return };
        payer.claimed = true;
        store::claim(&self.pool, &self.plan, payer).await;
        let id = payer.id;
        self.note(|_| format!("{id} is opened"));
    }

    fn expire(&mut self) {
        let index = self.random.index(self.payers.len());
        let payment = &mut self.payers[index].payment;
        let at = payment.state().unwrap().terms.expires_at;
        for event in decide(payment, PaymentCommand::Expire { at }).unwrap_or_default() {
            evolve(payment, event);
        }
        self.note(|_| format!("payment {index} expires"));
    }
}
