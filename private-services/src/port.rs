//! Free loopback ports.

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{Ipv4Addr, TcpListener};

/// Below the range systems give to outgoing connections (32768 up on Linux, 49152 up elsewhere): a client that keeps
/// calling a stopped server can never be given the server's own port and end up connected to itself.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;
const TRIES_MAX: usize = 200;

/// A TCP port on 127.0.0.1 that was free a moment ago. Another process may take it first, so a server that finds it
/// taken should be started again with another.
///
/// # Errors
/// The system refuses to bind any port at all.
pub fn free_port() -> io::Result<u16> {
    for _ in 0..TRIES_MAX {
        let random = RandomState::new().hash_one(std::process::id()) % u64::from(COUNT);
        let port = FIRST + u16::try_from(random).unwrap_or(0);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(port);
        }
    }
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
