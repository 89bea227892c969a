//! A server that can do what HTTP libraries take care not to do: close in the middle, promise more than it sends, hang.

use std::sync::Arc;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use url::Url;

use super::Wire;

/// What is sent back.
pub(super) enum Reply {
    Body {
        status: u16,
        content_type: &'static str,
        body: String,
    },
    /// 429, to come again at once.
    TooMany,
    /// The connection ends without an answer.
    Close,
    /// It ends in the middle of one.
    Cut,
    /// Nothing, and the connection stays.
    Hang,
}

impl Reply {
    pub(super) fn json(value: &Value) -> Self {
        Self::body(200, "application/json", &value.to_string())
    }

    pub(super) fn body(status: u16, content_type: &'static str, body: &str) -> Self {
        Self::Body { status, content_type, body: body.to_owned() }
    }
}

/// A node's address.
pub(in super::super) struct Endpoint {
    port: u16,
    task: JoinHandle<()>,
}

impl Endpoint {
    pub(in super::super) async fn new(node: usize, wire: Arc<Wire>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            // Ends with this task.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, node, Arc::clone(&wire)));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, task }
    }

    /// As that watcher knows it.
    pub(in super::super) fn url(&self, watcher: usize) -> Url {
        format!("http://127.0.0.1:{}/{watcher}", self.port).parse().unwrap()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves one connection until it ends.
async fn serve(stream: TcpStream, node: usize, wire: Arc<Wire>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some((watcher, body)) = read_request(&mut stream).await {
        let (status, content_type, more, body) = match wire.reply(node, watcher, &body) {
            Reply::Body { status, content_type, body } => (status, content_type, "", body),
            Reply::TooMany => (429, "text/plain", "retry-after: 0\r\n", String::new()),
            Reply::Cut => {
                let head =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 400\r\n\r\n{\"jsonrpc\"";
                let _gone = stream.write_all(head.as_bytes()).await;
                return;
            }
            Reply::Close => return,
            Reply::Hang => std::future::pending().await,
        };
        let head = format!(
            "HTTP/1.1 {status} Status\r\ncontent-type: {content_type}\r\n{more}content-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Who asks, and what. `None`: nobody does any more.
async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<(usize, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let watcher = line.split(' ').nth(1)?.trim_start_matches('/').parse().ok()?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
        let Some((name, value)) = line.split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((watcher, body))
}
