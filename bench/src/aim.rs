//! Figures beside what they should be.

use serde::Serialize;

/// A figure that was aimed at.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Aim {
    /// What it is.
    pub(crate) what: String,
    /// The figure.
    pub(crate) reached: f64,
    /// What it should be: at least, or for memory at most.
    pub(crate) aim: f64,
    /// Whether it is.
    pub(crate) met: bool,
}

/// A figure that should not be less.
pub(crate) fn at_least(what: &str, reached: f64, aim: f64) -> Aim {
    Aim { what: what.to_owned(), reached, aim, met: reached >= aim }
}

/// A figure that should not be more.
pub(crate) fn at_most(what: &str, reached: f64, aim: f64) -> Aim {
    Aim { what: format!("{what} (at most)"), reached, aim, met: reached <= aim }
}

/// A figure in parts of another; `None` when one of them was not measured.
pub(crate) fn ratio(what: &str, reached: Option<f64>, base: Option<f64>, aim: f64) -> Option<Aim> {
    Some(at_least(what, reached? / base?, aim))
}
