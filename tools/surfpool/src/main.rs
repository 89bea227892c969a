//! Runs a local Solana network, offline, until it is killed.
//!
//! `wopay-surfpool [SLOT_MS]`: with a slot time (milliseconds) blocks come by the clock, without one a block comes with
//! each transaction. Prints one line of JSON when it is ready: `{"rpc", "payer"}`, the payer as the 64 bytes of its
//! key pair, with 100,000 SOL (the network has not many more). Only for test networks: the key is shown.

mod proxy;

use std::convert::Infallible;
use std::process::ExitCode;

use surfpool_sdk::{BlockProductionMode, Surfnet};

const PAYER_LAMPORTS: u64 = 100_000 * 1_000_000_000;

fn main() -> ExitCode {
    let Err(error) = run();
    eprintln!("wopay-surfpool: {error}");
    ExitCode::FAILURE
}

fn run() -> Result<Infallible, Box<dyn std::error::Error>> {
    let mut builder = Surfnet::builder().offline(true).airdrop_sol(PAYER_LAMPORTS);
    if let Some(slot_ms) = std::env::args().nth(1) {
        builder = builder.slot_time_ms(slot_ms.parse()?).block_production_mode(BlockProductionMode::Clock);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let network = runtime.block_on(builder.start())?;
    let (listener, rpc) = runtime.block_on(proxy::bind())?;
    let ready = serde_json::json!({ "rpc": rpc, "payer": network.payer().to_bytes().as_slice() });
    println!("{ready}");
    runtime.block_on(proxy::serve(listener, network.rpc_url().to_owned()))?;
    Err("the proxy ended".into())
}
