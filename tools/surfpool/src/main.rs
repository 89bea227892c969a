//! Runs a local Solana network, offline, until standard input ends: so it goes with whoever started it, however that ends.
//!
//! `wopay-surfpool [SLOT_MS]`: with a slot time (milliseconds) blocks come by the clock, without one a block comes with
//! each transaction. Prints one line of JSON when it is ready: `{"rpc", "ws", "payer"}`, the payer as the 64 bytes of its
//! key pair, with 1,000,000 SOL. Only for test networks: the key is shown.

use std::io::Read as _;
use std::process::ExitCode;

use surfpool_sdk::{BlockProductionMode, Surfnet};

const PAYER_LAMPORTS: u64 = 1_000_000 * 1_000_000_000;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wopay-surfpool: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let mut builder = Surfnet::builder().offline(true).airdrop_sol(PAYER_LAMPORTS);
    if let Some(slot_ms) = std::env::args().nth(1) {
        builder = builder.slot_time_ms(slot_ms.parse()?).block_production_mode(BlockProductionMode::Clock);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut network = runtime.block_on(builder.start())?;
    let ready = serde_json::json!({
        "rpc": network.rpc_url(),
        "ws": network.ws_url(),
        "payer": network.payer().to_bytes().as_slice(),
    });
    println!("{ready}");
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    network.stop()?;
    Ok(())
}
