//! A private nats-server with JetStream.

use std::fmt;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::binaries::{BinarySearch, find_nats};
use crate::error::{Service, ServiceError};
use crate::files::{log_tail, open_log, password, write_private};
use crate::lock::{self, Ownership, read_pid};
use crate::port::free_port;
use crate::supervise::{Signal, SuperviseOptions, Supervised};
use crate::{blocking, home};

const PORT_TRIES_MAX: usize = 5;
/// Recovery reads every stream's blocks.
const READY_WITHIN: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(5);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const USER: &str = "wopay";

/// How often JetStream forces its files to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncInterval {
    /// Before each acknowledgement.
    Always,
    /// Every so often, in whole seconds; the server's own default is two minutes.
    Every(Duration),
}

impl fmt::Display for SyncInterval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("always"),
            Self::Every(interval) => write!(f, "\"{}s\"", interval.as_secs().max(1)),
        }
    }
}

/// How to run a private nats-server.
#[derive(Debug, Clone)]
pub struct NatsOptions {
    /// Folder for streams, log, configuration and password; made if it does not exist.
    pub data_dir: PathBuf,
    /// Where to look for `nats-server`.
    pub search: BinarySearch,
    /// The port on 127.0.0.1; `None` for any free one.
    pub port: Option<u16>,
    /// How often JetStream forces its files to the disk.
    pub sync_interval: SyncInterval,
    /// Ask clients for user and password, so that no other user of the machine can publish commands. `async-nats` does
    /// not take them from the URL by itself: pass them to `ConnectOptions::user_and_password`.
    pub password: bool,
    /// Remove the whole folder when the server stops.
    pub disposable: bool,
}

impl NatsOptions {
    /// A durable server on any free port that asks for a password.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>, search: BinarySearch) -> Self {
        Self {
            data_dir: data_dir.into(),
            search,
            port: None,
            sync_interval: SyncInterval::Always,
            password: true,
            disposable: false,
        }
    }
}

/// A running private nats-server; stops when dropped or when this process dies.
#[derive(Debug)]
pub struct PrivateNats {
    server: Supervised,
    url: String,
    port: u16,
    log: PathBuf,
    _ownership: Ownership,
}

impl PrivateNats {
    /// `nats://wopay:<password>@127.0.0.1:<port>`, or without the part up to the `@`. Password and, with [`NatsOptions::port`], port are the same at
    /// every start in the same folder.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The port on 127.0.0.1; give it to [`NatsOptions::port`] to come back at the same address.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's log file.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Lets the server hang ([`Signal::Stop`]) and go on ([`Signal::Continue`]), or passes another signal on.
    ///
    /// # Errors
    /// The server has ended.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServiceError> {
        self.server.signal(signal).map_err(ServiceError::io("signal the server of", &self.log))
    }

    /// The exit status if the server has ended by itself.
    ///
    /// # Errors
    /// The process table refused.
    pub fn exit_status(&mut self) -> Result<Option<ExitStatus>, ServiceError> {
        self.server.try_wait().map_err(ServiceError::io("wait for", &self.log))
    }

    /// Stops the server cleanly and waits until it is gone.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`] when it does not go.
    pub async fn stop(self) -> Result<(), ServiceError> {
        blocking(move || self.stop_blocking()).await
    }

    /// [`stop`](Self::stop) for threads outside a runtime.
    ///
    /// # Errors
    /// As [`stop`](Self::stop).
    pub fn stop_blocking(mut self) -> Result<(), ServiceError> {
        self.server.stop_blocking()
    }

    /// Kills the server as a crash would and waits until it is gone.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`] when it does not go.
    pub async fn kill(self) -> Result<(), ServiceError> {
        blocking(move || self.kill_blocking()).await
    }

    /// [`kill`](Self::kill) for threads outside a runtime.
    ///
    /// # Errors
    /// As [`kill`](Self::kill).
    pub fn kill_blocking(mut self) -> Result<(), ServiceError> {
        self.server.kill_blocking()
    }
}

/// Starts a private nats-server and returns when it takes connections, JetStream included.
///
/// # Errors
/// Any [`ServiceError`]; most say what to install or to configure.
pub async fn start_nats(options: NatsOptions) -> Result<PrivateNats, ServiceError> {
    blocking(move || start_nats_blocking(&options)).await
}

