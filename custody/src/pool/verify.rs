//! Whether the stored addresses are this wallet's.

use std::collections::BTreeSet;

use sqlx::{Executor, PgPool, Postgres};
use wopay_domain::ChainFamily;

use super::{PoolError, store};
use crate::deriver::{AddressDeriver, AddressIndex, DeriveError};

/// How many of a family's addresses are derived again at start: the first, the last, and others evenly between.
const SAMPLE: i64 = 64;

/// Compares the pool with what these derivers derive: no gap, and a sample of addresses the same.
pub(crate) async fn verify(pool: &PgPool, derivers: &[AddressDeriver]) -> Result<(), PoolError> {
    for deriver in derivers {
        let family = deriver.family();
        let (rows, last) = store::count(pool, family).await?;
        if rows != last + 1 {
            return Err(PoolError::Gap { family, rows, last });
        }
        compare(pool, deriver, &sample(rows)).await?;
    }
    Ok(())
}

/// Derives the addresses of these stored indexes again and compares.
pub(super) async fn compare<'c>(
    executor: impl Executor<'c, Database = Postgres>,
    deriver: &AddressDeriver,
    indexes: &[i64],
) -> Result<(), PoolError> {
    let family = deriver.family();
    for (index, stored) in store::find(executor, family, indexes).await? {
        let index = address_index(family, index)?;
        let derived = deriver.address(index)?;
        if derived != stored {
            return Err(PoolError::WrongWallet { family, index, stored, derived });
        }
    }
    Ok(())
}

fn address_index(family: ChainFamily, index: i64) -> Result<AddressIndex, PoolError> {
    let index = u32::try_from(index).map_err(|_| PoolError::Exhausted(family))?;
    AddressIndex::new(index).ok_or(PoolError::Derive(DeriveError::Index(index)))
}

/// At most [`SAMPLE`] indexes below `rows`, the first and the last among them.
fn sample(rows: i64) -> Vec<i64> {
    let spread = (0..SAMPLE).map(|i| i * (rows - 1) / (SAMPLE - 1));
    spread.filter(|_| rows > 0).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_spans_the_pool() {
        assert!(sample(0).is_empty());
        assert_eq!(sample(1), [0]);
        assert_eq!(sample(3), [0, 1, 2]);
        for rows in [64, 65, 1000, i64::from(AddressIndex::COUNT)] {
            let sample = sample(rows);
            assert_eq!((sample.len(), sample[0], sample[63]), (64, 0, rows - 1));
        }
    }
}
