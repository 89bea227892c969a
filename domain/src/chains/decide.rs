//! Which events follow from a command.

use super::command::{AddChain, AddToken, ChainCommand};
use super::error::ChainError;
use super::event::{ChainAdded, ChainEvent, ChainPaused, ChainResumed, TokenAdded, TokenPaused, TokenResumed};
use super::state::{AddedToken, Chain};
use crate::money::{Asset, AssetId, MAX_DECIMALS, Money};
use crate::{ChainFamily, ChainName};

/// The longest reason, in characters.
pub const REASON_CHARS_MAX: usize = 255;
/// The longest symbol, in bytes.
pub const SYMBOL_BYTES_MAX: usize = 10;

/// The events that follow from a command, none if it changes nothing.
///
/// # Errors
/// When the command contradicts the state; then nothing follows.
pub fn decide(chain: &Chain, command: ChainCommand) -> Result<Vec<ChainEvent>, ChainError> {
    match command {
        ChainCommand::Add(add) => add_chain(chain, add),
        ChainCommand::AddToken(add) => add_token(chain, add),
        ChainCommand::Pause { chain: name, reason, at } => {
            let reason = checked_reason(reason)?;
            let is_new = chain.paused.as_ref().is_none_or(|pause| pause.reason != reason);
            Ok(if_so(is_new, || ChainEvent::ChainPaused(ChainPaused { chain: name, reason, at })))
        }
        ChainCommand::Resume { chain: name, at } => {
            Ok(if_so(chain.paused.is_some(), || ChainEvent::ChainResumed(ChainResumed { chain: name, at })))
        }
        ChainCommand::PauseToken { chain: name, asset, reason, at } => {
            let reason = checked_reason(reason)?;
            check_belongs(&name, &asset)?;
            let is_new = chain.paused_assets.get(&asset).is_none_or(|pause| pause.reason != reason);
            Ok(if_so(is_new, || ChainEvent::TokenPaused(TokenPaused { chain: name, asset, reason, at })))
        }
        ChainCommand::ResumeToken { chain: name, asset, at } => {
            check_belongs(&name, &asset)?;
            let is_paused = chain.paused_assets.contains_key(&asset);
            Ok(if_so(is_paused, || ChainEvent::TokenResumed(TokenResumed { chain: name, asset, at })))
        }
    }
}

fn if_so(wanted: bool, event: impl FnOnce() -> ChainEvent) -> Vec<ChainEvent> {
    wanted.then(event).into_iter().collect()
}

fn add_chain(chain: &Chain, add: AddChain) -> Result<Vec<ChainEvent>, ChainError> {
    let AddChain { chain: name, family, chain_id, genesis_hash, assets, required_confirmations, reason, at } = add;
    if let Some(accepted) = &chain.accepted {
        return Err(ChainError::AlreadyAdded { chain: name, at: accepted.at });
    }
    if !chain.added.is_empty() {
        return Err(ChainError::AlreadyConfigured { chain: name });
    }
    let is_identified = match family {
        ChainFamily::Evm => chain_id.is_some() && genesis_hash.is_none(),
        ChainFamily::Solana => chain_id.is_none() && genesis_hash.is_some(),
    };
    if !is_identified {
        return Err(ChainError::Identity { chain: name });
    }
    if required_confirmations == 0 {
        return Err(ChainError::NoConfirmation);
    }
    check_assets(&name, &assets)?;
    let reason = reason.map(checked_reason).transpose()?;
    let added = ChainAdded { chain: name, family, chain_id, genesis_hash, assets, required_confirmations, reason, at };
    Ok(vec![ChainEvent::ChainAdded(added)])
}

/// The native coin, then tokens, each once and each with a symbol of its own.
fn check_assets(chain: &ChainName, assets: &[Asset]) -> Result<(), ChainError> {
    let natives = assets.iter().take_while(|asset| asset.id.contract().is_none()).count();
    if natives != 1 || assets.iter().skip(1).any(|asset| asset.id.contract().is_none()) {
        return Err(ChainError::NoNative { chain: chain.clone() });
    }
    let mut known: Vec<&Asset> = Vec::with_capacity(assets.len());
    for asset in assets {
        check_belongs(chain, &asset.id)?;
        check_asset(asset)?;
        if known.iter().any(|known| known.id == asset.id) {
            return Err(ChainError::Twice { asset: asset.id.clone() });
        }
        check_symbol_is_free(asset, known.iter().copied())?;
        known.push(asset);
    }
    Ok(())
}

