//! What the vault gives out.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use zeroize::Zeroizing;

/// An opened value: reads as its bytes, never prints them, wiped from memory with its last clone.
#[derive(Clone)]
pub struct OpenedSecret(Arc<Zeroizing<Vec<u8>>>);

impl OpenedSecret {
    pub(crate) fn new(plaintext: Zeroizing<Vec<u8>>) -> Self {
        Self(Arc::new(plaintext))
    }

    /// The value as text.
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn as_str(&self) -> Result<&str, std::str::Utf8Error> {
        std::str::from_utf8(self)
    }
}

impl Deref for OpenedSecret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for OpenedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenedSecret")
    }
}
