//! Chains whose nodes are not what they should be, beside one that is: each is named, and the good one is not disturbed.

use std::io::Write as _;

use serde_json::{Value, json};
use wopay_testkit::{
    AnvilOptions, HttpReceiver, Instead, Mining, RpcProxy, TokenKind, anvil, eventually, http_receiver,
};

use crate::shop::{CONFIRMATIONS, PATIENCE, Shop, id_and_address};

/// A chain's table with one endpoint.
fn table(name: &str, chain_id: u64, url: &str, more: &str) -> String {
    format!(
        "\n[chains.{name}]\nkind = \"evm\"\nchain_id = {chain_id}\nrpc = [\"{url}\"]\nfinality = {{ mode = \"depth\", \
         confirmations = 1 }}\nnative = {{ symbol = \"ETH\", decimals = 18 }}\npoll_interval_ms = 100\n{more}"
    )
}

fn host(url: &str) -> &str {
    url.trim_start_matches("http://")
}

impl Shop {
    async fn readyz(&self) -> Option<(u16, Value)> {
        let response = self.client.get(format!("{}/readyz", self.gateway.url)).send().await.ok()?;
        Some((response.status().as_u16(), response.json().await.ok()?))
    }

    async fn metrics(&self) -> String {
        self.client.get(format!("{}/metrics", self.gateway.url)).send().await.unwrap().text().await.unwrap()
    }

    fn configure(&self, tables: &[String]) {
        let mut file = std::fs::OpenOptions::new().append(true).open(self.gateway.config_path()).unwrap();
        file.write_all(tables.concat().as_bytes()).unwrap();
    }
}

/// A node that keeps its newest blocks only, as it says when it is asked for others.
async fn pruned(node: &str) -> RpcProxy {
    let proxy = RpcProxy::new(node).await;
    let is_old = |params: &Value| {
        let height = params[0].as_str().and_then(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok());
        height.is_some_and(|height| height < 50)
    };
    proxy.script(move |method, params, _| match method {
        "eth_getBlockByNumber" if is_old(params) => Instead::Json(
            json!({ "jsonrpc": "2.0", "id": 1, "error": { "code": 4444, "message": "pruned history unavailable" } }),
        ),
        _ => Instead::Nothing,
    });
    proxy
}

/// The check of that chain, once its text holds all of these.
async fn says(shop: &Shop, chain: &str, texts: &[&str]) -> Value {
    let name = format!("chain:{chain}");
    eventually(&format!("{chain} to be shown with {texts:?}"), PATIENCE, async || {
        let (_, body) = shop.readyz().await?;
        let check = body["checks"].as_array()?.iter().find(|check| check["name"] == name.as_str())?.clone();
        let detail = check["detail"].as_str()?;
        texts.iter().all(|text| detail.contains(text)).then_some(check)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_node_is_named_and_other_chains_go_on() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    let node =
        async |chain_id| anvil(AnvilOptions { mining: Mining::OnDemand, chain_id, ..AnvilOptions::default() }).await;
    let (other, old) = (node(41).await, node(43).await);
    let token = other.deploy_token(TokenKind::Silent, "USDT", 6).await;
    old.mine(100).await;
    let page: HttpReceiver = http_receiver().await;
    page.answer_always(wopay_testkit::Answer::ok().header("content-type", "text/html").body("<html>One moment</html>"));
    let pruned = pruned(&old.url).await;
    let other_decimals =
        format!("[[chains.decimals.tokens]]\nsymbol = \"USDT\"\ncontract = \"{}\"\ndecimals = 18\n", token.address);
    shop.gateway.kill();
    shop.configure(&[
        table("identity", 56, &other.url, ""),
        table("decimals", 41, &other.url, &other_decimals),
        table("page", 42, &page.url, ""),
        table("pruned", 43, &pruned.url, "start_block = 1\n"),
    ]);
    shop.gateway.start().await;

    let identity = says(&shop, "identity", &["refused", host(&other.url), "chain id is 41, configured is 56"]).await;
    assert_eq!(identity["ready"], false, "{identity}");
    says(&shop, "decimals", &["refused", host(&other.url), "token USDT", "decimals are 6, configured are 18"]).await;
    says(&shop, "page", &[host(page.url.trim_end_matches('/')), "HTML"]).await;
    says(&shop, "pruned", &[host(&pruned.url), "it is pruned", "pruned history unavailable"]).await;
    let good = says(&shop, "ethereum", &["height"]).await;
    assert_eq!(good["ready"], true, "{good}");
    // Those that need a person are no reason to keep work from the rest.
    let (status, body) = shop.readyz().await.unwrap();
    assert_eq!((status, &body["status"]), (200, &json!("degraded")), "{body}");

    let payer = shop.payer().to_owned();
    let (id, address) = id_and_address(&shop.create("ORDER", "5", "USDT", 3600).await);
    shop.chain.transfer(&shop.token, &payer, &address, 5_000_000).await;
    shop.chain.mine(CONFIRMATIONS).await;
    shop.reaches(&id, "completed").await;

    let metrics = shop.metrics().await;
    let has = |name: &str, labels: &[&str], value: &str| {
        let mut lines = metrics.lines().filter(|line| line.starts_with(name) && line.ends_with(value));
        lines.any(|line| labels.iter().all(|label| line.contains(label)))
    };
    for chain in ["identity", "decimals"] {
        let label = format!("chain=\"{chain}\"");
        assert!(has("wopay_chain_watchers_refused", &[&label], " 1"), "{chain}: {metrics}");
        let wrong = has("wopay_chain_watchers_endpoint_state", &[&label, "state=\"wrong\""], " 1");
        assert!(wrong, "{chain}: {metrics}");
    }
    assert!(has("wopay_chain_watchers_refused", &["chain=\"ethereum\""], " 0"), "{metrics}");
    for chain in ["page", "pruned"] {
        let failed = |line: &&str| line.contains(&format!("chain=\"{chain}\"")) && !line.ends_with(" 0");
        let mut steps = metrics.lines().filter(|line| line.starts_with("wopay_chain_watchers_failed_steps_total"));
        assert!(steps.any(|line| failed(&line)), "{chain}: {metrics}");
    }

    let checked = shop.gateway.run(&["chains", "check"]);
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(!checked.status.success(), "{text}");
    for said in ["chain id is 41, configured is 56", "decimals are 6, configured are 18", "HTML"] {
        assert!(text.contains(said), "{said}: {text}");
    }
}

/// With nothing left to do, the process says that it is not ready.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_whose_only_chain_is_refused_is_not_ready() {
    let mut shop = Shop::open(Mining::OnDemand).await;
    shop.gateway.kill();
    let path = shop.gateway.config_path();
    let text = std::fs::read_to_string(&path).unwrap().replace("chain_id = 31337", "chain_id = 56");
    std::fs::write(&path, text).unwrap();
    shop.gateway.launch(&[]);
    let body = eventually("the process to be refused", PATIENCE, async || {
        let (status, body) = shop.readyz().await?;
        let errors = body["errors"].to_string();
        (status == 503 && errors.contains("chain id is 31337, configured is 56")).then_some(body)
    })
    .await;
    assert_eq!(body["code"], "not_ready", "{body}");
}
