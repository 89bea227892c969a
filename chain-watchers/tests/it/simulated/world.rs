//! One world: a chain, nodes, payments, two watchers and a publisher, and what happens to them.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use sqlx::PgPool;
use wopay_chain_watchers::{ChainWatcher, OutboxSignal, Progress};
use wopay_domain::DepositId;
use wopay_domain::deposit::UnmatchedDeposit;
use wopay_domain::payment::DepositReport;

use super::chain::Chain;
use super::nodes::{Node, Nodes, Simulated};
use super::plan::{Payer, Plan};
use super::random::Random;
use super::rpc::{Endpoint, Wire};
use super::steps::{Came, Gate, go_on};
use super::store;

/// Steps in which the watchers must have come to rest once nothing disturbs them any more.
const SETTLING_STEPS: u32 = 40;
/// Questions to nodes and statements after which a step may die: about as many as the longest has.
const LIVES: u64 = 28;
/// The same in time, where the watchers' own idea of when to ask whom again is left to time.
const SETTLING_TIME: Duration = Duration::from_secs(90);
const WATCHERS: usize = 2;
/// Times that balances are compared in the end: one comparison may fail where a machine is busy.
const COMPARISONS_OVER_HTTP: u32 = 2;

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
    /// Everybody tells the truth by now.
    is_calm: bool,
    /// Each is away only while it takes a step.
    pub(super) watchers: Vec<Option<ChainWatcher>>,
    /// Where each watcher's steps stop.
    gates: Vec<Arc<Gate>>,
    /// The nodes, where they are spoken to over HTTP.
    endpoints: Vec<Endpoint>,
    trace: Option<Vec<String>>,
}

impl Drop for World {
    /// A world that fails says what happened in it, if it is traced.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.trace().iter().for_each(|line| eprintln!("{line}"));
        }
    }
}

