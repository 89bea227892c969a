//! The data folder of a Postgres ("cluster" in its own words): made whole or not at all, and never shared.

use std::fs;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{Durability, describe, environment, remove_dir};
use crate::account::Account;
use crate::error::ServiceError;
use crate::files::{password, sync};
use crate::lock::read_pid;

/// The superuser.
pub(super) const USER: &str = "wopay";
/// The database made for the application.
pub(super) const DATABASE: &str = "wopay";

const HBA: &str = "# Written by WoPay: its own processes, over TCP on this machine, with the generated password.\n\
    host all all 127.0.0.1/32 scram-sha-256\n";

/// The parts of a cluster.
pub(super) struct Cluster<'a> {
    pub(super) bin: &'a Path,
    pub(super) home: &'a Path,
    pub(super) pgdata: &'a Path,
    pub(super) account: Option<Account>,
    pub(super) durability: Durability,
}

impl Cluster<'_> {
    /// Makes the cluster unless it exists, and returns the superuser's password.
    pub(super) fn prepare(&self, exists: bool) -> Result<String, ServiceError> {
        let path = self.home.join("postgres.password");
        let password = password(&path)?;
        if !exists {
            self.create(&password.text)?;
        } else if password.is_new {
            tracing::warn!(path = %path.display(), "the password of the private postgres was lost: a new one is set");
            self.run_alone(self.pgdata, &set_password(&password.text))?;
        }
        Ok(password.text)
    }

    /// Makes the cluster beside its place and moves it there when it is complete, so that a start which dies half-way
    /// leaves nothing that looks like data.
    fn create(&self, password: &str) -> Result<(), ServiceError> {
        let unfinished = self.home.join("postgres.unfinished");
        remove_dir(&unfinished)?;
        fs::DirBuilder::new().mode(0o700).create(&unfinished).map_err(ServiceError::io("create", &unfinished))?;
        if let Some(account) = self.account {
            account.own(&unfinished)?;
        }
        tracing::info!(pgdata = %self.pgdata.display(), by = describe(self.account), "making a private postgres");
        let mut initdb = self.command("initdb");
        initdb.arg("-D").arg(&unfinished).args(["-U", USER, "-E", "UTF8", "--locale=C", "--auth=trust"]);
        if self.durability == Durability::Disposable {
            initdb.arg("--no-sync");
        }
        run("initdb", initdb, "")?;
        let hba = unfinished.join("pg_hba.conf");
        fs::write(&hba, HBA).map_err(ServiceError::io("write", &hba))?;
        sync(&hba)?;
        self.run_alone(&unfinished, &format!("{}CREATE DATABASE {DATABASE};\n", set_password(password)))?;
        if let (Durability::Disposable, Some(account)) = (self.durability, self.account) {
            // The supervisor removes the folder afterwards, and runs as that user.
            account.own(self.home)?;
        }
        fs::rename(&unfinished, self.pgdata).map_err(ServiceError::io("create", self.pgdata))?;
        sync(self.home)
    }

    /// Runs statements, one a line, in a server without network.
    fn run_alone(&self, pgdata: &Path, statements: &str) -> Result<(), ServiceError> {
        let mut postgres = self.command("postgres");
        postgres.args(["--single", "-c", "exit_on_error=on", "-c", "log_min_messages=warning"]);
        if self.durability == Durability::Disposable {
            postgres.args(["-c", "fsync=off"]);
        }
        postgres.arg("-D").arg(pgdata).arg("postgres");
        run("postgres --single", postgres, statements)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").envs(environment()).current_dir("/");
        if let Some(account) = self.account {
            account.apply(&mut command);
        }
        command
    }

    /// What the supervisor removes at the end: a disposable server's whole folder.
    pub(super) fn removed_when_stopped(&self) -> Option<PathBuf> {
        (self.durability == Durability::Disposable).then(|| self.home.to_owned())
    }

    /// Removes a pid file whose server is gone. We hold the lock on everything we started, so only a server somebody
    /// started by hand on our data can still be there: that one is left alone, and Postgres will refuse to start.
    pub(super) fn remove_stale_pid_file(&self) -> Result<(), ServiceError> {
        let path = self.pgdata.join("postmaster.pid");
        let Some(pid) = read_pid(&path) else { return Ok(()) };
        if serves(pid, self.pgdata) == Some(false) {
            fs::remove_file(&path).map_err(ServiceError::io("remove", &path))?;
        }
        Ok(())
    }
}

/// The major version that wrote a data folder; `None` if there is no data.
pub(super) fn version(pgdata: &Path) -> Result<Option<u32>, ServiceError> {
    let path = pgdata.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(ServiceError::io("read", &path)(error)),
    }
}

/// Fast shutdown of a server whose supervisor is gone. Called when the lock says that something still runs here.
pub(super) fn stop_orphan(pgdata: &Path, account: Option<Account>) -> Result<(), ServiceError> {
    let Some(pid) = read_pid(&pgdata.join("postmaster.pid")) else { return Ok(()) };
    if serves(pid, pgdata) == Some(false) {
        return Ok(());
    }
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", "kill -s INT \"$1\"", "sh", &pid.to_string()]).current_dir("/");
    if let Some(account) = account {
        account.apply(&mut kill);
    }
    run("kill", kill, "")
}

/// Whether the process is a server of this data folder, in which a postmaster works; `None` where the system does not tell.
fn serves(pid: u32, pgdata: &Path) -> Option<bool> {
    let processes = Path::new("/proc/self");
    if !processes.exists() {
        return None;
    }
    match fs::read_link(format!("/proc/{pid}/cwd")) {
        Ok(dir) => Some(dir == pgdata),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => None,
        Err(_) => Some(false),
    }
}

/// The password is hexadecimal, so it needs no quoting.
fn set_password(password: &str) -> String {
    format!("ALTER ROLE {USER} PASSWORD '{password}';\n")
}

fn run(what: &'static str, mut command: Command, input: &str) -> Result<(), ServiceError> {
    let program = PathBuf::from(command.get_program());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(ServiceError::io("run", &program))?;
    let mut stdin = child.stdin.take().expect("stdin was piped two lines above");
    // A command that ended without reading shows by its status.
    let written = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().map_err(ServiceError::io("wait for", &program))?;
    if output.status.success() && written.is_ok() {
        return Ok(());
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ServiceError::Command { what, status: output.status.to_string(), output: text.trim().to_owned() })
}
