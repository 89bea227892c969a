//! One world: a chain, nodes, payments, two watchers and a publisher, and what happens to them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::Deserialize;
use sqlx::PgPool;
use wopay_chain_watchers::{ChainWatcher, OutboxSignal, Progress};
use wopay_domain::deposit::{self, ObserveUnmatched, UnmatchedDeposit, UnmatchedDepositCommand};
use wopay_domain::payment::{DepositReport, PaymentCommand, decide, evolve};
use wopay_domain::{DepositId, DepositLeg};
use wopay_eventbus::commands::{ObserveDeposit, ObserveUnmatchedDeposit};

use super::chain::{Chain, Movement};
use super::nodes::{Node, Nodes, Simulated};
use super::plan::{Payer, Plan};
use super::random::Random;
use super::steps::{Came, Gate, go_on};
use super::store;

/// Steps in which the watchers must have come to rest once nothing disturbs them any more.
const SETTLING_STEPS: u32 = 40;
/// Questions to nodes and statements after which a step may die: about as many as the longest has.
const LIVES: u64 = 28;

/// What a report says, to whom.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Told {
    OfPayment(ObserveDeposit),
    Unmatched(ObserveUnmatchedDeposit),
}

impl Told {
    const fn report(&self) -> &DepositReport {
        match self {
            Self::OfPayment(command) => &command.report,
            Self::Unmatched(command) => &command.report,
        }
    }
}

pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) random: Random,
    pub(super) nodes: Arc<Mutex<Nodes>>,
    pub(super) payers: Vec<Payer>,
    /// Money that no payment claimed when it was confirmed.
    pub(super) unmatched: HashMap<DepositId, UnmatchedDeposit>,
    /// Every report that was delivered and credits money.
    pub(super) credits: Vec<DepositReport>,
    pub(super) pool: PgPool,
    /// Reports of this world have ids above.
    pub(super) reports_after: i64,
    /// Steps may die on the way.
    pub(super) is_deadly: bool,
    watchers: Vec<(ChainWatcher, Arc<Gate>)>,
    trace: Option<Vec<String>>,
}

