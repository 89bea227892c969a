//! Every route of the table is guarded as the table says.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use wopay_api::{Access, RouteInfo, openapi, routes};
use wopay_domain::access::AccessRole;

use crate::books::usdt;
use crate::support::{TestApi, TestMerchant, api, order};

/// A request that the route would serve to who may ask.
fn asked(route: &RouteInfo, id: &str, owner: &TestMerchant, size: i64) -> String {
    let path = route.path.replace("{id}", id).replace("{code}", "order_conflict");
    let path = path.replace("{level}", "0").replace("{*index}", &format!("000.p/{size}"));
    match path.as_str() {
        "/api/v1/ledger/statements" => format!("{path}?asset={}&merchant={}", usdt(), owner.id),
        "/api/v1/audit/proof" => format!("{path}?position=1"),
        _ => path,
    }
}

/// Who may call: the merchant, finance, an auditor.
fn allowed(access: Access) -> [bool; 3] {
    match access {
        Access::Public => [true, true, true],
        Access::Merchant => [true, false, false],
        Access::Reader => [true, true, true],
        Access::House => [false, true, true],
        Access::ProofReader => [true, false, true],
        Access::Auditor => [false, false, true],
    }
}

async fn send(api: &TestApi, route: &RouteInfo, path: &str, authorizations: &[&str]) -> crate::support::Answer {
    let mut request = Request::builder().method(route.method.clone()).uri(path);
    for authorization in authorizations {
        request = request.header("authorization", *authorization);
    }
    api.send(request.body(Body::from(order("2").to_string())).unwrap()).await
}

#[tokio::test]
async fn every_route_is_for_those_whom_the_table_names() {
    let api = api().await;
    let owner = api.merchant().await;
    let (finance, auditor) = (api.house(AccessRole::Finance).await, api.house(AccessRole::Auditor).await);
    let id = api.payment(&owner, "1").await.to_string();
    api.project().await;
    let size = api.seal().await;
    let mut seen = BTreeSet::new();
    for route in routes() {
        let path = asked(&route, &id, &owner, size);
        let bare = send(&api, &route, &path, &[]).await;
        if route.access == Access::Public {
            assert_eq!(bare.status, 200, "{route:?}: {}", bare.text);
        } else {
            bare.problem(401, "unauthorized");
        }
        seen.insert(format!("{:?}", route.access));
        let keys = [&owner.api_key, &finance.key, &auditor.key];
        for (key, allowed) in keys.into_iter().zip(allowed(route.access)) {
            let answer = send(&api, &route, &path, &[&format!("Bearer {key}")]).await;
            if allowed {
                assert_ne!(answer.status, 401, "{route:?}: {}", answer.text);
                assert_ne!(answer.status, 403, "{route:?}: {}", answer.text);
                assert!(answer.status.is_success() || route.method != "GET", "{route:?}: {}", answer.text);
            } else {
                answer.problem(403, "forbidden");
            }
        }
    }
    assert_eq!(seen.len(), 6, "every level is used: {seen:?}");
}

#[tokio::test]
async fn no_route_works_without_a_key_and_none_shows_what_is_anothers() {
    let api = api().await;
    let (owner, stranger) = (api.merchant().await, api.merchant().await);
    let id = api.payment(&owner, "1").await;
    let (mut guarded, mut owned) = (0, 0);
    for route in routes().into_iter().filter(|route| route.access != Access::Public) {
        let path = asked(&route, &id.to_string(), &owner, 1);
        guarded += 1;
        for authorization in
            ["", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw", &format!("Token {}", owner.api_key)]
        {
            let answer = send(&api, &route, &path, &[authorization]).await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{route:?}");
        }
        let key = format!("Bearer {}", owner.api_key);
        send(&api, &route, &path, &[&key, &key]).await.problem(401, "unauthorized");

        if route.path.contains("{id}") {
            owned += 1;
            let asked = async |path: &str| {
                let request = stranger.request(route.method.clone(), path).body(Body::empty()).unwrap();
                api.send(request).await
            };
            let theirs = asked(&path).await.problem(404, "not_found");
            let nobodys = asked(&route.path.replace("{id}", &uuid::Uuid::now_v7().to_string())).await;
            assert_eq!(theirs["detail"], nobodys.problem(404, "not_found")["detail"], "{route:?}");
            asked(&route.path.replace("{id}", "17")).await.problem(404, "not_found");
            asked(&route.path.replace("{id}", "%ff")).await.problem(404, "not_found");
            asked(&route.path.replace("{id}", &format!("urn:uuid:{id}"))).await.problem(404, "not_found");
        }
    }
    assert!(guarded >= 14 && owned >= 2);
    let mine = api.get(&owner, &format!("/api/v1/payments/{id}")).await.json();
    assert_eq!(mine["status"], "pending", "the stranger's cancel changed nothing");
    api.project().await;
    assert_eq!(api.get(&stranger, "/api/v1/payments").await.json()["data"].as_array().unwrap().len(), 0);
    assert_eq!(api.get(&owner, "/api/v1/payments").await.json()["data"].as_array().unwrap().len(), 1);
}

#[test]
fn the_description_lists_the_same_routes_and_guards() {
    let document = serde_json::to_value(openapi()).unwrap();
    let mut described = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let schemes = operation["security"].as_array().into_iter().flatten();
            let schemes: BTreeSet<_> = schemes.flat_map(|scheme| scheme.as_object().unwrap().keys().cloned()).collect();
            described.insert((method.to_uppercase(), path.clone(), schemes));
        }
    }
    let table = routes().into_iter().map(|route| {
        let schemes: &[&str] = match route.access {
            Access::Public => &[],
            Access::Merchant => &["api_key"],
            Access::Reader | Access::ProofReader => &["api_key", "access_key"],
            Access::House | Access::Auditor => &["access_key"],
        };
        let schemes = schemes.iter().map(|scheme| (*scheme).to_owned()).collect();
        (route.method.to_string(), route.path.replace("{*", "{"), schemes)
    });
    assert_eq!(described, table.collect());
}
