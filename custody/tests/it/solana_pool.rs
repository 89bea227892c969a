//! Solana addresses in the pool, beside those of EVM chains.

use wopay_custody::{KeyStore, PoolError, PoolFiller, WhenMissing};
use wopay_domain::ChainFamily;
use wopay_testkit::database;
use wopay_vault::MasterKey;

#[tokio::test]
async fn each_family_has_its_own_addresses_and_no_other_wallets() {
    let pool = database().await.pool;
    let wallet = KeyStore::open(&pool, &MasterKey::generate(), WhenMissing::Create).await.unwrap();
    let derivers = wallet.address_derivers().unwrap();
    assert_eq!(derivers.iter().map(|deriver| deriver.family()).collect::<Vec<_>>(), ChainFamily::ALL);
    let filler = PoolFiller::new(pool.clone(), derivers, 20);
    assert_eq!(filler.fill().await.unwrap(), 40);
    filler.verify().await.unwrap();
    let stored: Vec<String> =
        sqlx::query_scalar("SELECT address FROM address_pool WHERE family = 'solana' ORDER BY idx")
            .fetch_all(&pool)
            .await
            .unwrap();
    assert_eq!(stored, wallet.address_deriver(ChainFamily::Solana).unwrap().addresses(0..20).unwrap());
    assert!(stored.iter().all(|address| bs58::decode(address).into_vec().unwrap().len() == 32));

    let another = database().await.pool;
    let another = KeyStore::open(&another, &MasterKey::generate(), WhenMissing::Create).await.unwrap();
    let wrong = PoolFiller::new(pool, vec![another.address_deriver(ChainFamily::Solana).unwrap()], 20);
    let error = wrong.verify().await.unwrap_err();
    assert!(matches!(error, PoolError::WrongWallet { family: ChainFamily::Solana, .. }), "{error:?}");
}
