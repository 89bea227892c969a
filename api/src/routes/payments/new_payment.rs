//! The body of `POST /api/v1/payments`, read and checked as a whole: every field that is wrong is named.

use std::borrow::Cow;

use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use wopay_domain::money::{AmountError, MAX_DECIMALS};
use wopay_domain::payment::PaymentState;
use wopay_domain::{Asset, AssetId, ChainCatalog, ChainSpec, Money};
use wopay_webhooks::{Policy as UrlPolicy, validate_url};

use crate::extract::{Fields, Scalar};
use crate::problem::{FieldError, Problem, ProblemCode, echo};

const FIELDS: [&str; 6] = ["order_id", "amount", "currency", "blockchain", "callback_url", "expires_in"];

/// Characters of an order id.
const ORDER_ID_CHARS_MAX: usize = 255;
/// UTF-8 bytes of an order id: with the merchant's id it is one key of at most 1,024 bytes.
const ORDER_ID_BYTES_MAX: usize = 960;

const EXPIRES_IN_SECONDS_MIN: i64 = 1;
const EXPIRES_IN_SECONDS_MAX: i64 = 7 * 24 * 60 * 60;
const EXPIRES_IN_SECONDS_DEFAULT: i64 = 60 * 60;

/// What to ask a payer for. Unknown members are refused.
#[derive(ToSchema)]
#[schema(as = NewPayment)]
#[allow(dead_code, reason = "the schema of a body that is read member by member, see NewPayment")]
pub(crate) struct NewPaymentSchema {
    /// Your own name for the payment: 1 to 255 printable characters, unique among your payments.
    #[schema(min_length = 1, max_length = 255, example = "order-1001")]
    order_id: String,
    /// A plain decimal string, more than zero, with no more digits after the point than the currency has.
    #[schema(pattern = r"^(0|[1-9][0-9]*)(\.[0-9]+)?$", example = "100.50")]
    amount: String,
    /// Symbol of a coin or token that the chain accepts; letters of any case.
    #[schema(example = "USDT")]
    currency: String,
    /// Name of a chain of this installation.
    #[schema(example = "ethereum")]
    blockchain: String,
    /// Where to announce changes, besides your own webhook URL.
    #[schema(required = false, nullable = true, max_length = 500, example = "https://shop.example/webhook")]
    callback_url: Option<String>,
    /// Seconds until the deadline.
    #[schema(required = false, nullable = true, minimum = 1, maximum = 604_800, default = 3600)]
    expires_in: Option<i64>,
}

/// A valid request.
#[derive(Debug)]
pub(crate) struct NewPayment<'a> {
    pub(crate) order_id: Cow<'a, str>,
    pub(crate) chain: &'a ChainSpec,
    pub(crate) asset: &'a Asset,
    pub(crate) amount: Money,
    pub(crate) callback_url: Option<Cow<'a, str>>,
    pub(crate) expires_in: chrono::Duration,
}

impl<'a> NewPayment<'a> {
    /// Reads a body.
    ///
    /// # Errors
    /// With every field that is missing, unknown or not valid.
    pub(crate) fn read(json: &'a [u8], catalog: &'a ChainCatalog, urls: &UrlPolicy) -> Result<Self, Problem> {
        let mut fields = Fields::parse(json, FIELDS)?;
        let order_id = order_id(&mut fields);
        let chain = chain(&mut fields, catalog);
        let asset = asset(&mut fields, catalog, chain);
        let least = chain.zip(asset).map_or(0, |(chain, asset)| chain.min_deposit(&asset.id));
        let amount = amount(&mut fields, asset, least);
        let callback_url = callback_url(&mut fields, urls);
        let expires_in = expires_in(&mut fields);
        match (order_id, chain, asset, amount, expires_in) {
            (Some(order_id), Some(chain), Some(asset), Some(amount), Some(expires_in)) if fields.errors.is_empty() => {
                Ok(Self { order_id, chain, asset, amount, callback_url, expires_in })
            }
            _ => Err(Problem::fields(ProblemCode::InvalidFields, "Some fields are not valid.", fields.errors)),
        }
    }

    /// SHA-256 in hex of what is asked for, whatever its JSON looked like.
    pub(crate) fn hash(&self) -> String {
        let callback_url = self.callback_url.as_deref().unwrap_or_default();
        let (minor, seconds) = (self.amount.minor(), self.expires_in.num_seconds());
        // No field can hold a NUL, so no two requests are written alike.
        let canonical = format!("{}\0{}\0{minor}\0{callback_url}\0{seconds}", self.order_id, self.asset.id);
        hex::encode(Sha256::digest(canonical))
    }

    /// The fields in which an existing payment of the same order differs.
    pub(crate) fn differences(&self, existing: &PaymentState) -> Vec<FieldError> {
        let terms = &existing.terms;
        let expires_in = (terms.expires_at - existing.created_at).num_seconds();
        let callback_url = terms.callback_url.as_deref();
        let differing = [
            ("amount", self.amount.minor() != terms.amount.minor(), terms.asset.format(terms.amount.minor())),
            ("currency", self.asset.symbol != terms.asset.symbol, terms.asset.symbol.clone()),
            ("blockchain", self.chain.name != terms.chain, terms.chain.to_string()),
            ("callback_url", self.callback_url.as_deref() != callback_url, callback_url.unwrap_or("none").to_owned()),
            ("expires_in", self.expires_in.num_seconds() != expires_in, expires_in.to_string()),
        ];
        let differing = differing.into_iter().filter(|(_, differs, _)| *differs);
        differing.map(|(name, _, was)| FieldError::new(name, "differs", format!("is {was} in the payment"))).collect()
    }
}