fn add_token(chain: &Chain, add: AddToken) -> Result<Vec<ChainEvent>, ChainError> {
    let AddToken { chain: name, token, min_deposit, configured, at } = add;
    check_belongs(&name, &token.id)?;
    if token.id.contract().is_none() {
        return Err(ChainError::NotAToken { chain: name, asset: token.id });
    }
    check_asset(&token)?;
    if min_deposit.as_ref().is_some_and(|least| least.asset() != &token.id) {
        return Err(ChainError::MinDepositOfOther { asset: token.id });
    }
    let accepted = chain.accepted.iter().flat_map(|accepted| &accepted.assets);
    let known = configured.iter().chain(accepted).chain(chain.added.iter().map(|added| &added.token));
    if let Some(same) = known.clone().find(|known| known.id == token.id) {
        check_same(same, &token)?;
        return check_same_least(chain, &token, min_deposit.as_ref()).map(|()| Vec::new());
    }
    check_symbol_is_free(&token, known)?;
    let min_deposit = min_deposit.filter(|least| !least.is_zero());
    Ok(vec![ChainEvent::TokenAdded(TokenAdded { chain: name, token, min_deposit, at })])
}

/// Whether there can be such an asset at all.
fn check_asset(asset: &Asset) -> Result<(), ChainError> {
    if !is_symbol(&asset.symbol) {
        return Err(ChainError::Symbol { symbol: asset.symbol.clone() });
    }
    if asset.decimals > MAX_DECIMALS {
        return Err(ChainError::Decimals { decimals: asset.decimals });
    }
    Ok(())
}

fn check_symbol_is_free<'a>(asset: &Asset, mut known: impl Iterator<Item = &'a Asset>) -> Result<(), ChainError> {
    match known.find(|known| known.symbol.eq_ignore_ascii_case(&asset.symbol)) {
        Some(holder) => Err(ChainError::SymbolTaken { symbol: asset.symbol.clone(), holder: holder.id.clone() }),
        None => Ok(()),
    }
}

/// A token that is accepted already stays what it is.
fn check_same(known: &Asset, token: &Asset) -> Result<(), ChainError> {
    if known.decimals != token.decimals {
        return Err(ChainError::OtherDecimals { asset: known.id.clone(), decimals: known.decimals });
    }
    if known.symbol != token.symbol {
        return Err(ChainError::OtherSymbol { asset: known.id.clone(), symbol: known.symbol.clone() });
    }
    Ok(())
}

/// What counts of it stays, too: only the configuration says otherwise later.
fn check_same_least(chain: &Chain, token: &Asset, min_deposit: Option<&Money>) -> Result<(), ChainError> {
    let Some(least) = min_deposit else { return Ok(()) };
    let added = chain.added.iter().find(|added| added.token.id == token.id);
    let stands = |added: &AddedToken| added.min_deposit.as_ref().map_or(0, Money::minor);
    if added.is_some_and(|added| stands(added) == least.minor()) {
        return Ok(());
    }
    Err(ChainError::MinDepositStays { asset: token.id.clone() })
}

fn check_belongs(chain: &ChainName, asset: &AssetId) -> Result<(), ChainError> {
    if asset.chain() == chain.as_str() {
        Ok(())
    } else {
        Err(ChainError::NotAToken { chain: chain.clone(), asset: asset.clone() })
    }
}

fn checked_reason(reason: String) -> Result<String, ChainError> {
    let sized = (1..=REASON_CHARS_MAX).contains(&reason.chars().count());
    if sized && !reason.trim().is_empty() && !reason.chars().any(char::is_control) {
        Ok(reason)
    } else {
        Err(ChainError::Reason)
    }
}

/// Whether an asset can be called so.
#[must_use]
pub fn is_symbol(text: &str) -> bool {
    (1..=SYMBOL_BYTES_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
