//! A real HTTP server that records what it is sent and answers as it is told, also badly.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use futures::stream::{self, StreamExt};
use tokio::task::JoinHandle;

use crate::eventually::eventually;

const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
const HEADERS_SENT_WITHIN: Duration = Duration::from_millis(50);
const CHUNK: &[u8] = &[b'x'; 16 * 1024];

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Received {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers.
    pub headers: HeaderMap,
    /// The raw body.
    pub body: Bytes,
    /// Wall clock at arrival of the whole body.
    pub at: SystemTime,
    /// The same moment, for measuring intervals.
    pub instant: Instant,
}

impl Received {
    /// A header as text.
    ///
    /// # Panics
    /// It is missing or not text.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers));
        value.to_str().expect("the header is text")
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// It is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// How to answer one request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    delay: Duration,
    content: Content,
}

#[derive(Debug, Clone)]
enum Content {
    Whole(Bytes),
    /// That many bytes, unannounced, in chunks.
    Stream(u64),
    /// Headers never come.
    Nothing,
    /// Headers and some of the body come, the rest never does.
    Stalled,
    /// The connection breaks in the middle of the body.
    Broken,
}

impl Answer {
    /// An empty answer with that status, at once.
    ///
    /// # Panics
    /// It is no HTTP status.
    #[must_use]
    pub fn status(status: u16) -> Self {
        let status = StatusCode::from_u16(status).expect("an HTTP status");
        Self { status, headers: Vec::new(), delay: Duration::ZERO, content: Content::Whole(Bytes::new()) }
    }

    /// 200 and nothing else.
    #[must_use]
    pub fn ok() -> Self {
        Self::status(200)
    }

    /// A redirect (307).
    #[must_use]
    pub fn redirect(to: &str) -> Self {
        Self::status(307).header("location", to)
    }

    /// No answer, while the connection stays open.
    #[must_use]
    pub fn hang() -> Self {
        Self::ok().content(Content::Nothing)
    }

    /// 200 and the beginning of a body that never ends.
    #[must_use]
    pub fn stall() -> Self {
        Self::ok().content(Content::Stalled)
    }

    /// 200 and a body that breaks off with the connection.
    #[must_use]
    pub fn broken() -> Self {
        Self::ok().content(Content::Broken)
    }

    /// 200 and a body of that many bytes, sent in chunks without a length.
    #[must_use]
    pub fn huge(bytes: u64) -> Self {
        Self::ok().content(Content::Stream(bytes))
    }

    /// With a header more.
    ///
    /// # Panics
    /// Name or value are not allowed in HTTP.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("a header name");
        self.headers.push((name, HeaderValue::from_str(value).expect("a header value")));
        self
    }

    /// With that body.
    #[must_use]
    pub fn body(self, body: impl Into<Bytes>) -> Self {
        self.content(Content::Whole(body.into()))
    }

    /// After that time.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    async fn send(self) -> Response<Body> {
        tokio::time::sleep(self.delay).await;
        let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(CHUNK));
        let body = match self.content {
            Content::Whole(bytes) => Body::from(bytes),
            Content::Nothing => std::future::pending().await,
            Content::Stalled => Body::from_stream(stream::once(async move { chunk() }).chain(stream::pending())),
            Content::Broken => {
                let error = stream::once(async {
                    // Else the error would overtake the headers, and the client see no answer at all.
                    tokio::time::sleep(HEADERS_SENT_WITHIN).await;
                    Err(std::io::ErrorKind::ConnectionReset.into())
                });
                Body::from_stream(stream::once(async move { chunk() }).chain(error))
            }
            Content::Stream(bytes) => Body::from_stream(chunks(bytes)),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        response
    }
}

fn chunks(bytes: u64) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(bytes, |left| async move {
        let length = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK.len());
        let chunk = Bytes::from_static(&CHUNK[..length]);
        (length > 0).then(|| (Ok(chunk), left - length as u64))
    })
}

type Script = Box<dyn FnMut(&Received) -> Answer + Send>;

struct Book {
    received: Vec<Received>,
    next: VecDeque<Answer>,
    otherwise: Script,
}

/// A listening receiver; stops when dropped. Answers 200 until told otherwise.
pub struct HttpReceiver {
    /// `http://127.0.0.1:<port>`, without a slash at the end.
    pub url: String,
    book: Arc<Mutex<Book>>,
    task: JoinHandle<()>,
}

/// Starts a receiver on a free loopback port.
pub async fn http_receiver() -> HttpReceiver {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let book = Book { received: Vec::new(), next: VecDeque::new(), otherwise: Box::new(|_| Answer::ok()) };
    let book = Arc::new(Mutex::new(book));
    let app = Router::new().fallback(receive).with_state(Arc::clone(&book));
    let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    HttpReceiver { url, book, task }
}

impl HttpReceiver {
    /// Answers the next request not yet spoken for with this one.
    pub fn answer_next(&self, answer: Answer) {
        self.book.lock().unwrap().next.push_back(answer);
    }

    /// Answers every request that has no answer of its own with this one.
    pub fn answer_always(&self, answer: Answer) {
        self.answer_with(move |_| answer.clone());
    }

    /// Answers every request that has no answer of its own as `script` says.
    pub fn answer_with(&self, script: impl FnMut(&Received) -> Answer + Send + 'static) {
        self.book.lock().unwrap().otherwise = Box::new(script);
    }

    /// What has arrived so far, oldest first.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.book.lock().unwrap().received.clone()
    }

    /// Waits until at least that many requests have arrived and returns all of them.
    ///
    /// # Panics
    /// They do not arrive before the deadline.
    pub async fn wait_for(&self, count: usize, deadline: Duration) -> Vec<Received> {
        let what = format!("{count} requests at {}", self.url);
        eventually(&what, deadline, async || Some(self.received()).filter(|received| received.len() >= count)).await
    }

    /// Forgets what has arrived.
    pub fn clear(&self) {
        self.book.lock().unwrap().received.clear();
    }
}

impl Drop for HttpReceiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn receive(State(book): State<Arc<Mutex<Book>>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, REQUEST_BYTES_MAX).await else {
        return Answer::status(413).send().await;
    };
    let received = Received {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body,
        at: SystemTime::now(),
        instant: Instant::now(),
    };
    let answer = {
        let mut book = book.lock().unwrap();
        let answer = match book.next.pop_front() {
            Some(answer) => answer,
            None => (book.otherwise)(&received),
        };
        book.received.push(received);
        answer
    };
    answer.send().await
}