fn order_id<'a>(fields: &mut Fields<'a, 6>) -> Option<Cow<'a, str>> {
    let text = fields.required_text("order_id", "order-1001")?;
    if text.is_empty() {
        return fields.refuse("order_id", "empty", "must not be empty");
    }
    if text.chars().count() > ORDER_ID_CHARS_MAX || text.len() > ORDER_ID_BYTES_MAX {
        return fields.refuse("order_id", "too_long", "must have at most 255 characters, and 960 bytes of UTF-8");
    }
    if text.chars().any(is_invisible) || text.chars().all(char::is_whitespace) {
        return fields.refuse("order_id", "not_printable", "must have printable characters only");
    }
    Some(text)
}

/// Characters that nobody sees, hence by which two orders could differ unseen: control characters, line and paragraph
/// separators, and the marks that change the direction of text or have no width.
fn is_invisible(char: char) -> bool {
    char.is_control()
        || matches!(char, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn chain<'c>(fields: &mut Fields<'_, 6>, catalog: &'c ChainCatalog) -> Option<&'c ChainSpec> {
    let name = fields.required_text("blockchain", "ethereum")?;
    let chain = catalog.get(&name);
    chain.or_else(|| {
        let known: Vec<&str> = catalog.iter().map(|chain| chain.name.as_str()).collect();
        fields.refuse("blockchain", "unknown", format!("must be one of: {}", known.join(", ")))
    })
}

fn asset<'c>(fields: &mut Fields<'_, 6>, catalog: &'c ChainCatalog, chain: Option<&'c ChainSpec>) -> Option<&'c Asset> {
    let symbol = fields.required_text("currency", "USDT")?;
    let Some(chain) = chain else {
        // The chain is wrong already; the currency is as well if no chain has it.
        let known = catalog.iter().any(|chain| chain.asset_by_symbol(&symbol).is_some());
        return if known { None } else { fields.refuse("currency", "unknown", "is not accepted on any chain") };
    };
    let asset = chain.asset_by_symbol(&symbol);
    asset.or_else(|| {
        let known: Vec<&str> = chain.assets.iter().map(|asset| asset.symbol.as_str()).collect();
        let message = format!("must be one of {} has: {}", chain.name, known.join(", "));
        fields.refuse("currency", "unknown", message)
    })
}

/// `least`: deposits of less than this many minor units are dust, so a payment of less could never be paid.
fn amount(fields: &mut Fields<'_, 6>, asset: Option<&Asset>, least: u128) -> Option<Money> {
    let text = fields.required_text("amount", "100.50")?;
    let parsed = match asset {
        Some(asset) => asset.parse(&text),
        // Which digits are too many depends on the currency, which is wrong; the form does not.
        None => match form_only().and_then(|asset| asset.parse(&text).err()) {
            Some(AmountError::NotDecimal) => Err(AmountError::NotDecimal),
            Some(AmountError::TooPrecise { .. } | AmountError::TooLarge) | None => return None,
        },
    };
    match parsed {
        Ok(amount) if amount.is_zero() => fields.refuse("amount", "zero", "must be more than zero"),
        Ok(amount) if amount.minor() < least => {
            let least = asset.map(|asset| asset.format(least)).unwrap_or_default();
            fields.refuse(
                "amount",
                "below_min_deposit",
                format!("must be at least {least}: deposits of less do not count"),
            )
        }
        Ok(amount) => Some(amount),
        Err(error) => {
            let code = match error {
                AmountError::NotDecimal => "not_decimal",
                AmountError::TooPrecise { .. } => "too_precise",
                AmountError::TooLarge => "too_large",
            };
            fields.refuse("amount", code, error.to_string())
        }
    }
}

/// An asset of as many digits as there can be.
fn form_only() -> Option<Asset> {
    let id: AssetId = "any/native".parse().ok()?;
    Some(Asset { id, symbol: String::new(), decimals: MAX_DECIMALS })
}

fn callback_url<'a>(fields: &mut Fields<'a, 6>, urls: &UrlPolicy) -> Option<Cow<'a, str>> {
    let text = fields.optional_text("callback_url", "https://shop.example/webhook")?;
    match validate_url(&text, urls) {
        Ok(_) => Some(text),
        Err(error) => fields.refuse("callback_url", "not_allowed", error.to_string()),
    }
}

fn expires_in(fields: &mut Fields<'_, 6>) -> Option<chrono::Duration> {
    let seconds = match fields.take("expires_in") {
        Scalar::Null => EXPIRES_IN_SECONDS_DEFAULT,
        Scalar::Integer(seconds) => seconds,
        Scalar::Text(text) => {
            let message = format!("must be a whole number of seconds such as 3600, not the string {:?}", echo(&text));
            return fields.refuse("expires_in", "wrong_type", message);
        }
        Scalar::Other(kind) => {
            let message = format!("must be a whole number of seconds such as 3600, not {kind}");
            return fields.refuse("expires_in", "wrong_type", message);
        }
    };
    if !(EXPIRES_IN_SECONDS_MIN..=EXPIRES_IN_SECONDS_MAX).contains(&seconds) {
        let message = "must lie between 1 second and 604800 (7 days)";
        return fields.refuse("expires_in", "out_of_range", message);
    }
    chrono::Duration::try_seconds(seconds)
}
