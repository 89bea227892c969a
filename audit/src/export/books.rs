//! The files that follow from the events: journal and statements. Made once when exporting and once more when checking, by
//! this same code, from the same lines.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::PathBuf;

use wopay_domain::ledger::{Account, Layer, Posting, effective_at, postings};
use wopay_domain::money::MoneyError;
use wopay_domain::{Asset, AssetId, LedgerEvent, Timestamp};

use super::artifact::Artifact;
use super::manifest::{FileEntry, Opening};
use super::{JOURNAL, STATEMENTS};
use crate::replay::{Balance, Books, TrialBalance};

const JOURNAL_COLUMNS: [&str; 13] = [
    "position",
    "line",
    "recorded_at",
    "effective_at",
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "account",
    "layer",
    "side",
    "asset",
    "amount_minor",
    "amount",
];
const STATEMENT_COLUMNS: [&str; 14] = [
    "position",
    "line",
    "recorded_at",
    "effective_at",
    "aggregate_type",
    "aggregate_id",
    "event_type",
    "layer",
    "side",
    "amount_minor",
    "posted_balance_minor",
    "pending_balance_minor",
    "posted_balance",
    "pending_balance",
];

/// Bytes of statements that may wait to be written, over all of them.
const WAITING_BYTES_MAX: usize = 16 * 1024 * 1024;
const JOURNAL_WAITING_BYTES_MAX: usize = 1024 * 1024;

