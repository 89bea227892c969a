//! The HTTP receiver.

use std::time::Duration;

use wopay_testkit::{Answer, http_receiver};

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(10)).build().unwrap()
}

#[tokio::test]
async fn records_what_arrives_and_answers_as_told() {
    let receiver = http_receiver().await;
    receiver.answer_next(Answer::status(503).header("retry-after", "7").body("busy"));
    let send = || client().post(format!("{}/hook?a=1", receiver.url)).header("x-test", "yes").body("{\"n\":1}").send();
    let first = send().await.unwrap();
    assert_eq!((first.status().as_u16(), first.headers()["retry-after"].to_str().unwrap()), (503, "7"));
    assert_eq!(send().await.unwrap().status().as_u16(), 200);

    let received = receiver.wait_for(2, Duration::from_secs(5)).await;
    assert_eq!(received[0].uri.to_string(), "/hook?a=1");
    assert_eq!(received[0].header("x-test"), "yes");
    assert_eq!(&received[0].body[..], b"{\"n\":1}");
    assert!(received[0].instant <= received[1].instant);
    receiver.clear();
    assert!(receiver.received().is_empty());
}

#[tokio::test]
async fn answers_badly_when_told_to() {
    let receiver = http_receiver().await;
    let get = || client().get(&receiver.url).send();
    receiver.answer_next(Answer::redirect("http://127.0.0.1:1/"));
    assert_eq!(get().await.unwrap().status().as_u16(), 307);
    receiver.answer_next(Answer::huge(300_000));
    assert_eq!(get().await.unwrap().bytes().await.unwrap().len(), 300_000);
    receiver.answer_next(Answer::broken());
    assert!(get().await.unwrap().bytes().await.is_err());
    let patience = Duration::from_millis(300);
    receiver.answer_next(Answer::hang());
    assert!(tokio::time::timeout(patience, get()).await.is_err());
    receiver.answer_next(Answer::stall());
    let stalled = get().await.unwrap();
    assert!(tokio::time::timeout(patience, stalled.bytes()).await.is_err());
    receiver.answer_next(Answer::ok().after(patience));
    assert_eq!(get().await.unwrap().status().as_u16(), 200);
    receiver.answer_with(|request| Answer::status(if request.uri.path() == "/gone" { 410 } else { 204 }));
    assert_eq!(client().get(format!("{}/gone", receiver.url)).send().await.unwrap().status().as_u16(), 410);
    assert_eq!(get().await.unwrap().status().as_u16(), 204);
}
