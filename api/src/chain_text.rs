//! How addresses and payment requests are written for people and wallets: EIP-55, EIP-681, Solana Pay.

use sha3::{Digest, Keccak256};
use wopay_domain::{Asset, ChainFamily, Money, PaymentId};

const ADDRESS_HEX_DIGITS: usize = 40;

/// An address as people know it: an EVM address with EIP-55's checksum, any other text unchanged.
///
/// A letter is upper case where the Keccak-256 of the lower-case digits has a nibble of 8 or more.
#[must_use]
pub fn display_address(address: &str) -> String {
    let digits = address.strip_prefix("0x").unwrap_or_default();
    if digits.len() != ADDRESS_HEX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return address.to_owned();
    }
    let lower = digits.to_ascii_lowercase();
    let hash = Keccak256::digest(lower.as_bytes());
    let nibbles = hash.iter().flat_map(|byte| [byte >> 4, byte & 0x0f]);
    let mut written = String::with_capacity(ADDRESS_HEX_DIGITS.saturating_add(2));
    written.push_str("0x");
    written.extend(lower.chars().zip(nibbles).map(
        |(digit, nibble)| {
            if nibble >= 8 { digit.to_ascii_uppercase() } else { digit }
        },
    ));
    written
}

/// What a wallet opens to pay `amount` of `asset` to `address` (as [`display_address`] writes it).
///
/// EVM: EIP-681, which needs the chain's id; `None` without one. Solana: a Solana Pay transfer request, with a reference
/// key that wallets add to the transaction, so that it can be found by it. The reference only helps to find: what counts
/// is what arrives at the address.
#[must_use]
pub fn payment_uri(
    family: ChainFamily,
    chain_id: Option<u64>,
    asset: &Asset,
    amount: &Money,
    address: &str,
    payment: PaymentId,
) -> Option<String> {
    let minor = amount.minor();
    let reference = || solana_reference(payment);
    match (family, asset.id.contract()) {
        (ChainFamily::Evm, None) => Some(format!("ethereum:{address}@{}?value={minor}", chain_id?)),
        (ChainFamily::Evm, Some(contract)) => {
            let contract = display_address(contract);
            let chain_id = chain_id?;
            Some(format!("ethereum:{contract}@{chain_id}/transfer?address={address}&uint256={minor}"))
        }
        (ChainFamily::Solana, None) => {
            Some(format!("solana:{address}?amount={}&reference={}", asset.format(minor), reference()))
        }
        (ChainFamily::Solana, Some(mint)) => {
            Some(format!("solana:{address}?amount={}&spl-token={mint}&reference={}", asset.format(minor), reference()))
        }
    }
}

/// A payment's reference key for Solana Pay, base58: 32 bytes that depend on its id alone.
#[must_use]
fn solana_reference(payment: PaymentId) -> String {
    let hash =
        sha2::Sha256::new().chain_update("wopay/solana-pay/").chain_update(payment.as_uuid().as_bytes()).finalize();
    bs58::encode(hash).into_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use wopay_domain::{Asset, AssetId, ChainFamily, ChainName, Money, PaymentId};

    use super::{display_address, payment_uri, solana_reference};

    #[test]
    fn checksums_are_those_of_eip_55() {
        // The examples of EIP-55.
        for address in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(display_address(&address.to_lowercase()), address);
            assert_eq!(display_address(address), address);
        }
        assert_eq!(display_address("0x12"), "0x12");
        assert_eq!(display_address(&format!("0x{}", "ü".repeat(20))), format!("0x{}", "ü".repeat(20)));
    }

    #[test]
    fn payment_uris_follow_eip_681_and_solana_pay() {
        let chain: ChainName = "bsc".parse().unwrap();
        let asset = |id: AssetId, decimals| Asset { id, symbol: "X".to_owned(), decimals };
        let native = asset(AssetId::native(&chain), 18);
        let token = asset(AssetId::token(&chain, "0x55d398326f99059ff775485246999027b3197955").unwrap(), 18);
        let payment = PaymentId::from_uuid(Uuid::nil());
        let reference = solana_reference(payment);
        assert_eq!(bs58::decode(&reference).into_vec().unwrap().len(), 32);
        let uri = |family, chain_id, asset: &Asset, minor| {
            payment_uri(family, chain_id, asset, &Money::new(minor, asset.id.clone()), "ADDR", payment)
        };
        assert_eq!(
            uri(ChainFamily::Evm, Some(56), &native, u128::MAX).unwrap(),
            "ethereum:ADDR@56?value=340282366920938463463374607431768211455"
        );
        assert_eq!(
            uri(ChainFamily::Evm, Some(56), &token, 15).unwrap(),
            "ethereum:0x55d398326f99059fF775485246999027B3197955@56/transfer?address=ADDR&uint256=15"
        );
        assert_eq!(uri(ChainFamily::Evm, None, &native, 1), None);
        let sol = asset(AssetId::native(&chain), 9);
        assert_eq!(
            uri(ChainFamily::Solana, None, &sol, 1).unwrap(),
            format!("solana:ADDR?amount=0.000000001&reference={reference}")
        );
        let usdc = asset(AssetId::token(&chain, "EPjFWdd5").unwrap(), 6);
        assert_eq!(
            uri(ChainFamily::Solana, None, &usdc, 1_500_000).unwrap(),
            format!("solana:ADDR?amount=1.500000&spl-token=EPjFWdd5&reference={reference}")
        );
    }
}
