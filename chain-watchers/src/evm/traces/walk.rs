//! Reads what a `callTracer` shows of one transaction, in one pass.
//!
//! Calls lie inside calls, up to a thousand deep, and megabytes may lie inside each. A parser that calls itself needs more
//! stack than there is, and one that hands the text inside on, level by level, reads the same megabytes a thousand times.
//! This one looks at every byte once and keeps the calls that are open on a stack of its own.

use ethers::types::{Address, U256};
use serde::Deserialize;
use serde::de::{Error as _, IgnoredAny};
use serde_json::Error;

use super::{Inner, inner};

/// A call whose end is not reached yet.
#[derive(Default)]
struct Open {
    /// Among the calls of the one around it.
    index: usize,
    /// How many calls began before it.
    order: usize,
    /// How much was found before it.
    found_before: usize,
    /// How many calls of its own have begun.
    calls: usize,
    is_in_calls: bool,
    kind: Option<String>,
    from: Option<Address>,
    to: Option<Address>,
    value: Option<U256>,
    has_failed: bool,
}

/// Text that is known to be JSON, and how much of it is read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// What moves below the outermost call, in the order in which the calls began.
pub(super) fn below(text: &str) -> Result<Vec<Inner>, Error> {
    let mut reader = Reader { text, at: 0 };
    reader.expect(b'{')?;
    let mut stack = vec![Open::default()];
    let mut found: Vec<(usize, Inner)> = Vec::new();
    let mut begun: usize = 0;
    while let Some(open) = stack.last_mut() {
        match (open.is_in_calls, reader.peek()) {
            (true, Some(b']')) => {
                reader.skip();
                open.is_in_calls = false;
            }
            (true, _) => {
                reader.expect(b'{')?;
                begun = begun.saturating_add(1);
                let (index, found_before) = (open.calls, found.len());
                open.calls = open.calls.saturating_add(1);
                stack.push(Open { index, order: begun, found_before, ..Open::default() });
            }
            (false, Some(b'}')) => {
                reader.skip();
                if let Some(closed) = stack.pop() {
                    close(closed, &stack, &mut found)?;
                }
            }
            (false, _) => open.read(&mut reader)?,
        }
    }
    found.sort_unstable_by_key(|(order, _)| *order);
    Ok(found.into_iter().map(|(_, inner)| inner).collect())
}

fn close(closed: Open, around: &[Open], found: &mut Vec<(usize, Inner)>) -> Result<(), Error> {
    let kind = closed.kind.ok_or_else(|| Error::missing_field("type"))?;
    if closed.has_failed {
        // And with it all that is inside.
        found.truncate(closed.found_before);
        return Ok(());
    }
    let moves_some = closed.value.is_some_and(|value| !value.is_zero());
    if around.is_empty() || !moves_some || !moves_money(&kind) {
        return Ok(());
    }
    let indexes = around.iter().skip(1).map(|open| open.index).chain([closed.index]);
    let path = indexes.map(|index| index.to_string()).collect::<Vec<_>>().join(".");
    found.extend(inner(path, closed.from, closed.to, closed.value).map(|inner| (closed.order, inner)));
    Ok(())
}

fn moves_money(kind: &str) -> bool {
    matches!(kind, "CALL" | "CREATE" | "CREATE2" | "SELFDESTRUCT")
}

impl Open {
    /// One field.
    fn read(&mut self, reader: &mut Reader<'_>) -> Result<(), Error> {
        let name: String = reader.value()?;
        match name.as_str() {
            "calls" if reader.peek() == Some(b'[') => {
                reader.skip();
                self.is_in_calls = true;
            }
            "type" => self.kind = Some(reader.value()?),
            "from" => self.from = reader.value()?,
            "to" => self.to = reader.value()?,
            "value" => self.value = reader.value()?,
            "error" => self.has_failed = reader.value::<Option<IgnoredAny>>()?.is_some(),
            _ => {
                let _passed_over: IgnoredAny = reader.value()?;
            }
        }
        Ok(())
    }
}

impl<'a> Reader<'a> {
    /// What comes next that says something.
    fn peek(&mut self) -> Option<u8> {
        let rest = self.text.as_bytes().get(self.at..)?;
        let blank = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | b',' | b':')).count();
        self.at = self.at.saturating_add(blank);
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip(&mut self) {
        self.at = self.at.saturating_add(1);
    }

    fn expect(&mut self, byte: u8) -> Result<(), Error> {
        if self.peek() != Some(byte) {
            return Err(Error::custom("a call that is no object"));
        }
        self.skip();
        Ok(())
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Result<T, Error> {
        self.peek();
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter();
        let value = values.next().unwrap_or_else(|| Err(Error::custom("it ends too soon")))?;
        self.at = self.at.saturating_add(values.byte_offset());
        Ok(value)
    }
}
