//! `api/openapi.json` is what the code says.

use std::path::Path;

use crate::support::api;

const UPDATE_VARIABLE: &str = "WOPAY_UPDATE_OPENAPI";

#[test]
fn the_committed_description_matches_the_code() {
    let wanted = wopay_api::openapi().to_pretty_json().unwrap() + "\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi.json");
    if std::env::var_os(UPDATE_VARIABLE).is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert!(committed == wanted, "api/openapi.json is stale: run this test with {UPDATE_VARIABLE}=1 and commit it");
}

#[tokio::test]
async fn the_description_is_served() {
    let api = api().await;
    let merchant = api.merchant().await;
    let answer = api.get(&merchant, "/api/v1/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert!(answer.json()["openapi"].as_str().unwrap().starts_with("3.1"));
}
