//! A `wopay serve` process that a test starts, asks, kills and starts again.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use wopay_testkit::eventually;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_wopay");
const READY_WITHIN: Duration = Duration::from_secs(60);

/// The gateway's configuration and, while it runs, its process.
pub(crate) struct Gateway {
    pub(crate) url: String,
    folder: TempDir,
    process: Option<Child>,
    starts: u32,
}

impl Gateway {
    /// Writes the configuration; nothing runs yet. `settings` is TOML that follows `environment`, `listen`, `data_dir`.
    pub(crate) async fn new(settings: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("wopay-test-").tempdir().unwrap();
        // An unprivileged Postgres must be able to pass.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let listen = free_address().await;
        let data_dir = folder.path().join("data");
        let text = format!(
            "environment = \"development\"\nlisten = \"{listen}\"\ndata_dir = \"{}\"\n{settings}",
            data_dir.display()
        );
        std::fs::write(folder.path().join("wopay.toml"), text).unwrap();
        Self { url: format!("http://{listen}"), folder, process: None, starts: 0 }
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.folder.path().join("wopay.toml")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// A command on this installation, not started.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(args).arg("--config").arg(self.config_path());
        // Postgres and nats-server of `make tools` are found from the root of the repository.
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("WOPAY_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts the process, and leaves it at that.
    pub(crate) fn launch(&mut self, args: &[&str]) {
        self.starts += 1;
        let log = File::create(self.log_path()).unwrap();
        let mut all = vec!["serve"];
        all.extend(args);
        let child = self.command(&all).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        self.process = Some(child.unwrap());
    }

    /// Another process of the same installation, with this role alone.
    pub(crate) fn launch_beside(&self, role: &str) -> Beside {
        let log = File::create(self.folder.path().join(format!("wopay-{role}.log"))).unwrap();
        let mut command = self.command(&["serve", "--roles", role, "--listen", "127.0.0.1:0"]);
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
        Beside(child.unwrap())
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        self.launch(&[]);
        self.ready().await;
    }

    pub(crate) async fn ready(&mut self) {
        let url = format!("{}/readyz", self.url);
        let client = client();
        let what = format!("readiness; the log is {}", self.log_path().display());
        eventually(&what, READY_WITHIN, async || {
            assert!(self.exit_code().is_none(), "wopay ended:\n{}", self.log());
            client.get(&url).send().await.ok().filter(|response| response.status().is_success())
        })
        .await;
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join(format!("wopay-{}.log", self.starts))
    }

    /// What the process of the last start has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = self.process.as_mut()?.try_wait().unwrap()?;
        Some(status.code().unwrap_or(-1))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM, and waits for the end. Returns the exit code.
    pub(crate) async fn stop(&mut self) -> i32 {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let code = eventually("wopay to stop", READY_WITHIN, async || self.exit_code()).await;
        self.process = None;
        code
    }

    /// Runs an administrative command beside the server, or without one.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.run_with(args, &[])
    }

    pub(crate) fn run_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Output {
        self.command(args).envs(variables.iter().copied()).output().unwrap()
    }

    /// Runs a command that must succeed, and reads what it prints as JSON.
    pub(crate) fn run_json(&self, args: &[&str]) -> Value {
        let output = self.run(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "wopay {args:?}: {stderr}");
        serde_json::from_slice(&output.stdout).expect("JSON on standard output")
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
        if std::thread::panicking() {
            let tail: Vec<String> = self.log().lines().rev().take(40).map(str::to_owned).collect();
            eprintln!("the end of wopay's log:\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A process beside the gateway's own; killed when dropped.
pub(crate) struct Beside(Child);

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap()
}

pub(crate) async fn free_address() -> String {
    TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap().to_string()
}
