//! Addresses and transactions as people paste them, in the one spelling that the ledger keeps.

use anyhow::{Context as _, bail};
use wopay_commands::family_of_address;
use wopay_domain::ChainFamily;
use wopay_domain::payment::PaymentState;

/// Characters of base58 that 64 bytes take, which is what a Solana signature has.
const SIGNATURE_CHARACTERS: std::ops::RangeInclusive<usize> = 80..=88;

/// The family of a payment's chain, also of one that is no longer configured.
pub(super) fn family(payment: &PaymentState) -> anyhow::Result<ChainFamily> {
    family_of_address(&payment.terms.address).context("the payment's own address is of no family that is known")
}

/// An address of the family. EVM: any case, but where both cases are mixed, EIP-55's checksum must hold.
pub(super) fn address(family: ChainFamily, text: &str) -> anyhow::Result<String> {
    let canonical = match family {
        ChainFamily::Evm => text.to_ascii_lowercase(),
        ChainFamily::Solana => text.to_owned(),
    };
    if family_of_address(&canonical).ok() != Some(family) {
        bail!("{text:?} is no address of the family {family}");
    }
    if family == ChainFamily::Evm {
        let digits = text.get(2..).unwrap_or_default();
        let mixed = digits.bytes().any(|byte| byte.is_ascii_lowercase())
            && digits.bytes().any(|byte| byte.is_ascii_uppercase());
        if mixed && wopay_api::display_address(&canonical) != text {
            bail!("the checksum of {text} does not hold: a character is wrong");
        }
        if digits.bytes().all(|digit| digit == b'0') {
            bail!("{text} is nobody's");
        }
    }
    Ok(canonical)
}

/// A transaction's hash (EVM: in lower case) or signature (Solana).
pub(in crate::cli) fn transaction(family: ChainFamily, text: &str) -> anyhow::Result<String> {
    match family {
        ChainFamily::Evm => {
            let lower = text.to_ascii_lowercase();
            let digits = lower.strip_prefix("0x").unwrap_or_default();
            if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                bail!("a transaction hash is 0x and 64 hex digits, got {text:?}");
            }
            Ok(lower)
        }
        ChainFamily::Solana => {
            let base58 = |byte: u8| byte.is_ascii_alphanumeric() && !matches!(byte, b'0' | b'O' | b'I' | b'l');
            if !SIGNATURE_CHARACTERS.contains(&text.len()) || !text.bytes().all(base58) {
                bail!("a signature is 80 to 88 characters of base58, got {text:?}");
            }
            Ok(text.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

    use wopay_domain::ChainFamily::{Evm, Solana};

    use super::{address, transaction};

    const CHECKED: &str = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
    const MINT: &str = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v";

    #[test]
    fn addresses_are_read_in_their_spellings() {
        let lower = CHECKED.to_lowercase();
        for text in [CHECKED, &lower, &format!("0x{}", CHECKED[2..].to_uppercase())] {
            assert_eq!(address(Evm, text).unwrap(), lower);
        }
        assert_eq!(address(Solana, MINT).unwrap(), MINT);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let typo = CHECKED.replace("5aAeb6", "5aAeB6");
        for text in ["", "0x", &typo, &CHECKED[..41], MINT, "0x0000000000000000000000000000000000000000"] {
            assert!(address(Evm, text).is_err(), "{text}");
        }
        for text in ["", CHECKED, &MINT.replace('E', "0")] {
            assert!(address(Solana, text).is_err(), "{text}");
        }
    }

    #[test]
    fn transactions_are_read_in_their_spellings() {
        let hash = format!("0x{}", "aB".repeat(32));
        assert_eq!(transaction(Evm, &hash).unwrap(), hash.to_lowercase());
        let signature = "5".repeat(87);
        assert_eq!(transaction(Solana, &signature).unwrap(), signature);
        assert!(transaction(Evm, &signature).is_err() && transaction(Solana, &hash).is_err());
        assert!(transaction(Evm, "0x12").is_err() && transaction(Solana, "").is_err());
    }
}
