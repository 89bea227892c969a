#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use super::{Account, Layer, Side};
use crate::ids::MerchantId;

fn every_account() -> Vec<Account> {
    let merchant = MerchantId::from_uuid(uuid::Uuid::from_u128(7));
    vec![
        Account::Custody("bsc".parse().unwrap()),
        Account::MerchantPayable(merchant),
        Account::MerchantPayout(merchant),
        Account::Suspense,
        Account::PlatformFees,
        Account::PlatformGas,
    ]
}

#[test]
fn an_account_has_one_name() {
    for account in every_account() {
        assert_eq!(account.to_string().parse::<Account>(), Ok(account));
    }
    let id = "00000000-0000-0000-0000-00000000000a";
    for wrong in [
        "",
        "custody",
        "custody:",
        "custody:BSC",
        "suspense:",
        "platform:other",
        "merchant:",
        &format!("merchant:{id}"),
        &format!("merchant:{id}:"),
        &format!("merchant:{id}:payable:"),
        &format!("merchant:{}:payable", id.to_uppercase()),
        &format!("merchant:{{{id}}}:payable"),
    ] {
        assert!(wrong.parse::<Account>().is_err(), "{wrong}");
    }
}

#[test]
fn names_of_layers_and_sides_read_back() {
    for layer in [Layer::Pending, Layer::Posted] {
        assert_eq!(Layer::parse(layer.as_str()), Some(layer));
    }
    for side in [Side::Debit, Side::Credit] {
        assert_eq!(Side::parse(side.as_str()), Some(side));
    }
    assert_eq!((Layer::parse("settled"), Side::parse("")), (None, None));
}

#[test]
fn accounts_grow_on_their_side_and_name_their_merchant() {
    let debit: Vec<String> =
        every_account().iter().filter(|a| a.normal_side() == Side::Debit).map(Account::to_string).collect();
    assert_eq!(debit, ["custody:bsc", "platform:gas"]);
    assert_eq!(every_account().iter().filter(|account| account.merchant().is_some()).count(), 2);
}
