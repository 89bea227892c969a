//! What happens to the servers when their owner is killed.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use wopay_private_services::{NatsOptions, PostgresOptions, ServiceError, start_nats, start_postgres};

use crate::{eventually, folder, nats, postgres, search};

const ROLE: &str = "WOPAY_TEST_OWNER_OF";

/// Not a test of its own: what [`Owner`] runs in another process. Starts both servers, says where, and lives on.
#[tokio::test]
async fn owner_process() {
    let Some(folder) = std::env::var_os(ROLE) else { return };
    let postgres = start_postgres(PostgresOptions::new(&folder, search())).await.unwrap();
    let nats = start_nats(NatsOptions::new(&folder, search())).await.unwrap();
    println!("\nOWNER {} {}", postgres.url(), nats.url());
    std::future::pending::<()>().await;
}

/// Another process that owns servers.
struct Owner {
    process: Child,
    postgres: String,
    nats: String,
}

impl Owner {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["death::owner_process", "--exact", "--nocapture"]).env(ROLE, folder).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let line = lines.map(Result::unwrap).find(|line| line.starts_with("OWNER ")).expect("both servers start");
        let mut words = line.split(' ').skip(1).map(str::to_owned);
        Self { process, postgres: words.next().unwrap(), nats: words.next().unwrap() }
    }

    /// `kill -9`, as the kernel does when memory is short.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Whether anything listens at `…@127.0.0.1:<port>[/…]`.
fn listens(url: &str) -> bool {
    let address = url.split('@').nth(1).unwrap().split('/').next().unwrap();
    TcpStream::connect(address).is_ok()
}

#[tokio::test]
async fn both_servers_stop_when_their_owner_is_killed() {
    let folder = folder();
    let mut owner = Owner::start(folder.path());
    assert!(listens(&owner.postgres) && listens(&owner.nats));
    owner.kill();
    eventually("both stop", || !listens(&owner.postgres) && !listens(&owner.nats));
}

#[tokio::test]
async fn a_start_right_after_a_kill_finds_all_that_was_committed() {
    let folder = folder();
    for round in 1..=3 {
        let mut owner = Owner::start(folder.path());
        postgres::put(&owner.postgres, 1).await;
        nats::publish(&owner.nats).await;
        assert_eq!(postgres::sum(&owner.postgres).await, round);
        assert_eq!(nats::published(&owner.nats).await, u64::try_from(round).unwrap());
        owner.kill();
    }
}

#[tokio::test]
async fn a_second_process_is_refused_while_the_first_lives() {
    let folder = folder();
    let mut owner = Owner::start(folder.path());
    let error = start_postgres(PostgresOptions::new(folder.path(), search())).await.unwrap_err();
    assert!(matches!(error, ServiceError::InUse { .. }), "{error}");
    let error = start_nats(NatsOptions::new(folder.path(), search())).await.unwrap_err();
    assert!(matches!(error, ServiceError::InUse { .. }), "{error}");
    postgres::put(&owner.postgres, 1).await;
    owner.kill();
}

/// Processes whose parent is this one.
fn children(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    let parent_of = |pid: u32| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

fn name(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn servers_that_lost_their_supervisors_too_are_stopped_by_the_next_start() {
    if !Path::new("/proc/self/stat").exists() {
        eprintln!("this system does not list processes in /proc");
        return;
    }
    let folder = folder();
    let mut owner = Owner::start(folder.path());
    postgres::put(&owner.postgres, 1).await;
    let supervisors: Vec<u32> = children(owner.process.id());
    let watchers = supervisors.iter().flat_map(|pid| children(*pid)).filter(|pid| name(*pid) == "sh");
    let doomed: Vec<String> = supervisors.iter().copied().chain(watchers).map(|pid| pid.to_string()).collect();
    assert_eq!(doomed.len(), 4, "a shell and its watcher for each server");
    assert!(Command::new("/bin/sh").args(["-c", "kill -9 \"$@\"", "sh"]).args(&doomed).status().unwrap().success());
    owner.kill();
    assert!(listens(&owner.postgres) && listens(&owner.nats), "now nobody stops them");

    let (before_postgres, before_nats) = (owner.postgres.clone(), owner.nats.clone());
    let mut owner = Owner::start(folder.path());
    assert_eq!(postgres::sum(&owner.postgres).await, 1);
    assert!(!listens(&before_postgres) && !listens(&before_nats));
    owner.kill();
}
