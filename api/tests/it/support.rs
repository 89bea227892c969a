//! A whole API with a ledger of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use chrono::{SubsecRound, Utc};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tower::ServiceExt;
use uuid::Uuid;
use wopay_api::auth::AuthCache;
use wopay_api::{ApiParts, AppState, router};
use wopay_audit::{AuditKey, Sealer, SealerOptions};
use wopay_commands::{AddressLeases, Claim, Ledger, LedgerOptions, LiveCatalog};
use wopay_domain::access::{AccessRole, IssueAccessKey};
use wopay_domain::merchant::{MerchantCommand, MerchantPolicy, RegisterMerchant};
use wopay_domain::payment::{DepositReport, DepositStage, PaymentCommand};
use wopay_domain::{
    AccessKeyId, ApiKeyId, Asset, AssetId, BlockRef, ChainCatalog, ChainFamily, ChainName, ChainSpec, DepositKey,
    DepositLeg, MerchantId, Metadata, Money, PaymentId, SecretRef, Timestamp,
};
use wopay_eventbus::{AppendSignal, EventHandler, checkpoint, log};
use wopay_projections::{FOLLOWER, Profile, ProfileError, Profiles, Projections};
use wopay_testkit::TestDatabase;
use wopay_webhooks::Policy;

pub(crate) const USDT_ETHEREUM: &str = "0xdac17f958d2ee523a2206206994597c13d831ec7";

pub(crate) struct TestApi {
    pub(crate) db: TestDatabase,
    pub(crate) ledger: Ledger,
    pub(crate) auth: AuthCache,
    pub(crate) router: Router,
    revision: AtomicU64,
}

pub(crate) struct TestMerchant {
    pub(crate) id: MerchantId,
    pub(crate) key_id: ApiKeyId,
    pub(crate) api_key: String,
}

/// A key of the house.
pub(crate) struct HouseKey {
    pub(crate) id: AccessKeyId,
    pub(crate) key: String,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The lines of a table, cell by cell; the first is the header.
    #[track_caller]
    pub(crate) fn table(&self) -> Vec<Vec<String>> {
        assert_eq!(self.status, 200, "{}", self.text);
        assert_eq!(self.headers["content-type"], "text/csv; charset=utf-8; header=present");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(self.text.as_bytes());
        reader.records().map(|record| record.unwrap().iter().map(str::to_owned).collect()).collect()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {:?}", self.text))
    }

    /// The problem, after checking that it is a whole one.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let body = self.json();
        assert_eq!(body["code"], code, "{}", self.text);
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("/problems/{code}"));
        assert_eq!(body["request_id"], self.headers["x-request-id"].to_str().unwrap());
        for member in ["title", "detail", "instance"] {
            assert!(body[member].as_str().is_some_and(|text| !text.is_empty()), "{member}: {}", self.text);
        }
        body
    }

    /// The fields that the problem names.
    #[track_caller]
    pub(crate) fn named_fields(&self) -> Vec<(String, String)> {
        let body = self.json();
        let errors = body["errors"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        errors.map(|error| (text(&error["field"]), text(&error["code"]))).collect()
    }
}

pub(crate) async fn api() -> TestApi {
    api_with_addresses(1_000).await
}

pub(crate) async fn api_with_addresses(count: i32) -> TestApi {
    let db = wopay_testkit::database().await;
    fill_address_pool(&db, count).await;
    start(db)
}

/// Another process on the same ledger.
pub(crate) fn second_process(api: &TestApi) -> TestApi {
    start(TestDatabase { pool: api.db.pool.clone(), url: api.db.url.clone(), name: api.db.name.clone() })
}

fn start(db: TestDatabase) -> TestApi {
    let ledger = Ledger::start(db.pool.clone(), AppendSignal::new(), LedgerOptions::default());
    let auth = AuthCache::new();
    let state = AppState::new(ApiParts {
        ledger: ledger.clone(),
        addresses: AddressLeases::new(db.pool.clone(), 64),
        pool: db.pool.clone(),
        catalog: LiveCatalog::new(Arc::new(catalog())),
        auth: auth.clone(),
        url_policy: Policy::default(),
        public_base_url: "https://pay.example/shop/".parse().unwrap(),
    });
    TestApi { db, ledger, auth, router: router(state), revision: AtomicU64::new(1) }
}

