//! A child process that ends when we do, whatever happens to us.
//!
//! Between us and the program stands a small `sh` that holds the reading end of a pipe. Our end closes when we close
//! it or when the kernel does because we died, `kill -9` included; the shell then stops the program with the signal
//! it likes, waits, and kills it at the end of its grace. Unlike `PR_SET_PDEATHSIG` this works on every Unix, needs
//! no unsafe code, and does not depend on which thread started the program. Lines written to the pipe are names of
//! signals to pass on, so signals need no unsafe code either.
//!
//! The shell has a process group of its own: Ctrl-C in a terminal reaches us alone, and we stop our servers when we
//! have finished with them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::Account;
use crate::error::ServiceError;

/// `$1` stop signal, `$2` seconds of grace, `$3` folder to remove afterwards or nothing; the rest is the program.
const SCRIPT: &str = r#"
stop=$1; grace=$2; remove=$3; shift 3
trap : HUP INT TERM
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
(
    trap '' HUP INT TERM
    exec >/dev/null 2>&1
    while read -r order <&3; do kill -s "$order" "$server"; done
    kill -s "$stop" "$server"
    kill -s CONT "$server"
    while [ "$grace" -gt 0 ]; do sleep 1; grace=$((grace - 1)); done
    kill -s KILL "$server"
) &
watcher=$!
while :; do
    wait "$server"
    status=$?
    kill -s 0 "$server" 2>/dev/null || break
done
kill -s KILL "$watcher" 2>/dev/null
if [ -n "$remove" ]; then rm -rf -- "$remove"; fi
exit "$status"
"#;

const POLL: Duration = Duration::from_millis(5);
/// Enough for `sh`, `sleep` and `rm`.
const PLAIN_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// A signal to pass on to a supervised program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGINT; Postgres stops at once and cleanly ("fast shutdown").
    Interrupt,
    /// SIGTERM.
    Terminate,
    /// SIGQUIT; Postgres stops at once without tidying up ("immediate shutdown").
    Quit,
    /// SIGKILL: as if the machine had lost it.
    Kill,
    /// SIGSTOP: the process hangs, its connections stay open.
    Stop,
    /// SIGCONT.
    Continue,
}

impl Signal {
    fn name(self) -> &'static str {
        match self {
            Self::Interrupt => "INT",
            Self::Terminate => "TERM",
            Self::Quit => "QUIT",
            Self::Kill => "KILL",
            Self::Stop => "STOP",
            Self::Continue => "CONT",
        }
    }
}

/// What to run and how to stop it.
#[derive(Debug)]
pub struct SuperviseOptions {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment besides `PATH`; ours (and its secrets) is not passed on.
    pub env: Vec<(OsString, OsString)>,
    /// Where its standard output goes.
    pub stdout: File,
    /// Where its standard error goes.
    pub stderr: File,
    /// The signal that stops it.
    pub stop: Signal,
    /// How long it has to stop before it is killed, in whole seconds.
    pub grace: Duration,
    /// A folder to remove once it has stopped.
    pub remove_when_stopped: Option<PathBuf>,
}

/// A running program that stops when this value is dropped or this process dies.
#[derive(Debug)]
pub struct Supervised {
    /// `None` once stopped.
    running: Option<Running>,
    name: String,
    grace: Duration,
}

#[derive(Debug)]
struct Running {
    supervisor: Child,
    pipe: ChildStdin,
}

impl Supervised {
    /// Starts a program as the user we are.
    ///
    /// # Errors
    /// The supervising shell could not be started. A program that cannot be run shows as one that ended.
    pub fn spawn(options: SuperviseOptions) -> Result<Self, ServiceError> {
        Self::spawn_as(options, None)
    }

    pub(crate) fn spawn_as(options: SuperviseOptions, account: Option<Account>) -> Result<Self, ServiceError> {
        let name = options.program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy().into_owned();
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "supervise", options.stop.name()]);
        command.arg(options.grace.as_secs().to_string());
        command.arg(options.remove_when_stopped.unwrap_or_default());
        command.arg(&options.program).args(&options.args);
        command.env_clear().env("PATH", PLAIN_PATH).envs(options.env);
        command.current_dir("/").process_group(0);
        command.stdin(Stdio::piped()).stdout(options.stdout).stderr(options.stderr);
        if let Some(account) = account {
            account.apply(&mut command);
        }
        let mut supervisor = command.spawn().map_err(ServiceError::io("run", &options.program))?;
        let pipe = supervisor.stdin.take().expect("stdin was piped two lines above");
        Ok(Self { running: Some(Running { supervisor, pipe }), name, grace: options.grace })
    }

    /// Passes a signal on to the program.
    ///
    /// # Errors
    /// The program has ended already.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        match &mut self.running {
            Some(running) => writeln!(running.pipe, "{}", signal.name()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// The exit status if the program has ended (128 + signal number for a killed one), `None` while it runs.
    ///
    /// # Errors
    /// The process table refused.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.running {
            Some(running) => running.supervisor.try_wait(),
            None => Ok(Some(ExitStatus::default())),
        }
    }

    /// Tells the program to stop and waits until it has ended, at most its grace and a little more. Blocks.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`] when even the kill after the grace did not end it.
    pub fn stop_blocking(&mut self) -> Result<(), ServiceError> {
        let Some(Running { supervisor, pipe }) = self.running.take() else {
            return Ok(());
        };
        drop(pipe);
        self.wait_for_end(supervisor, self.grace + Duration::from_secs(10))
    }

    /// Kills the program as a crash would and waits until it has ended. Blocks.
    ///
    /// # Errors
    /// [`ServiceError::NotStopped`] when it did not end.
    pub fn kill_blocking(&mut self) -> Result<(), ServiceError> {
        if self.signal(Signal::Kill).is_err() {
            tracing::debug!(program = %self.name, "was gone before it was killed");
        }
        self.stop_blocking()
    }

    /// Polls: the two ends of such a wait are another process and a deadline, and std has no timed wait.
    fn wait_for_end(&self, mut supervisor: Child, limit: Duration) -> Result<(), ServiceError> {
        let deadline = Instant::now() + limit;
        while supervisor.try_wait().map_err(ServiceError::io("wait for", self.name.as_ref()))?.is_none() {
            if Instant::now() >= deadline {
                return Err(ServiceError::NotStopped { what: self.name.clone(), waited: limit });
            }
            thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Supervised {
    /// Closes the pipe, which stops the program in the background.
    fn drop(&mut self) {
        if let Some(Running { mut supervisor, pipe }) = self.running.take() {
            drop(pipe);
            // Somebody must collect the shell's exit status, or it stays as a zombie while we live.
            let reaper = thread::Builder::new().name("reaper".to_owned());
            if let Err(error) = reaper.spawn(move || supervisor.wait()) {
                tracing::debug!(%error, program = %self.name, "its exit status is not collected");
            }
        }
    }
}
