//! The binary `wopay`: configuration, roles, private services, administration. The only crate that reads the
//! environment, and the only one that knows all the others.

mod chain_tables;
mod cli;
mod config;
mod context;
mod database;
mod keys;
mod readiness;
mod roles;
mod scheduler;
mod services;
mod telemetry;

use std::process::ExitCode;

use clap::Parser as _;

/// A quarter of a payment's CPU time went to the system's allocator; see bench/README.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // One TLS provider for every client in the process.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        eprintln!("wopay: another TLS provider is installed already");
        return ExitCode::FAILURE;
    }
    let cli = cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("wopay: cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli.run()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("wopay: {error:#}");
            ExitCode::FAILURE
        }
    }
}