/// [`start_nats`] for threads outside a runtime.
///
/// # Errors
/// As [`start_nats`].
pub fn start_nats_blocking(options: &NatsOptions) -> Result<PrivateNats, ServiceError> {
    let home = home::make(&options.data_dir)?;
    let binary = find_nats(&options.search)?;
    let pid_file = home.join("nats.pid");
    let ownership = lock::take(&home, Service::Nats, || stop_orphan(&pid_file))?;
    let password = options.password.then(|| password(&home.join("nats.password"))).transpose()?;
    let log = home.join("nats.log");
    let mut tries = 0;
    loop {
        tries += 1;
        let port = match options.port {
            Some(port) => port,
            None => free_port().map_err(ServiceError::io("find a port for", &home))?,
        };
        let config = home.join("nats.conf");
        write_private(
            &config,
            &configuration(
                &home,
                port,
                password.as_ref().map(|password| password.text.as_str()),
                options.sync_interval,
            ),
        )?;
        let (log_file, log_start) = open_log(&log)?;
        let mut server = Supervised::spawn(SuperviseOptions {
            program: binary.clone(),
            args: vec!["--config".into(), config.into()],
            env: Vec::new(),
            stdout: ownership.running.try_clone().map_err(ServiceError::io("share the lock of", &home))?,
            stderr: log_file,
            stop: Signal::Terminate,
            grace: GRACE,
            remove_when_stopped: options.disposable.then(|| home.clone()),
        })?;
        match wait(&mut server, port, READY_WITHIN).map_err(ServiceError::io("wait for", &log))? {
            Readiness::Ready => {
                tracing::debug!(port, home = %home.display(), "private nats-server is ready");
                let user = password.map(|password| format!("{USER}:{}@", password.text)).unwrap_or_default();
                let url = format!("nats://{user}127.0.0.1:{port}");
                return Ok(PrivateNats { server, url, port, log, _ownership: ownership });
            }
            Readiness::Ended(status) => {
                let log_tail = log_tail(&log, log_start);
                if tries >= PORT_TRIES_MAX || !log_tail.contains("address already in use") {
                    let status = status.to_string();
                    return Err(ServiceError::Exited { service: Service::Nats, status, log, log_tail });
                }
            }
            Readiness::Late => {
                let log_tail = log_tail(&log, log_start);
                return Err(ServiceError::NotReady { service: Service::Nats, waited: READY_WITHIN, log, log_tail });
            }
        }
    }
}

fn configuration(home: &Path, port: u16, password: Option<&str>, sync: SyncInterval) -> String {
    let authorization = password
        .map(|password| format!("authorization {{ user: \"{USER}\", password: \"{password}\" }}\n"))
        .unwrap_or_default();
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    format!(
        "# Written by WoPay at each start.\n\
         listen: \"127.0.0.1:{port}\"\n\
         pid_file: {pid}\n\
         {authorization}\
         jetstream {{ store_dir: {store}, sync_interval: {sync} }}\n",
        pid = quoted(&home.join("nats.pid")),
        store = quoted(&home.join("nats")),
    )
}

enum Readiness {
    Ready,
    Ended(ExitStatus),
    Late,
}

/// The server opens its port for clients after JetStream has recovered, and greets each with `INFO {…}`.
fn wait(server: &mut Supervised, port: u16, within: Duration) -> std::io::Result<Readiness> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = server.try_wait()? {
            return Ok(Readiness::Ended(status));
        }
        if greets(port).unwrap_or(false) {
            return Ok(Readiness::Ready);
        }
        if Instant::now() >= deadline {
            return Ok(Readiness::Late);
        }
        thread::sleep(POLL);
    }
}

fn greets(port: u16) -> std::io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting)?;
    Ok(&greeting == b"INFO ")
}

/// Stops a server whose supervisor is gone. The lock says that one runs here, and the pid file is its own.
fn stop_orphan(pid_file: &Path) -> Result<(), ServiceError> {
    let Some(pid) = read_pid(pid_file) else { return Ok(()) };
    // Where the system tells names, a process id that now belongs to another program is left alone.
    if std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() != "nats-server") {
        return Ok(());
    }
    let mut kill = Command::new("/bin/sh");
    kill.args(["-c", "kill -s TERM \"$1\"", "sh", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    kill.status().map(|_gone_or_told| ()).map_err(ServiceError::io("stop the server of", pid_file))
}
