//! Every route of the table is guarded as the table says.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Request;
use wopay_api::{Access, openapi, routes};

use crate::support::{api, order};

#[tokio::test]
async fn no_route_works_without_a_key_and_none_shows_what_is_anothers() {
    let api = api().await;
    let (owner, stranger) = (api.merchant().await, api.merchant().await);
    let id = api.payment(&owner, "1").await;
    let (mut guarded, mut owned) = (0, 0);
    for route in routes() {
        let path = route.path.replace("{id}", &id.to_string()).replace("{code}", "order_conflict");
        let bare = |headers: &[(&str, &str)]| {
            let mut request = Request::builder().method(route.method.clone()).uri(&path);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            request.body(Body::from(order("2").to_string())).unwrap()
        };
        if route.access == Access::Public {
            assert_eq!(api.send(bare(&[])).await.status, 200, "{route:?}");
            continue;
        }
        guarded += 1;
        for authorization in
            ["", "Bearer", "Bearer ", "Bearer wrong", "Basic dTpw", &format!("Token {}", owner.api_key)]
        {
            let answer = api.send(bare(&[("authorization", authorization)])).await;
            answer.problem(401, "unauthorized");
            assert_eq!(answer.headers["www-authenticate"], "Bearer", "{route:?}");
        }
        api.send(bare(&[])).await.problem(401, "unauthorized");
        let key = format!("Bearer {}", owner.api_key);
        api.send(bare(&[("authorization", &key), ("authorization", &key)])).await.problem(401, "unauthorized");

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
    assert!(guarded >= 5 && owned >= 2);
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
            let guarded = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
            described.insert((method.to_uppercase(), path.clone(), guarded));
        }
    }
    let table = routes()
        .into_iter()
        .map(|route| (route.method.to_string(), route.path.to_owned(), route.access == Access::Merchant));
    assert_eq!(described, table.collect());
}