async fn fill_address_pool(db: &TestDatabase, count: i32) {
    sqlx::query(
        "INSERT INTO address_pool (family, idx, address)
         SELECT 'evm', i, '0xa1b2c3d4e5f6a1b2c3d4e5f6a1b2c3d4' || lpad(to_hex(i), 8, '0') FROM generate_series(0, $1 - 1) AS i",
    )
    .bind(count)
    .execute(&db.pool)
    .await
    .unwrap();
}

fn catalog() -> ChainCatalog {
    let asset = |id, symbol: &str, decimals| Asset { id, symbol: symbol.to_owned(), decimals };
    let chain = |name: &str, chain_id, required_confirmations, coin: &str, contract: &str, decimals| {
        let name: ChainName = name.parse().unwrap();
        let assets = vec![
            asset(AssetId::native(&name), coin, 18),
            asset(AssetId::token(&name, contract).unwrap(), "USDT", decimals),
        ];
        ChainSpec {
            name,
            family: ChainFamily::Evm,
            chain_id: Some(chain_id),
            required_confirmations,
            assets,
            min_deposits: std::collections::BTreeMap::new(),
        }
    };
    ChainCatalog::new([
        chain("ethereum", 1, 12, "ETH", USDT_ETHEREUM, 6),
        chain("bsc", 56, 15, "BNB", "0x55d398326f99059ff775485246999027b3197955", 18),
    ])
}

/// The body of a valid request.
pub(crate) fn order(order_id: &str) -> Value {
    json!({"order_id": order_id, "amount": "100.50", "currency": "USDT", "blockchain": "ethereum"})
}

impl TestApi {
    pub(crate) async fn merchant(&self) -> TestMerchant {
        let id = MerchantId::from_uuid(Uuid::now_v7());
        let register = RegisterMerchant {
            merchant_id: id,
            profile: SecretRef::from_uuid(Uuid::now_v7()),
            policy: MerchantPolicy::default(),
            at: Utc::now(),
        };
        let api_key = format!("wp_test_{}", Uuid::now_v7().simple());
        let key_id = ApiKeyId::from_uuid(Uuid::now_v7());
        let issue = MerchantCommand::IssueApiKey {
            key_id,
            prefix: "wp_test_".to_owned(),
            secret: SecretRef::from_uuid(Uuid::now_v7()),
            at: Utc::now(),
        };
        let claims = vec![Claim::api_key(&hex::encode(Sha256::digest(&api_key)), key_id)];
        let digest = id.to_string();
        self.ledger.register_merchant(register, &digest, vec![issue], claims, &Metadata::system("test")).await.unwrap();
        TestMerchant { id, key_id, api_key }
    }

    pub(crate) async fn house(&self, role: AccessRole) -> HouseKey {
        let id = AccessKeyId::from_uuid(Uuid::now_v7());
        let key = format!("wa_test_{}", Uuid::now_v7().simple());
        let issue = IssueAccessKey {
            key_id: id,
            role,
            label: "=1+1 books".to_owned(),
            prefix: "wa_test_".to_owned(),
            at: Utc::now().trunc_subsecs(6),
        };
        let hash = hex::encode(Sha256::digest(&key));
        self.ledger.issue_access_key(issue, &hash, &Metadata::system("test")).await.unwrap();
        HouseKey { id, key }
    }

