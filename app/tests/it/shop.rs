//! A merchant with a webhook receiver, and chains with tokens on which its customers pay.

use std::time::Duration;

use serde_json::{Value, json};
use wopay_testkit::{
    Anvil, AnvilOptions, HttpReceiver, Mining, Received, TestDatabase, TestNats, Token, TokenKind, anvil,
    empty_database, eventually, http_receiver, nats,
};

use crate::gateway::{Gateway, client};
use crate::roles::Roles;

/// Everything that a payment needs, with the gateway serving: on an EVM chain, or on the one that the parameters name.
pub(crate) struct Shop<C = Anvil, T = Token> {
    pub(crate) gateway: Gateway,
    pub(crate) database: TestDatabase,
    pub(crate) chain: C,
    pub(crate) token: T,
    /// The chain's name.
    blockchain: &'static str,
    pub(crate) receiver: HttpReceiver,
    pub(crate) api_key: String,
    pub(crate) merchant_id: String,
    pub(crate) webhook_secret: String,
    pub(crate) client: reqwest::Client,
    _nats: TestNats,
}

/// Confirmations that payments in these tests ask for.
pub(crate) const CONFIRMATIONS: u64 = 3;

/// How long anything in these tests may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

impl Shop {
    pub(crate) async fn open(mining: Mining) -> Self {
        Self::open_with(mining, "").await
    }

    /// `token_settings` is TOML that follows the token's `decimals`.
    pub(crate) async fn open_with(mining: Mining, token_settings: &str) -> Self {
        let chain = anvil(AnvilOptions { mining, ..AnvilOptions::default() }).await;
        let token = chain.deploy_token(TokenKind::Silent, "USDT", 6).await;
        let payer = chain.accounts[1].clone();
        chain.mint(&token, &payer, token.whole(1_000_000_000)).await;
        let table = format!(
            r#"
kind = "evm"
chain_id = 31337
rpc = ["{}"]
finality = {{ mode = "depth", confirmations = {CONFIRMATIONS} }}
native = {{ symbol = "ETH", decimals = 18 }}
poll_interval_ms = 100
[[chains.ethereum.tokens]]
symbol = "USDT"
contract = "{}"
decimals = 6
{token_settings}
"#,
            chain.url, token.address
        );
        Self::on(chain, token, "ethereum", &table).await
    }

    pub(crate) fn payer(&self) -> &str {
        &self.chain.accounts[1]
    }
}

impl<C, T> Shop<C, T> {
    /// A shop on this chain; `table` is what stands below `[chains.<blockchain>]`.
    pub(crate) async fn on(chain: C, token: T, blockchain: &'static str, table: &str) -> Self {
        let (database, nats, receiver) = tokio::join!(empty_database(), nats(), http_receiver());
        // Everything that these tests do, they do as a role that owns nothing.
        let roles = Roles::of(&database).await;
        let settings = format!(
            r#"
{}
nats_url = "{}"
[webhooks]
allow_networks = ["127.0.0.0/8"]
[custody]
address_pool = 500
address_lease = 20
[chains.{blockchain}]
{table}"#,
            roles.settings(),
            nats.url,
        );
        let mut gateway = Gateway::new(&settings).await;
        gateway.start().await;
        let created = gateway.run_json(&[
            "merchant",
            "create",
            "--name",
            "Shop",
            "--email",
            "shop@example.com",
            "--webhook-url",
            &receiver.url,
            "--json",
        ]);
        let text = |name: &str| created[name].as_str().expect(name).to_owned();
        Self {
            api_key: text("api_key"),
            merchant_id: text("merchant_id"),
            webhook_secret: text("webhook_secret"),
            client: client(),
            gateway,
            database,
            chain,
            token,
            blockchain,
            receiver,
            _nats: nats,
        }
    }

    /// One request; `None` when nobody answers.
    pub(crate) async fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Option<(u16, Value)> {
        let mut request = self.client.request(method, format!("{}{path}", self.gateway.url)).bearer_auth(&self.api_key);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        Some((status, response.json().await.ok()?))
    }

    pub(crate) async fn create(&self, order_id: &str, amount: &str, currency: &str, expires_in: u32) -> Value {
        let body = json!({
            "order_id": order_id, "amount": amount, "currency": currency, "blockchain": self.blockchain,
            "expires_in": expires_in,
        });
        // The address pool fills in the first moments.
        eventually(&format!("the payment {order_id}"), PATIENCE, async || {
            let (status, answer) = self.request(reqwest::Method::POST, "/api/v1/payments", Some(&body)).await?;
            assert!(matches!(status, 200 | 201 | 503), "{status}: {answer}");
            (status != 503).then_some(answer)
        })
        .await
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.request(reqwest::Method::GET, path, None).await.expect("an answer");
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    pub(crate) async fn payment(&self, id: &str) -> Value {
        self.get(&format!("/api/v1/payments/{id}")).await
    }

    /// The payment, once it has this status.
    pub(crate) async fn reaches(&self, id: &str, status: &str) -> Value {
        eventually(&format!("payment {id} to be {status}"), PATIENCE, async || {
            Some(self.payment(id).await).filter(|payment| payment["status"] == status)
        })
        .await
    }

    /// The webhooks of a payment so far, oldest first.
    pub(crate) fn webhooks(&self, payment_id: &str) -> Vec<Received> {
        self.receiver.received().into_iter().filter(|request| request.json()["payment_id"] == payment_id).collect()
    }

    pub(crate) async fn webhook(&self, payment_id: &str, event: &str) -> Received {
        eventually(&format!("the webhook {event} of {payment_id}"), PATIENCE, async || {
            self.webhooks(payment_id).into_iter().find(|request| request.json()["event"] == event)
        })
        .await
    }
}

/// The `id` and `payment_address` of a created payment.
pub(crate) fn id_and_address(payment: &Value) -> (String, String) {
    let text = |name: &str| payment[name].as_str().expect(name).to_owned();
    (text("id"), text("payment_address").to_lowercase())
}
