//! Money that carries its asset, counted in minor units.

mod amount;
mod asset;
mod percentage;
#[cfg(test)]
mod tests;

pub use amount::{AmountError, Money, MoneyError};
pub use asset::{Asset, AssetId, AssetIdError, MAX_DECIMALS};
pub use percentage::{Percentage, PercentageError};