impl World {
    /// The world of that seed, before anything happens in it.
    pub(super) async fn new(seed: u64, pool: PgPool, reports_after: i64, is_traced: bool) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::new(seed, &mut random);
        let mut chain = Chain::new(seed, plan.has_empty_heights(), plan.block_time_s);
        for _ in 0..plan.blocks_before {
            chain.mine(Vec::new(), &mut random);
        }
        let opened_at = chain.head().header.block.time;
        let payers: Vec<_> = (0..plan.payments).map(|n| Payer::new(n, opened_at, &plan, &mut random)).collect();
        store::register(&pool, &plan, &payers).await;
        let nodes = Nodes {
            chain,
            random: Random::new(random.next()),
            faults: plan.faults,
            nodes: (0..plan.nodes).map(|_| Node::default()).collect(),
            in_use: 0,
            asset: plan.asset.id.clone(),
            has_empty_heights: plan.has_empty_heights(),
            tells_final: plan.tells_final,
            told_final: 0,
            addresses: payers.iter().map(|payer| payer.address.clone()).collect(),
        };
        let nodes = Arc::new(Mutex::new(nodes));
        let (watchers, credits, trace) = (Vec::new(), Vec::new(), is_traced.then(Vec::new));
        let unmatched = HashMap::new();
        let mut world = Self {
            plan,
            random,
            nodes,
            payers,
            unmatched,
            credits,
            pool,
            reports_after,
            is_deadly: true,
            watchers,
            trace,
        };
        world.note(|world| format!("{:?}", world.plan));
        world.watchers = vec![world.watcher(), world.watcher()];
        world
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap()
    }

    /// What happened, a line for each thing, if this world is traced.
    pub(super) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            self.trace.get_or_insert_default().push(line);
        }
    }

    fn watcher(&self) -> (ChainWatcher, Arc<Gate>) {
        let gate = Arc::new(Gate::default());
        let source = Simulated {
            nodes: Arc::clone(&self.nodes),
            gate: Arc::clone(&gate),
            has_empty_heights: self.plan.has_empty_heights(),
        };
        let (config, signal) = (self.plan.config(), OutboxSignal::default());
        (ChainWatcher::with_source(&config, Arc::new(source), self.pool.clone(), signal), gate)
    }

    /// From the beginning to where nothing moves any more.
    pub(super) async fn live(&mut self) {
        for _ in 0..self.plan.happenings {
            self.happen().await;
            if self.random.chance(80) {
                self.turn().await;
            }
            if self.random.chance(20) {
                self.deliver().await;
            }
        }
        self.settle().await;
        while self.deliver().await > 0 {}
    }

    async fn happen(&mut self) {
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
                self.watchers[index] = self.watcher();
                self.note(|_| format!("watcher {index} restarts"));
            }
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
        let leg = |number: u64| match (self.plan.has_empty_heights(), number) {
            (true, number) => DepositLeg::Account(format!("a{number}/native")),
            (false, 0) => DepositLeg::Native,
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
        legs.into_iter().map(movement).collect()
    }

    /// Another branch, from a block that is still allowed to lose what stands on it.
    fn fork(&mut self) {
        let places: Vec<u64> = {
            let nodes = self.nodes();
            let lowest = nodes.chain.finalized.max(nodes.chain.highest.saturating_sub(self.plan.window));
            // No cluster gives its first blocks up; nodes need not keep block 0.
            let lowest = lowest.max(u64::from(self.plan.has_empty_heights()));
            let heights = nodes.chain.blocks.iter().map(super::chain::Block::height);
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

    /// Some steps of one watcher, or a step of both at the same time; any of them may die on the way.
    async fn turn(&mut self) {
        let dies = self.random.chance(20).then(|| self.random.below(LIVES)).filter(|_| self.is_deadly);
        if self.random.chance(25) {
            self.step_both(dies).await;
        } else {
            let index = self.random.index(self.watchers.len());
            let mut dies = dies;
            for _ in 0..self.random.between(1, 3) {
                if self.step(index, &mut dies).await != Some(Progress::Again) {
                    break;
                }
            }
        }
    }

    /// A step of one watcher; `None`: it died.
    async fn step(&mut self, index: usize, dies: &mut Option<u64>) -> Option<Progress> {
        let (watcher, gate) = &mut self.watchers[index];
        let came = {
            let mut step = pin!(watcher.advance_once());
            loop {
                match go_on(step.as_mut(), gate, dies).await {
                    Came::ToTheGate => {}
                    came => break came,
                }
            }
        };
        self.note(|_| format!("watcher {index}: {came:?}"));
        if let Came::Through(progress) = came {
            return Some(progress);
        }
        *dies = None;
        self.died(index).await;
        None
    }

    /// A step of each watcher, in turns from one question to a node to the next.
    async fn step_both(&mut self, mut dies: Option<u64>) {
        let dead = {
            let [(first, first_gate), (second, second_gate)] = &mut self.watchers[..] else { panic!("two watchers") };
            let (mut first, mut second) = (pin!(first.advance_once()), pin!(second.advance_once()));
            let (mut first_came, mut second_came) = (Came::ToTheGate, Came::ToTheGate);
            while first_came == Came::ToTheGate || second_came == Came::ToTheGate {
                let is_first =
                    second_came != Came::ToTheGate || (first_came == Came::ToTheGate && self.random.chance(50));
                if is_first {
                    first_came = go_on(first.as_mut(), first_gate, &mut dies).await;
                    if first_came == Came::ToItsDeath {
                        break;
                    }
                } else {
                    second_came = go_on(second.as_mut(), second_gate, &mut None).await;
                }
            }
            if let Some(trace) = &mut self.trace {
                trace.push(format!("both watchers: {first_came:?}, {second_came:?}"));
            }
            // Both are of one process.
            first_came == Came::ToItsDeath
        };
        if dead {
            self.died(0).await;
            self.watchers[1] = self.watcher();
        }
    }

    /// A watcher was dropped in the middle of a step: what it left open in the database is given up. Mostly the process
    /// has died with it; a watcher that only lost a step goes on.
    async fn died(&mut self, index: usize) {
        while usize::try_from(self.pool.size()).unwrap() > self.pool.num_idle() {
            tokio::task::yield_now().await;
        }
        if self.random.chance(70) {
            self.watchers[index] = self.watcher();
        } else {
            // A call that was dropped at its gate leaves no mark there.
            self.watchers[index].1.open();
        }
    }

    /// Everybody tells the truth and everything becomes final: the watchers come to rest at the head.
    async fn settle(&mut self) {
        {
            let mut nodes = self.nodes.lock().unwrap();
            nodes.reform();
            for _ in 0..4 {
                nodes.chain.mine(Vec::new(), &mut self.random);
            }
            // Higher than any branch was, and than where watching is to begin.
            let reached = nodes.chain.highest.max(self.plan.start_block.unwrap_or_default());
            while nodes.chain.head().height() < reached {
                nodes.chain.mine(Vec::new(), &mut self.random);
            }
            nodes.chain.finalized = nodes.chain.head().height();
        }
        let index = self.random.index(self.watchers.len());
        let mut steps = 0;
        while self.step(index, &mut None).await != Some(Progress::Idle) {
            steps += 1;
            assert!(steps < SETTLING_STEPS, "no rest: {:?}", self.watchers[index].0.status().health());
        }
    }

    /// Executes the reports that wait, in any order, some twice; then they are deleted, unless the publisher dies before.
    async fn deliver(&mut self) -> usize {
        let rows = store::reports(&self.pool, &self.plan, self.reports_after).await;
        let mut ids: Vec<i64> = rows.iter().map(|(id, _)| *id).collect();
        let mut told: Vec<Told> = rows.iter().map(|(_, body)| serde_json::from_str(body).unwrap()).collect();
        // In what order one statement's rows come is not the seed's to say.
        told.sort_by_cached_key(|told| {
            let DepositReport { deposit, block, stage, .. } = told.report();
            (deposit.to_string(), block.hash.clone(), format!("{stage:?}"))
        });
        if self.random.chance(20) {
            told.extend_from_within(..);
        }
        self.random.shuffle(&mut told);
        if self.random.chance(20) {
            told.truncate(self.random.index(told.len() + 1));
            ids.clear();
        }
        for told in told {
            let DepositReport { deposit, block, stage, .. } = told.report();
            self.note(|_| format!("delivered: {deposit} {stage:?} in {} {}", block.number, block.hash));
            match told {
                Told::OfPayment(command) => self.execute(command),
                Told::Unmatched(command) => self.execute_unmatched(command),
            }
        }
        if !ids.is_empty() {
            store::delete_reports(&self.pool, &ids).await;
        }
        rows.len()
    }

    fn execute_unmatched(&mut self, command: ObserveUnmatchedDeposit) {
        let known = self.unmatched.entry(DepositId::of(&command.report.deposit)).or_default();
        let observe = ObserveUnmatched { address: command.address, report: command.report, told: None };
        for event in deposit::decide(known, UnmatchedDepositCommand::Observe(Box::new(observe))).unwrap() {
            deposit::evolve(known, event);
        }
    }

    fn execute(&mut self, command: ObserveDeposit) {
        self.credit(&command);
        let payer = self.payers.iter_mut().find(|payer| payer.id == command.payment_id).unwrap();
        let report = PaymentCommand::ObserveDeposit(Box::new(command.report));
        for event in decide(&payer.payment, report).unwrap() {
            evolve(&mut payer.payment, event);
        }
    }
}
