//! The payment that every measurement creates, so that rows carry the same bytes everywhere.

use anyhow::{Context as _, Result};
use chrono::{SubsecRound as _, TimeDelta, Utc};
use uuid::Uuid;
use wopay_domain::payment::{CreatePayment, LateDeposits, PaymentPolicy, PaymentTerms};
use wopay_domain::{Actor, ApiKeyId, Asset, AssetId, ChainName, MerchantId, Metadata, Money, PaymentId, Percentage};

/// The chain, as `gateway` configures it.
pub(crate) const CHAIN: &str = "ethereum";
/// The token's contract.
pub(crate) const CONTRACT: &str = "0xdac17f958d2ee523a2206206994597c13d831ec7";
/// The amount asked for.
pub(crate) const AMOUNT: &str = "100.500000";
/// Where the merchant listens. Never called: a creation is no status change.
pub(crate) const CALLBACK_URL: &str = "https://shop.example/webhooks/wopay";
/// Confirmations asked for.
pub(crate) const CONFIRMATIONS: u32 = 12;
/// Seconds until the deadline.
pub(crate) const EXPIRES_IN_SECONDS: i64 = 3600;

/// A merchant's payments.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    merchant: MerchantId,
    key: ApiKeyId,
    asset: Asset,
    chain: ChainName,
    amount: Money,
}

impl Sample {
    /// Payments of a new merchant.
    pub(crate) fn new() -> Result<Self> {
        let chain: ChainName = CHAIN.parse()?;
        let id = AssetId::token(&chain, CONTRACT).context("the sample's contract is an address")?;
        let asset = Asset { id, symbol: "USDT".to_owned(), decimals: 6 };
        let amount = asset.parse(AMOUNT)?;
        let merchant = MerchantId::from_uuid(Uuid::now_v7());
        Ok(Self { merchant, key: ApiKeyId::from_uuid(Uuid::now_v7()), asset, chain, amount })
    }

    /// The command that opens payment number `number`, to be paid at `address`.
    pub(crate) fn create(&self, number: u64, address: String) -> CreatePayment {
        let at = Utc::now().trunc_subsecs(6);
        CreatePayment {
            payment_id: PaymentId::from_uuid(Uuid::now_v7()),
            merchant_id: self.merchant,
            order_id: order_id(number),
            terms: PaymentTerms {
                amount: self.amount.clone(),
                asset: self.asset.clone(),
                chain: self.chain.clone(),
                address,
                callback_url: Some(CALLBACK_URL.to_owned()),
                expires_at: at + TimeDelta::seconds(EXPIRES_IN_SECONDS),
                policy: PaymentPolicy {
                    underpayment_tolerance: Percentage::ZERO,
                    required_confirmations: CONFIRMATIONS,
                    late_deposits: LateDeposits::Accept,
                },
            },
            at,
        }
    }

    /// The cause of a payment as the API writes it.
    pub(crate) fn metadata(&self) -> Metadata {
        Metadata {
            actor: Actor::Merchant { merchant: self.merchant, key: self.key },
            request_id: Some(Uuid::now_v7().to_string()),
            command_id: None,
        }
    }
}

/// `bench-` and ten digits; the load generator's scripts name orders the same way.
fn order_id(number: u64) -> String {
    format!("bench-{number:010}")
}

/// An address that belongs to nobody, distinct for each number.
pub(crate) fn address(number: u64) -> String {
    format!("0x{number:040x}")
}
