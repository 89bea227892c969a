//! Folds without a database.
