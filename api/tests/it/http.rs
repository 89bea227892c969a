//! Through a real listener: what a socket adds.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{TestApi, api, order};

async fn listen(api: &TestApi) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let router = api.router.clone();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

#[tokio::test]
async fn a_payment_is_created_and_read_over_a_socket() {
    let api = api().await;
    let merchant = api.merchant().await;
    let base = format!("http://{}", listen(&api).await);
    let client = reqwest::Client::new();
    let post = client.post(format!("{base}/api/v1/payments")).bearer_auth(&merchant.api_key);
    let created = post.json(&order("1")).send().await.unwrap();
    assert_eq!(created.status(), 201);
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let created = created.text().await.unwrap();
    let read = client.get(format!("{base}{location}")).bearer_auth(&merchant.api_key).send().await.unwrap();
    assert_eq!(read.text().await.unwrap(), created);
    let head = client.head(format!("{base}{location}")).send().await.unwrap();
    assert_eq!(head.status(), 401);
}

#[tokio::test]
async fn a_sender_of_two_mebibytes_gets_to_read_the_refusal() {
    let api = api().await;
    let merchant = api.merchant().await;
    let url = format!("http://{}/api/v1/payments", listen(&api).await);
    let client = reqwest::Client::new();
    let events = api.events().await;
    let whole = vec![b'{'; 2 * 1024 * 1024];
    let pieces = futures::stream::iter(
        whole.chunks(8_192).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>(),
    );
    for body in [reqwest::Body::from(whole.clone()), reqwest::Body::wrap_stream(pieces)] {
        let post = client.post(&url).bearer_auth(&merchant.api_key).header("content-type", "application/json");
        let answer = post.body(body).send().await.unwrap();
        assert_eq!(answer.status(), 413);
        let problem: serde_json::Value = answer.json().await.unwrap();
        assert_eq!((&problem["code"], &problem["errors"][0]["field"]), (&"body_too_large".into(), &"body".into()));
    }
    assert_eq!(api.events().await, events);
}

#[tokio::test]
async fn who_asks_before_sending_too_much_is_told_not_to() {
    let api = api().await;
    let merchant = api.merchant().await;
    let mut socket = TcpStream::connect(listen(&api).await).await.unwrap();
    let head = format!(
        "POST /api/v1/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 2097152\r\nexpect: 100-continue\r\n\r\n",
        merchant.api_key
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(Duration::from_secs(20), socket.read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer), "HTTP/1.1 413");
}

#[tokio::test]
async fn a_body_that_breaks_off_writes_nothing() {
    let api = api().await;
    let merchant = api.merchant().await;
    let events = api.events().await;
    let mut socket = TcpStream::connect(listen(&api).await).await.unwrap();
    let text = order("1").to_string();
    let head = format!(
        "POST /api/v1/payments HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{text}",
        merchant.api_key,
        text.len() + 1
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // The server may answer or just close; neither writes.
    let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.unwrap();
    assert!(!String::from_utf8_lossy(&answer).starts_with("HTTP/1.1 2"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(api.events().await, events);
}