    /// Asks with any key, or with none.
    pub(crate) async fn ask(&self, key: Option<&str>, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = Request::builder().method(Method::GET).uri(path);
        if let Some(key) = key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::empty()).unwrap()).await
    }

    /// Seals what is in the ledger; the size of the checkpoint. The key is that of [`audit_key`].
    pub(crate) async fn seal(&self) -> i64 {
        let folder = tempfile::tempdir().unwrap();
        let options = SealerOptions { ledger: "main".to_owned(), checkpoint_file: folder.path().join("checkpoint") };
        let sealer = Sealer::new(self.db.pool.clone(), audit_key(), options, AppendSignal::new());
        sealer.seal_now().await.unwrap().size
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 24).await.unwrap();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: head.status, headers: head.headers, text, bytes: bytes.into() }
    }

    pub(crate) async fn post(&self, merchant: &TestMerchant, path: &str, body: impl Into<Body>) -> Answer {
        self.send(merchant.request(Method::POST, path).body(body.into()).unwrap()).await
    }

    pub(crate) async fn create(&self, merchant: &TestMerchant, body: &Value) -> Answer {
        self.post(merchant, "/api/v1/payments", body.to_string()).await
    }

    /// Creates the payment of [`order`].
    pub(crate) async fn payment(&self, merchant: &TestMerchant, order_id: &str) -> PaymentId {
        let answer = self.create(merchant, &order(order_id)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.json()["id"].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn get(&self, merchant: &TestMerchant, path: &str) -> Answer {
        self.send(merchant.request(Method::GET, path).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn events(&self) -> i64 {
        log::head(&self.db.pool).await.unwrap()
    }

    /// Reports USDT on Ethereum in this block, as a watcher would. `tx` names the transaction.
    pub(crate) async fn deposit(&self, id: PaymentId, tx: &str, minor: u128, block: u64, stage: DepositStage) {
        let chain: ChainName = "ethereum".parse().unwrap();
        let asset = AssetId::token(&chain, USDT_ETHEREUM).unwrap();
        self.deposit_of(id, tx, Money::new(minor, asset), block, stage).await;
    }

    pub(crate) async fn deposit_of(&self, id: PaymentId, tx: &str, amount: Money, block: u64, stage: DepositStage) {
        self.deposit_in(id, tx, amount, block, Utc::now().trunc_subsecs(6), stage).await;
    }

    /// As [`deposit_of`](Self::deposit_of), in a block of that time.
    pub(crate) async fn deposit_in(
        &self,
        id: PaymentId,
        tx: &str,
        amount: Money,
        block: u64,
        time: Timestamp,
        stage: DepositStage,
    ) {
        let chain: ChainName = amount.asset().chain().parse().unwrap();
        let report = DepositReport {
            deposit: DepositKey { chain, transaction: format!("0x{tx}"), leg: DepositLeg::Log(0) },
            revision: self.revision.fetch_add(1, Ordering::SeqCst),
            amount,
            from: Some("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed".to_owned()),
            block: BlockRef { number: block, hash: format!("0xb{block}"), time },
            stage,
            at: Utc::now().trunc_subsecs(6),
        };
        let command = PaymentCommand::ObserveDeposit(Box::new(report));
        self.ledger.execute_payment(id, command, &Metadata::system("watchers/ethereum")).await.unwrap();
    }

    pub(crate) async fn set_head(&self, chain: &str, height: i64) {
        sqlx::query(
            "INSERT INTO chain_heads (chain, height, hash, block_time) VALUES ($1, $2, '0x1', now())
             ON CONFLICT (chain) DO UPDATE SET height = $2",
        )
        .bind(chain)
        .bind(height)
        .execute(&self.db.pool)
        .await
        .unwrap();
    }

    /// Brings the projections up to the head.
    pub(crate) async fn project(&self) -> i64 {
        let mut tx = self.db.pool.begin().await.unwrap();
        let from = checkpoint::lock(&mut tx, FOLLOWER).await.unwrap();
        let events = log::read(&mut *tx, from, 10_000).await.unwrap();
        let Some(to) = events.last().map(|event| event.position) else { return from };
        Projections::new(Arc::new(NoProfiles)).apply(&mut tx, &events).await.unwrap();
        checkpoint::advance(&mut tx, FOLLOWER, to).await.unwrap();
        tx.commit().await.unwrap();
        to
    }
}

impl TestMerchant {
    /// A JSON request with the merchant's key.
    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {}", self.api_key))
            .header("content-type", "application/json")
    }
}

/// The key with which [`TestApi::seal`] signs.
pub(crate) fn audit_key() -> AuditKey {
    AuditKey::from_seed(&[7; 32], "wopay.test/main").unwrap()
}

struct NoProfiles;

#[async_trait]
impl Profiles for NoProfiles {
    async fn profile(&self, _: SecretRef) -> Result<Option<Profile>, ProfileError> {
        Ok(None)
    }
}

/// Members in the order in which a JSON object has them.
pub(crate) fn members(json: &str) -> Vec<String> {
    struct Ordered(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Ordered {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Keys;
            impl<'de> serde::de::Visitor<'de> for Keys {
                type Value = Ordered;
                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }
                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                    let mut keys = Vec::new();
                    while let Some((key, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                        keys.push(key);
                    }
                    Ok(Ordered(keys))
                }
            }
            deserializer.deserialize_map(Keys)
        }
    }
    serde_json::from_str::<Ordered>(json).unwrap().0
}

/// Headers worth a snapshot.
pub(crate) fn shown_headers(answer: &Answer) -> BTreeMap<String, String> {
    let shown = ["content-type", "location", "idempotent-replayed", "allow", "www-authenticate", "retry-after"];
    let value = |name: &str| Some((name.to_owned(), answer.headers.get(name)?.to_str().unwrap().to_owned()));
    shown.into_iter().filter_map(value).collect()
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