impl World {
    /// The world of that seed, before anything happens in it.
    pub(super) async fn new(seed: Seed, pool: PgPool, reports_after: i64, is_traced: bool) -> Self {
        let (plan, mut random) = seed.plan();
        let seed = seed.number();
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
            named: HashMap::new(),
        };
        let nodes = Arc::new(Mutex::new(nodes));
        let gates: Vec<Arc<Gate>> = (0..WATCHERS).map(|_| Arc::default()).collect();
        let mut endpoints = Vec::new();
        if plan.rpc.is_some() {
            let wire = Arc::new(Wire::new(seed, &plan, Arc::clone(&nodes), gates.clone()));
            let count = nodes.lock().unwrap().nodes.len();
            for index in 0..count {
                endpoints.push(Endpoint::new(index, Arc::clone(&wire)).await);
            }
        }
        let mut world = Self {
            plan,
            random,
            nodes,
            payers,
            unmatched: HashMap::new(),
            credits: Vec::new(),
            pool,
            reports_after,
            is_deadly: true,
            is_calm: false,
            watchers: Vec::new(),
            gates,
            endpoints,
            trace: is_traced.then(Vec::new),
        };
        world.note(|world| format!("{:?}", world.plan));
        world.watchers = (0..WATCHERS).map(|index| Some(world.watcher(index))).collect();
        world
    }

    pub(super) fn nodes(&self) -> MutexGuard<'_, Nodes> {
        self.nodes.lock().unwrap()
    }

    /// What happened, a line for each thing, if this world is traced.
    pub(super) fn trace(&self) -> &[String] {
        self.trace.as_deref().unwrap_or_default()
    }

    pub(super) fn note(&mut self, line: impl FnOnce(&Self) -> String) {
        if self.trace.is_some() {
            let line = line(self);
            self.trace.get_or_insert_default().push(line);
        }
    }

    pub(super) fn watcher(&self, index: usize) -> ChainWatcher {
        let urls = self.endpoints.iter().map(|endpoint| endpoint.url(index)).collect();
        let (config, signal) = (self.plan.config(urls, self.is_calm), OutboxSignal::default());
        if self.plan.rpc.is_some() {
            return ChainWatcher::new(&config, self.pool.clone(), signal).unwrap();
        }
        let source = Simulated {
            nodes: Arc::clone(&self.nodes),
            gate: Arc::clone(&self.gates[index]),
            has_empty_heights: self.plan.has_empty_heights(),
            compared: self.plan.compares.then(|| self.plan.asset.id.clone()),
        };
        ChainWatcher::with_source(&config, Arc::new(source), self.pool.clone(), signal)
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
        let mut watcher = self.watchers[index].take().unwrap();
        let gate = Arc::clone(&self.gates[index]);
        let came = {
            let mut step = pin!(watcher.advance_once());
            loop {
                match go_on(step.as_mut(), &gate, dies).await {
                    Came::ToTheGate => self.interrupt(),
                    came => break came,
                }
            }
        };
        let stands = self.stands().await;
        self.note(|_| format!("watcher {index}: {came:?}, {stands}, {:?}", watcher.status().health().last_error));
        self.watchers[index] = Some(watcher);
        if let Came::Through(progress) = came {
            return Some(progress);
        }
        *dies = None;
        self.died(index).await;
        None
    }

    /// A step of each watcher, in turns from one question to a node to the next; the first may die.
    async fn step_both(&mut self, dies: Option<u64>) {
        let [mut one, mut other] = [0, 1].map(|index: usize| self.watchers[index].take().unwrap());
        let gates = self.gates.clone();
        // Over HTTP a question is noted when it arrives, which may be while its step, or what looks after the pool beside
        // it, has gone on and holds the cursor's row. Whoever waits for that row would wait for ever if only he went on.
        let holds = self.plan.rpc.is_some();
        let (mut lives, mut came) = ([dies, None], [Came::ToTheGate; WATCHERS]);
        {
            let (mut first, mut second) = (pin!(one.advance_once()), pin!(other.advance_once()));
            while came.contains(&Came::ToTheGate) {
                let goes = came.map(|came| came == Came::ToTheGate);
                let is_first = !goes[1] || (goes[0] && self.random.chance(50));
                let [life, other_life] = &mut lives;
                let first = go_on(first.as_mut(), &gates[0], life);
                let second = go_on(second.as_mut(), &gates[1], other_life);
                let (chosen, left) = if is_first { ((0, first), (1, second)) } else { ((1, second), (0, first)) };
                let (index, now) = tokio::select! {
                    biased;
                    now = chosen.1 => (chosen.0, now),
                    now = left.1, if holds && goes[left.0] => (left.0, now),
                };
                came[index] = now;
                if now == Came::ToItsDeath {
                    break;
                }
                self.interrupt();
            }
        }
        let stands = self.stands().await;
        self.note(|_| format!("both watchers: {came:?}, {stands}"));
        self.watchers = vec![Some(one), Some(other)];
        if came[0] == Came::ToItsDeath {
            // Both are of one process.
            self.died(0).await;
            self.watchers[1] = Some(self.watcher(1));
        }
    }

    /// Where the cursor stands, if that is to be told.
    async fn stands(&self) -> String {
        if self.trace.is_some() { store::cursor(&self.pool, &self.plan).await } else { String::new() }
    }

    /// A watcher was dropped in the middle of a step: what it left open in the database is given up. Mostly the process
    /// has died with it; a watcher that only lost a step goes on.
    async fn died(&mut self, index: usize) {
        while usize::try_from(self.pool.size()).unwrap() > self.pool.num_idle() {
            tokio::task::yield_now().await;
        }
        if self.random.chance(70) {
            self.watchers[index] = Some(self.watcher(index));
        }
    }

    /// While a watcher waits for a node's answer, the chain goes on.
    fn interrupt(&mut self) {
        if !self.is_calm {
            self.happen_meanwhile();
        }
    }

    /// Everybody tells the truth and everything becomes final: the watchers come to rest at the head.
    async fn settle(&mut self) {
        self.is_calm = true;
        self.nodes().reform();
        self.finish_chain();
        // What a watcher remembers of nodes and of disagreement it would act upon for seconds.
        if self.plan.agreement_above.is_some() || self.plan.rpc.as_ref().is_some_and(|rpc| rpc.forgets) {
            self.watchers = (0..WATCHERS).map(|index| Some(self.watcher(index))).collect();
        }
        let index = self.random.index(WATCHERS);
        self.rest(index).await;
        if self.plan.rpc.is_some() {
            self.sweep(index).await;
        }
        // What a balance has shown at the head is confirmed only further below.
        let comparisons = match (self.plan.compares, &self.plan.rpc) {
            (false, _) => 0,
            (true, None) => 1,
            (true, Some(_)) => COMPARISONS_OVER_HTTP,
        };
        for _ in 0..comparisons {
            self.finish_chain();
            self.rest(index).await;
        }
    }

    /// Everything so far becomes deep and final.
    fn finish_chain(&mut self) {
        let mut nodes = self.nodes.lock().unwrap();
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

    /// Everything that is final is searched for unknown tokens, by a watcher that does not wait for it to be more.
    async fn sweep(&mut self, index: usize) {
        let head = self.nodes().chain.head().height();
        let upto = if self.plan.tells_final { head } else { head.saturating_sub(self.plan.window) };
        let begun = Instant::now();
        self.watchers = (0..WATCHERS).map(|index| Some(self.watcher(index))).collect();
        while store::swept(&self.pool, &self.plan).await.is_none_or(|swept| swept < upto) {
            self.step(index, &mut None).await;
            let health = || self.watchers[index].as_ref().map(|watcher| watcher.status().health());
            assert!(begun.elapsed() < SETTLING_TIME, "no sweep: {:?}", health());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn rest(&mut self, index: usize) {
        let (begun, mut steps) = (Instant::now(), 0);
        loop {
            let progress = self.step(index, &mut None).await;
            let health = || self.watchers[index].as_ref().map(|watcher| watcher.status().health());
            if self.plan.rpc.is_none() {
                if progress == Some(Progress::Idle) {
                    break;
                }
                steps += 1;
                assert!(steps < SETTLING_STEPS, "no rest: {:?}", health());
                continue;
            }
            let head = self.nodes().chain.head().hash().to_owned();
            let is_at_rest = async || store::is_at_rest(&self.pool, &self.plan, &head).await;
            if progress == Some(Progress::Idle) && (self.plan.compares || is_at_rest().await) {
                break;
            }
            assert!(begun.elapsed() < SETTLING_TIME, "no rest: {:?}", health());
            if progress != Some(Progress::Again) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

/// Which world it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seed {
    /// Its source is simulated.
    Called(u64),
    /// Its nodes speak JSON-RPC to the real source.
    OverHttp(u64),
}

impl Seed {
    pub(super) const fn number(self) -> u64 {
        match self {
            Self::Called(seed) | Self::OverHttp(seed) => seed,
        }
    }

    fn plan(self) -> (Plan, Random) {
        let mut random = Random::new(self.number());
        let plan = match self {
            Self::Called(seed) => Plan::new(seed, &mut random),
            Self::OverHttp(seed) => Plan::over_http(seed, &mut random),
        };
        (plan, random)
    }
}
