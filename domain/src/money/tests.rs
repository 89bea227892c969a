#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use proptest::prelude::*;
use rust_decimal::Decimal;

use super::{AmountError, Asset, AssetId, Money, MoneyError, Percentage};
use crate::chain::ChainName;

fn asset(decimals: u8) -> Asset {
    let chain: ChainName = "bsc".parse().unwrap();
    Asset {
        id: AssetId::token(&chain, "0x55d398326f99059ff775485246999027b3197955").unwrap(),
        symbol: "USDT".to_owned(),
        decimals,
    }
}

#[test]
fn plain_decimals_are_read_exactly() {
    for (text, decimals, minor) in [
        ("100.50", 6, 100_500_000),
        ("0.000001", 6, 1),
        ("1", 0, 1),
        ("0", 6, 0),
        ("0.0", 6, 0),
        ("340282366920938463463374607431768211455", 0, u128::MAX),
        ("3.40282366920938463463374607431768211455", 38, u128::MAX),
    ] {
        assert_eq!(asset(decimals).parse(text).unwrap().minor(), minor, "{text}");
    }
}

#[test]
fn anything_else_is_refused() {
    for text in [
        "", ".", "1.", ".5", "+1", "-1", "1e3", "1E3", "0x10", " 1", "1 ", "1,5", "1_000", "01", "00.5", "1.2.3",
        "NaN", "١",
    ] {
        assert_eq!(asset(6).parse(text), Err(AmountError::NotDecimal), "{text:?}");
    }
    assert_eq!(asset(6).parse("1.0000001"), Err(AmountError::TooPrecise { got: 7, max: 6 }));
    assert_eq!(asset(0).parse("1.0"), Err(AmountError::TooPrecise { got: 1, max: 0 }));
    assert_eq!(asset(0).parse("340282366920938463463374607431768211456"), Err(AmountError::TooLarge));
    assert_eq!(asset(18).parse(&"9".repeat(40)), Err(AmountError::TooLarge));
}

#[test]
fn mixed_assets_and_overflow_do_not_add() {
    let usdt = asset(6).id;
    let native = AssetId::native(&"bsc".parse().unwrap());
    let one = Money::new(1, usdt.clone());
    assert!(matches!(one.checked_add(&Money::new(1, native)), Err(MoneyError::MixedAssets { .. })));
    assert_eq!(one.checked_add(&Money::new(u128::MAX, usdt.clone())), Err(MoneyError::Overflow(usdt)));
}

#[test]
fn asset_ids_name_chain_and_contract() {
    let id: AssetId = "bsc/0x55d398326f99059ff775485246999027b3197955".parse().unwrap();
    assert_eq!((id.chain(), id.contract()), ("bsc", Some("0x55d398326f99059ff775485246999027b3197955")));
    let native: AssetId = "bsc/native".parse().unwrap();
    assert_eq!((native.chain(), native.contract()), ("bsc", None));
    for text in ["", "bsc", "bsc/", "/native", "BSC/native", "bsc/a b", "bsc/a/b"] {
        assert!(text.parse::<AssetId>().is_err(), "{text:?}");
    }
}

#[test]
fn percentages_round_down() {
    let percent = |text: &str| Percentage::try_from(text.parse::<Decimal>().unwrap());
    assert_eq!(percent("0.5").unwrap().of_rounded_down(1999), 9);
    assert_eq!(percent("100").unwrap().of_rounded_down(u128::MAX), u128::MAX);
    assert_eq!(Percentage::ZERO.of_rounded_down(u128::MAX), 0);
    for text in ["-0.1", "100.1", "0.0000001"] {
        assert!(percent(text).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn format_and_parse_are_inverse(minor: u128, decimals in 0_u8..=38) {
        let asset = asset(decimals);
        prop_assert_eq!(asset.parse(&asset.format(minor)).unwrap().minor(), minor);
    }

    #[test]
    fn no_text_panics(text in ".{0,60}", decimals in 0_u8..=38) {
        let _ = asset(decimals).parse(&text);
    }

    #[test]
    fn a_percentage_is_never_more_than_the_whole(minor: u128, mantissa in 0_i64..=100_000_000) {
        let percentage = Percentage::try_from(Decimal::new(mantissa, 6)).unwrap();
        let share = percentage.of_rounded_down(minor);
        prop_assert!(share <= minor);
        // floor(minor × mantissa / 10^8), by long multiplication where it fits.
        if let Some(product) = minor.checked_mul(u128::from(mantissa.unsigned_abs())) {
            prop_assert_eq!(share, product / 100_000_000);
        }
    }
}
