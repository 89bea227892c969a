//! Without `database_url` and `nats_url`: servers of one's own, which live and die with the process.

use std::time::Duration;

use wopay_testkit::eventually;

use crate::gateway::{Gateway, client};

const PATIENCE: Duration = Duration::from_secs(60);

/// Processes whose command line names the folder.
fn processes_in(folder: &std::path::Path) -> Vec<String> {
    let needle = folder.display().to_string();
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(&needle)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn private_servers_start_serve_and_stop_with_the_process() {
    let mut gateway = Gateway::new("").await;
    gateway.start().await;
    let merchant = ["merchant", "create", "--name", "Shop", "--email", "a@example.com", "--json"];
    let created = gateway.run_json(&merchant);
    assert!(created["api_key"].as_str().unwrap().starts_with("wk_"), "beside the running server");
    let answer = client()
        .get(format!("{}/api/v1/payments", gateway.url))
        .bearer_auth(created["api_key"].as_str().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);

    assert_eq!(gateway.stop().await, 0, "{}", gateway.log());
    let data_dir = gateway.data_dir();
    assert_eq!(processes_in(&data_dir), Vec::<String>::new());

    // And again, killed this time: nothing is left over, nothing is lost.
    gateway.start().await;
    gateway.kill();
    eventually("private servers to die with their owner", PATIENCE, async || {
        processes_in(&data_dir).is_empty().then_some(())
    })
    .await;
    let again = gateway.run(&merchant);
    let stderr = String::from_utf8_lossy(&again.stderr);
    assert!(!again.status.success() && stderr.contains("a@example.com exists"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_folder_is_refused() {
    let mut gateway = Gateway::new("").await;
    gateway.start().await;
    let second = gateway.run(&["serve", "--listen", "127.0.0.1:0"]);
    let stderr = String::from_utf8_lossy(&second.stderr);
    assert!(!second.status.success() && stderr.contains("private Postgres"), "{stderr}");
    assert_eq!(gateway.stop().await, 0);
}
