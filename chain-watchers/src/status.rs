//! How a watcher is doing, for readiness and people.

use std::sync::Arc;

use tokio::sync::watch;
use wopay_domain::{ChainName, Timestamp};

/// What a watcher is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainState {
    /// It has not processed or compared a block yet.
    Starting,
    /// It follows the chain.
    Following {
        /// The last block processed.
        height: u64,
        /// The newest block that the node has.
        head: u64,
    },
    /// What is processed is not the chain as it is now: the newest block that any endpoint has is old or far below, the
    /// endpoint in use lags behind others that cannot be used, the next block is not to be had, or something has to come
    /// first.
    Behind {
        /// The last block processed.
        height: u64,
        /// The newest block that the node has.
        head: u64,
        /// In what, in full.
        reason: String,
    },
    /// The chain contradicts what was processed, beyond repair by itself. It looks again from time to time.
    Halted {
        /// Why, in full.
        reason: String,
    },
    /// The nodes are not what the configuration says. It looks again from time to time.
    Refused {
        /// Why, in full.
        reason: String,
    },
}

/// How an endpoint of a chain is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    /// Host and port; never the rest of the URL.
    pub endpoint: String,
    /// How it is doing.
    pub state: EndpointState,
    /// Whether it is the one that is asked first.
    pub in_use: bool,
}

/// What is to be said of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndpointState {
    /// Nothing.
    Good,
    /// It is not asked: it failed again and again, refuses calls as too many, or its budget is spent.
    Withheld {
        /// Why, in full.
        reason: String,
    },
    /// Its head lags behind others, or is old.
    Behind {
        /// In what, in full.
        reason: String,
    },
    /// It is not what the configuration says.
    Wrong {
        /// In what, in full.
        reason: String,
    },
}

impl EndpointState {
    pub(crate) const NAMES: &[&'static str] = &["good", "withheld", "behind", "wrong"];

    /// One word, as in metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Withheld { .. } => "withheld",
            Self::Behind { .. } => "behind",
            Self::Wrong { .. } => "wrong",
        }
    }

    /// Why it is not good, if it is not.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Good => None,
            Self::Withheld { reason } | Self::Behind { reason } | Self::Wrong { reason } => Some(reason),
        }
    }
}

/// A watcher's health at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChainHealth {
    /// The chain.
    pub chain: ChainName,
    /// What the watcher is doing.
    pub state: ChainState,
    /// The chain's time of the last block processed.
    pub last_block_at: Option<Timestamp>,
    /// When the watcher last had a usable answer about the head.
    pub last_contact_at: Option<Timestamp>,
    /// What keeps it from going on, while something does.
    pub last_error: Option<String>,
    /// Every endpoint, in the order of the configuration. Empty for a source without any.
    pub endpoints: Vec<EndpointHealth>,
    /// Deposits that are deep enough and wait until enough endpoints show them in the same block: what is missing.
    pub held: Option<String>,
}

impl ChainHealth {
    /// Whether it follows the chain and nothing keeps it from going on.
    #[must_use]
    pub fn is_well(&self) -> bool {
        matches!(self.state, ChainState::Following { .. }) && self.last_error.is_none()
    }

    /// Blocks that the node has and the watcher has not processed yet.
    #[must_use]
    pub fn lag_blocks(&self) -> Option<u64> {
        match self.state {
            ChainState::Following { height, head } | ChainState::Behind { height, head, .. } => {
                Some(head.saturating_sub(height))
            }
            ChainState::Starting | ChainState::Halted { .. } | ChainState::Refused { .. } => None,
        }
    }
}

/// A handle on a watcher's health. Cheap to clone; outlives the watcher.
#[derive(Clone, Debug)]
pub struct ChainStatus(Arc<watch::Sender<ChainHealth>>);

impl ChainStatus {
    pub(crate) fn new(chain: ChainName) -> Self {
        let health = ChainHealth {
            chain,
            state: ChainState::Starting,
            last_block_at: None,
            last_contact_at: None,
            last_error: None,
            endpoints: Vec::new(),
            held: None,
        };
        Self(Arc::new(watch::Sender::new(health)))
    }

    /// The health now.
    #[must_use]
    pub fn health(&self) -> ChainHealth {
        self.0.borrow().clone()
    }

    /// Follows the health as it changes.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<ChainHealth> {
        self.0.subscribe()
    }

    pub(crate) fn update(&self, change: impl FnOnce(&mut ChainHealth)) {
        self.0.send_if_modified(|health| {
            let before = health.clone();
            change(health);
            *health != before
        });
    }
}
