//! Nodes that speak JSON-RPC over real HTTP, below the real source and its provider pool.
//!
//! What goes wrong is decided by the world's seed, the node, the question and how often it was asked there, not by the
//! order in which questions arrive: that is the network's. So a world goes the same way as far as HTTP and the watchers'
//! own clocks (time-outs, breakers, pauses) allow, which is most of the way and not all of it.

mod answers;
mod blocks;
mod server;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use self::answers::Answerer;
pub(super) use self::server::Endpoint;
use self::server::Reply;
use super::nodes::Nodes;
use super::plan::Plan;
use super::random::Random;
use super::steps::Gate;
use wopay_chain_watchers::Traces;

/// Everything the servers of one world share.
pub(super) struct Wire {
    seed: u64,
    nodes: Arc<Mutex<Nodes>>,
    /// Of the watchers, which are noted to have asked.
    gates: Vec<Arc<Gate>>,
    traces: Traces,
    /// Nodes ask to be asked less. Not where blocks are read in bulk: that waits for its turn as long as it takes.
    refuses: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How often a node was asked something.
    asked: HashMap<u64, u64>,
    /// What a node last answered to a method.
    last: HashMap<(usize, String), Value>,
}

impl Wire {
    pub(super) fn new(seed: u64, plan: &Plan, nodes: Arc<Mutex<Nodes>>, gates: Vec<Arc<Gate>>) -> Self {
        let traces = plan.rpc.as_ref().map_or(Traces::None, |rpc| rpc.traces);
        Self { seed, nodes, gates, traces, refuses: !plan.is_long, state: Mutex::default() }
    }

    /// Where the decisions about this question come from.
    fn random(&self, node: usize, question: &str) -> Random {
        let mut hasher = DefaultHasher::new();
        (self.seed, node, question).hash(&mut hasher);
        let key = hasher.finish();
        let mut state = self.state.lock().unwrap();
        let times = state.asked.entry(key).or_default();
        *times += 1;
        Random::new(key.wrapping_add(times.wrapping_mul(0x9e37_79b9)))
    }

    /// What that node replies to that watcher.
    fn reply(&self, node: usize, watcher: usize, body: &[u8]) -> Reply {
        self.gates[watcher].note();
        let request: Value = serde_json::from_slice(body).unwrap();
        let calls = request.as_array().cloned().unwrap_or_else(|| vec![request.clone()]);
        let question = calls.iter().map(|call| format!("{}{}", call["method"], call["params"])).collect::<String>();
        let mut random = self.random(node, &question);
        let mut nodes = self.nodes.lock().unwrap();
        let faults = nodes.faults;
        if random.chance(faults.failing)
            && let Some(failure) = self.failure(node, &calls, &mut random)
        {
            return failure;
        }
        let mut answers: Vec<Value> = Vec::with_capacity(calls.len());
        for call in &calls {
            let mut answerer = Answerer { nodes: &mut nodes, node, faults, random: &mut random, traces: self.traces };
            let answer = match answerer.answer(call["method"].as_str().unwrap(), &call["params"]) {
                Ok(result) => json!({"jsonrpc": "2.0", "id": call["id"], "result": result}),
                Err((code, message)) => error(&call["id"], code, message),
            };
            self.remember(node, call, &answer);
            answers.push(answer);
        }
        if !request.is_array() {
            return Reply::json(&answers[0]);
        }
        // The answers to a batch come in any order, and some do not come.
        random.shuffle(&mut answers);
        if random.chance(faults.missing) {
            answers.truncate(random.index(answers.len()));
        }
        if random.chance(faults.missing)
            && let Some(answer) = answers.first().cloned()
        {
            answers.push(answer);
        }
        Reply::json(&Value::Array(answers))
    }

    fn remember(&self, node: usize, call: &Value, answer: &Value) {
        let method = call["method"].as_str().unwrap().to_owned();
        self.state.lock().unwrap().last.insert((node, method), answer.clone());
    }

    /// A reply that is none. `None`: it is one after all.
    fn failure(&self, node: usize, calls: &[Value], random: &mut Random) -> Option<Reply> {
        const HTML: &str = "<html>Just a moment</html>";
        let (id, is_batch) = (&calls[0]["id"], calls.len() > 1);
        let json = |text: &str| Reply::body(200, "application/json", text);
        Some(match random.below(40) {
            0..5 => Reply::Close,
            5..8 => Reply::Cut,
            8 => Reply::Hang,
            9 | 10 | 29 if !self.refuses => Reply::Close,
            9 => Reply::body(429, "text/plain", "slow down"),
            10 => Reply::TooMany,
            11..13 => Reply::body(500, "text/html", HTML),
            13 => Reply::body(502, "text/html", HTML),
            14 => Reply::body(503, "text/plain", ""),
            15..18 => Reply::body(200, "text/html", HTML),
            18..21 => json("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"number\":\"0x"),
            21 => json(""),
            22..24 => json("{}"),
            24..27 => Reply::json(&error(id, -32000, "header not found")),
            27 => Reply::json(&error(id, -32603, "internal error")),
            28 => Reply::json(&error(id, -32005, "limit exceeded")),
            29 => Reply::json(&error(id, -32005, "too many requests")),
            30 => Reply::json(&json!({"jsonrpc": "2.0", "id": id, "result": {"odd": true}})),
            31..34 => Reply::json(&json!({"jsonrpc": "2.0", "id": id, "result": null})),
            // The answer to somebody else's question.
            _ if is_batch => json("[]"),
            _ => {
                let method = calls[0]["method"].as_str().unwrap().to_owned();
                let other = self.state.lock().unwrap().last.get(&(node, method)).cloned()?;
                if other["id"] == *id {
                    return None;
                }
                Reply::json(&other)
            }
        })
    }
}

fn error(id: &Value, code: i64, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}})
}
