//! Whether a Postgres takes connections, asked in its own protocol without a client library.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::ExitStatus;
use std::thread;
use std::time::{Duration, Instant};

use super::cluster::{DATABASE, USER};
use crate::supervise::Supervised;

const POLL: Duration = Duration::from_millis(10);
const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const PROTOCOL_3_0: u32 = 196_608;

/// Why a server is not ready.
pub(super) enum NotReady {
    /// It has ended.
    Ended(ExitStatus),
    /// The deadline has passed.
    Late,
    /// It cannot be told.
    Unknown(std::io::Error),
}

/// Waits until the server asks a client for its password.
pub(super) fn wait(server: &mut Supervised, port: u16, within: Duration) -> Result<(), NotReady> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(status) = server.try_wait().map_err(NotReady::Unknown)? {
            return Err(NotReady::Ended(status));
        }
        if asks_for_password(port).unwrap_or(false) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(NotReady::Late);
        }
        thread::sleep(POLL);
    }
}

/// Sends a start-up message. `R` is a request to authenticate, `E` an error such as "the database system is starting up".
fn asks_for_password(port: u16) -> std::io::Result<bool> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    let parameters = format!("user\0{USER}\0database\0{DATABASE}\0\0");
    let length = u32::try_from(8 + parameters.len()).unwrap_or(u32::MAX);
    let mut message = length.to_be_bytes().to_vec();
    message.extend(PROTOCOL_3_0.to_be_bytes());
    message.extend(parameters.as_bytes());
    stream.write_all(&message)?;
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    Ok(kind == [b'R'])
}