/// Why the files cannot be made.
#[derive(Debug, thiserror::Error)]
pub(super) enum BooksError {
    #[error("a file cannot be written")]
    Io(#[from] io::Error),
    #[error("a row cannot be written")]
    Csv(#[from] csv::Error),
    #[error("amounts cannot be added")]
    Money(#[from] MoneyError),
}

/// Where an event stands and when it was recorded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) position: i64,
    pub(super) aggregate_type: &'a str,
    pub(super) aggregate_id: &'a str,
    pub(super) event_type: &'a str,
    pub(super) recorded_at: Timestamp,
}

/// Journal and statements of a period, as they are made.
pub(super) struct BookFiles {
    folder: Option<PathBuf>,
    journal: Artifact,
    statements: HashMap<(Account, AssetId), Statement>,
    waiting: usize,
    books: Books,
    assets: BTreeMap<AssetId, Asset>,
    /// Before the first event of the period.
    opening_position: i64,
    closing_position: i64,
}

struct Statement {
    file: Artifact,
    last: Balance,
}

impl BookFiles {
    /// The files of a period, in a folder or only hashed. The folder has a `statements` folder.
    pub(super) fn create(
        folder: Option<PathBuf>,
        period: (i64, i64),
        openings: &[Opening],
        assets: impl IntoIterator<Item = Asset>,
    ) -> Result<Self, BooksError> {
        let mut journal = Artifact::create(JOURNAL.to_owned(), folder.as_ref())?;
        journal.push(&row(JOURNAL_COLUMNS)?);
        let mut files = Self {
            folder,
            journal,
            statements: HashMap::new(),
            waiting: 0,
            books: Books::default(),
            assets: assets.into_iter().map(|asset| (asset.id.clone(), asset)).collect(),
            opening_position: period.0.saturating_sub(1),
            closing_position: period.1,
        };
        for opening in openings {
            files.books.open_with(opening.account.clone(), opening.asset.clone(), opening.sums);
            files.open(&opening.account, &opening.asset, opening.sums)?;
        }
        Ok(files)
    }

    /// Books the next event of the period.
    pub(super) fn add(&mut self, place: Place<'_>, event: &LedgerEvent) -> Result<(), BooksError> {
        let effective = effective_at(event);
        for (posting, line) in postings(event).iter().zip(1_u32..) {
            let balance = self.books.post_line(posting)?;
            let amount = self.shown(posting.amount.asset(), false, posting.amount.minor());
            let (account, asset) = (posting.account.to_string(), posting.amount.asset().to_string());
            let (line, minor) = (line.to_string(), posting.amount.minor().to_string());
            let (position, recorded_at, effective_at) =
                (place.position.to_string(), time(place.recorded_at), time(effective));
            let (layer, side) = (posting.layer.as_str(), posting.side.as_str());
            let at = [
                &position,
                &line,
                &recorded_at,
                &effective_at,
                place.aggregate_type,
                place.aggregate_id,
                place.event_type,
            ];
            let journal_row = row(at.into_iter().chain([account.as_str(), layer, side, &asset, &minor, &amount]))?;
            self.journal.push(&journal_row);
            self.state(posting, balance, &at, [layer, side, &minor])?;
        }
        if self.journal.waiting() > JOURNAL_WAITING_BYTES_MAX {
            self.journal.flush()?;
        }
        if self.waiting > WAITING_BYTES_MAX {
            self.statements.values_mut().try_for_each(|statement| statement.file.flush())?;
            self.waiting = 0;
        }
        Ok(())
    }

    /// Adds a line to its account's statement.
    fn state(
        &mut self,
        posting: &Posting,
        balance: Balance,
        at: &[&str; 7],
        line: [&str; 3],
    ) -> Result<(), BooksError> {
        let (account, asset) = (&posting.account, posting.amount.asset());
        let key = (account.clone(), asset.clone());
        if !self.statements.contains_key(&key) {
            self.open(account, asset, Balance::default())?;
        }
        let balances = self.balances(account, asset, balance);
        let row = row(at.iter().copied().chain(line).chain(balances.iter().map(String::as_str)))?;
        if let Some(statement) = self.statements.get_mut(&key) {
            statement.file.push(&row);
            statement.last = balance;
            self.waiting = self.waiting.saturating_add(row.len());
        }
        Ok(())
    }

    fn open(&mut self, account: &Account, asset: &AssetId, sums: Balance) -> Result<(), BooksError> {
        let mut file = Artifact::create(statement_name(account, asset), self.folder.as_ref())?;
        file.push(&row(STATEMENT_COLUMNS)?);
        file.push(&self.edge("opening", self.opening_position, account, asset, sums)?);
        self.waiting = self.waiting.saturating_add(file.waiting());
        self.statements.insert((account.clone(), asset.clone()), Statement { file, last: sums });
        Ok(())
    }

    /// The opening or closing row of a statement.
    fn edge(
        &self,
        name: &str,
        position: i64,
        account: &Account,
        asset: &AssetId,
        sums: Balance,
    ) -> Result<Vec<u8>, BooksError> {
        let position = position.to_string();
        let balances = self.balances(account, asset, sums);
        let at = [position.as_str(), "", "", "", "", "", name, "", "", ""];
        row(at.into_iter().chain(balances.iter().map(String::as_str)))
    }

    /// Posted and pending balance, in minor units and as decimals.
    fn balances(&self, account: &Account, asset: &AssetId, sums: Balance) -> [String; 4] {
        let posted = sums.of(account, Layer::Posted);
        let pending = sums.of(account, Layer::Pending);
        [
            posted.to_string(),
            pending.to_string(),
            self.shown(asset, posted.is_negative, posted.minor),
            self.shown(asset, pending.is_negative, pending.minor),
        ]
    }

    /// As a decimal number; empty when no payment ever named the asset's decimals.
    fn shown(&self, asset: &AssetId, is_negative: bool, minor: u128) -> String {
        let sign = if is_negative { "-" } else { "" };
        self.assets.get(asset).map_or_else(String::new, |asset| format!("{sign}{}", asset.format(minor)))
    }

    /// Writes closing rows and what waits; entries in order of name, and whether the books balance.
    pub(super) fn finish(mut self) -> Result<(Vec<FileEntry>, Vec<TrialBalance>), BooksError> {
        let statements = std::mem::take(&mut self.statements);
        let mut entries = BTreeMap::new();
        for ((account, asset), Statement { mut file, last }) in statements {
            file.push(&self.edge("closing", self.closing_position, &account, &asset, last)?);
            let entry = file.finish()?;
            entries.insert(entry.path.clone(), entry);
        }
        let trial_balance = self.books.trial_balance()?;
        let journal = self.journal.finish()?;
        Ok((std::iter::once(journal).chain(entries.into_values()).collect(), trial_balance))
    }
}

/// `statements/merchant_<id>_payable--bsc_0x….csv`.
fn statement_name(account: &Account, asset: &AssetId) -> String {
    let account = account.to_string().replace(':', "_");
    format!("{STATEMENTS}/{account}--{}.csv", asset.as_str().replace('/', "_"))
}

/// RFC 3339, UTC, microseconds.
fn time(at: Timestamp) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// One row with its line break. Its values are our own names, ids and numbers; none begins a formula.
fn row<'a>(values: impl IntoIterator<Item = impl AsRef<str> + 'a>) -> Result<Vec<u8>, BooksError> {
    let mut writer = csv::WriterBuilder::new().from_writer(Vec::new());
    for value in values {
        writer.write_field(value.as_ref())?;
    }
    writer.write_record(None::<&[u8]>)?;
    writer.into_inner().map_err(|error| BooksError::Io(error.into_error()))
}
