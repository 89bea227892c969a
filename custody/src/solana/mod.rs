//! Solana keys and addresses, SLIP-0010 over Ed25519, `m/44'/501'/i'/0'`: the path of Solana's own wallets.

mod addresses;

pub use addresses::SolanaAddresses;
