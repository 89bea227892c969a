//! What a mint is, read from its account.

use wopay_domain::Asset;

/// The SPL Token program.
pub(super) const TOKEN_PROGRAM: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
/// The Token-2022 program.
const TOKEN_2022_PROGRAM: &str = "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb";

/// Layout of a mint, from the token programs' `state::Mint`: mint authority (4 + 32 bytes), supply (8), decimals (1),
/// is initialized (1), freeze authority (4 + 32).
const MINT_BYTES: usize = 82;
const DECIMALS_AT: usize = 44;
const INITIALIZED_AT: usize = 45;
/// Token-2022: extensions follow an account-type byte that stands where a token account would end.
const ACCOUNT_TYPE_AT: usize = 165;
const ACCOUNT_TYPE_MINT: u8 = 1;
/// Each extension: type and length, two bytes each, little endian, then its value.
const EXTENSION_HEAD_BYTES: usize = 4;

/// Extensions whose money is not ours for sure once it has arrived, by their number in `ExtensionType`.
const REFUSED: [(u16, &str); 3] =
    [(4, "confidential transfers"), (12, "a permanent delegate"), (14, "a transfer hook")];

/// What an account says of a mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MintFacts {
    /// It is a mint of one of the token programs.
    pub(super) is_mint: bool,
    /// Of which.
    pub(super) program: Option<&'static str>,
    pub(super) decimals: Option<u8>,
    /// Extensions for which it is refused.
    pub(super) refused: Vec<&'static str>,
}

impl MintFacts {
    /// Reads an account: the program that owns it, and its data.
    pub(super) fn read(owner: &str, data: &[u8]) -> Self {
        let nothing = Self { is_mint: false, program: None, decimals: None, refused: Vec::new() };
        let (program, extended) = match owner {
            TOKEN_PROGRAM if data.len() == MINT_BYTES => (TOKEN_PROGRAM, false),
            TOKEN_2022_PROGRAM if data.len() == MINT_BYTES => (TOKEN_2022_PROGRAM, false),
            TOKEN_2022_PROGRAM if data.get(ACCOUNT_TYPE_AT) == Some(&ACCOUNT_TYPE_MINT) => (TOKEN_2022_PROGRAM, true),
            _ => return nothing,
        };
        if data.get(INITIALIZED_AT) != Some(&1) {
            return nothing;
        }
        let extensions =
            if extended { extensions(data.get(ACCOUNT_TYPE_AT + 1..).unwrap_or_default()) } else { Vec::new() };
        let refused = REFUSED.iter().filter(|(kind, _)| extensions.contains(kind)).map(|(_, name)| *name).collect();
        Self { is_mint: true, program: Some(program), decimals: data.get(DECIMALS_AT).copied(), refused }
    }

    /// In what it differs from the configuration.
    pub(super) fn problem(&self, mint: &str, asset: &Asset) -> Option<String> {
        let name = format!("token {} at {mint}", asset.symbol);
        match (self.is_mint, self.decimals) {
            (false, _) | (true, None) => Some(format!("{name}: there is no mint of a token program")),
            (true, Some(decimals)) if decimals != asset.decimals => {
                Some(format!("{name}: decimals are {decimals}, configured are {}", asset.decimals))
            }
            (true, Some(_)) if !self.refused.is_empty() => {
                Some(format!("{name}: the mint has {}, so what arrives is not safely ours", self.refused.join(" and ")))
            }
            (true, Some(_)) => None,
        }
    }
}

/// The types of the extensions, in their order. Zeros to the end are padding.
fn extensions(mut data: &[u8]) -> Vec<u16> {
    let mut kinds = Vec::new();
    while let Some((head, rest)) = data.split_at_checked(EXTENSION_HEAD_BYTES) {
        let (kind, length) = (u16::from_le_bytes([head[0], head[1]]), u16::from_le_bytes([head[2], head[3]]));
        if kind == 0 {
            break;
        }
        kinds.push(kind);
        data = rest.get(usize::from(length)..).unwrap_or_default();
    }
    kinds
}

#[cfg(test)]
mod tests {
    use wopay_domain::{AssetId, ChainName};

    use super::*;

    fn mint(decimals: u8) -> Vec<u8> {
        let mut data = vec![0; MINT_BYTES];
        data[DECIMALS_AT] = decimals;
        data[INITIALIZED_AT] = 1;
        data
    }

    fn extended(kinds: &[u16]) -> Vec<u8> {
        let mut data = mint(6);
        data.resize(ACCOUNT_TYPE_AT, 0);
        data.push(ACCOUNT_TYPE_MINT);
        for kind in kinds {
            data.extend(kind.to_le_bytes());
            data.extend(3_u16.to_le_bytes());
            data.extend([7; 3]);
        }
        data
    }

    fn problem(owner: &str, data: &[u8]) -> Option<String> {
        let chain: ChainName = "solana".parse().unwrap();
        let asset = Asset { id: AssetId::token(&chain, "Mint").unwrap(), symbol: "USDC".to_owned(), decimals: 6 };
        MintFacts::read(owner, data).problem("Mint", &asset)
    }

    #[test]
    fn mints_of_both_programs_are_taken() {
        assert_eq!(problem(TOKEN_PROGRAM, &mint(6)), None);
        assert_eq!(problem(TOKEN_2022_PROGRAM, &mint(6)), None);
        // Transfer fees (1) and metadata (18, 19) are harmless: what arrives is credited.
        assert_eq!(problem(TOKEN_2022_PROGRAM, &extended(&[1, 18, 19])), None);
    }

    #[test]
    fn what_is_no_mint_or_another_is_refused() {
        assert!(problem("11111111111111111111111111111111", &mint(6)).unwrap().contains("no mint"));
        assert!(problem(TOKEN_PROGRAM, &[0; MINT_BYTES]).unwrap().contains("no mint"));
        // A token account has 165 bytes.
        assert!(problem(TOKEN_PROGRAM, &[1; 165]).unwrap().contains("no mint"));
        assert!(problem(TOKEN_PROGRAM, &mint(9)).unwrap().contains("decimals are 9, configured are 6"));
    }

    #[test]
    fn mints_whose_money_can_be_taken_or_hidden_are_refused() {
        for (kind, name) in REFUSED {
            let problem = problem(TOKEN_2022_PROGRAM, &extended(&[1, kind])).unwrap();
            assert!(problem.contains(name), "{problem}");
        }
        // Cut off in the middle: what is there is read, and nothing panics.
        let data = extended(&[1, 12]);
        for length in ACCOUNT_TYPE_AT..data.len() {
            let _ = problem(TOKEN_2022_PROGRAM, &data[..length]);
        }
    }
}
