//! A very small HTTP server for those who watch: GET and HEAD, one request a connection.
//!
//! It has a thread of its own, so that whoever connects, however often and with whatever bytes,
//! takes nothing of the protocol's thread but the questions that `answer` asks.
//!
//! Kept here: at most [`CONNECTIONS`] at a time, each with at most [`REQUEST_BYTES`] of request and
//! the time of [`Patience`]. Whoever connects and asks nothing takes no place from those who ask:
//! the next one gets the oldest such place. No request body is read, nothing is kept alive. Not
//! here: what is answered.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tracing::debug;

/// Connections that are served at the same time.
pub const CONNECTIONS: usize = 32;
/// Longest request line with headers.
pub const REQUEST_BYTES: usize = 8 << 10;
/// Bytes behind a request that are thrown away.
const REST_BYTES: usize = 64 << 10;
/// Wait after an error of the listener itself, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// From its beginning to its end.
    pub whole: Duration,
    /// For its request.
    pub head: Duration,
    /// To be closed by the other side, once it is answered.
    pub rest: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let (whole, head) = (Duration::from_secs(5), Duration::from_secs(1));
        Patience { whole, head, rest: Duration::from_millis(500) }
    }
}

/// What is answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Response {
    /// The status line's number and words.
    pub status: &'static str,
    /// What the body is.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Response {
    /// A line for people.
    #[must_use]
    pub fn text(status: &'static str, body: impl Into<String>) -> Response {
        let mut body = body.into();
        body.push('\n');
        Response { status, content_type: "text/plain; charset=utf-8", body }
    }

    /// There is nothing under this path.
    #[must_use]
    pub fn not_found() -> Response {
        Response::text("404 Not Found", "not found")
    }
}

/// The server could not be started.
#[derive(Debug, Error)]
#[error("cannot serve HTTP on {address}: {cause}; choose another address or port")]
pub struct HttpError {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    pub cause: io::Error,
}

/// Serves on a thread of its own for as long as the process lives; port 0 lets the system choose.
/// `answer` is given the path without what follows a `?`. Returns the address that is bound.
///
/// # Errors
/// When the address cannot be bound, or the system has no thread left.
pub fn serve<F>(
    address: SocketAddr,
    answer: impl Fn(String) -> F + Send + Sync + 'static,
) -> Result<SocketAddr, HttpError>
where
    F: Future<Output = Response> + Send + 'static,
{
    serve_with(Patience::default(), address, answer)
}

fn serve_with<F>(
    patience: Patience,
    address: SocketAddr,
    answer: impl Fn(String) -> F + Send + Sync + 'static,
) -> Result<SocketAddr, HttpError>
where
    F: Future<Output = Response> + Send + 'static,
{
    let failed = |cause| HttpError { address, cause };
    let listener = std::net::TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let listener = {
        let _entered = runtime.enter();
        TcpListener::from_std(listener).map_err(failed)?
    };
    std::thread::Builder::new()
        .name("http".to_owned())
        .spawn(move || runtime.block_on(accept(listener, patience, Arc::new(answer))))
        .map_err(failed)?;
    Ok(bound)
}

/// Connections that nobody would miss, the oldest first: those that have asked nothing yet, and
/// those that are answered.
#[derive(Default)]
struct Idle(Mutex<BTreeMap<u64, AbortHandle>>);

impl Idle {
    fn with<T>(&self, act: impl FnOnce(&mut BTreeMap<u64, AbortHandle>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the oldest one, if there is any.
    fn end_oldest(&self) {
        if let Some((_, oldest)) = self.with(BTreeMap::pop_first) {
            oldest.abort();
        }
    }
}

/// A connection among the idle ones, until it is dropped.
struct Place {
    idle: Arc<Idle>,
    number: u64,
}

impl Place {
    /// From now on it would be missed.
    fn begin_work(&self) -> Option<AbortHandle> {
        self.idle.with(|them| them.remove(&self.number))
    }

    fn end_work(&self, task: Option<AbortHandle>) {
        self.idle.with(|them| them.extend(task.map(|task| (self.number, task))));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.begin_work();
    }
}

async fn accept<F>(
    listener: TcpListener,
    patience: Patience,
    answer: Arc<impl Fn(String) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = Response> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let idle = Arc::new(Idle::default());
    for number in 0.. {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                debug!(%error, "accepting failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if places.available_permits() == 0 {
            idle.end_oldest();
        }
        let Ok(permit) = Arc::clone(&places).acquire_owned().await else { return };
        let (answer, place) = (Arc::clone(&answer), Place { idle: Arc::clone(&idle), number });
        let task = tokio::spawn(async move {
            match timeout(patience.whole, converse(stream, patience, &*answer, &place)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%from, %error, "an HTTP connection failed"),
                Err(_) => debug!(%from, "an HTTP connection took too long"),
            }
            drop(permit);
        });
        // On this runtime's one thread it has not begun yet, and cannot have ended.
        idle.with(|them| them.insert(number, task.abort_handle()));
    }
}

/// One request and its answer.
async fn converse<F>(
    mut stream: TcpStream,
    patience: Patience,
    answer: &impl Fn(String) -> F,
    place: &Place,
) -> io::Result<()>
where
    F: Future<Output = Response>,
{
    let mut request = Vec::new();
    let mut part = [0; 1024];
    let head = async {
        loop {
            if let Some(end) = head_end(&request) {
                return Ok::<_, io::Error>(Some(end));
            }
            if request.len() > REQUEST_BYTES {
                return Ok(None);
            }
            match stream.read(&mut part).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                size => request.extend_from_slice(&part[..size]),
            }
        }
    };
    let end = timeout(patience.head, head).await.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
    let task = place.begin_work();
    let asked = match end.filter(|end| *end <= REQUEST_BYTES) {
        None => Err(Response::text("431 Request Header Fields Too Large", "request too large")),
        Some(end) => parse(&request[..end]),
    };
    let (response, with_body) = match asked {
        Ok((path, with_body)) => (answer(path).await, with_body),
        Err(refusal) => (refusal, true),
    };
    stream.write_all(&encode(&response, with_body)).await?;
    stream.shutdown().await?;
    // Closed with bytes unread, the kernel would take back what was sent. What a client sends
    // beyond its request is thrown away, within bounds.
    place.end_work(task);
    let rest = async {
        let mut thrown = 0;
        while thrown < REST_BYTES {
            match stream.read(&mut part).await? {
                0 => break,
                size => thrown += size,
            }
        }
        Ok::<_, io::Error>(())
    };
    // The answer has left: whoever keeps the connection open misses nothing.
    timeout(patience.rest, rest).await.unwrap_or(Ok(()))
}

/// Where the head of a request ends, after its blank line.
fn head_end(request: &[u8]) -> Option<usize> {
    let crlf = request.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4);
    let lf = request.windows(2).position(|two| two == b"\n\n").map(|at| at + 2);
    [crlf, lf].into_iter().flatten().min()
}

/// The path, and whether a body is wanted; or what is answered to a request that is not understood.
fn parse(head: &[u8]) -> Result<(String, bool), Response> {
    let bad = || Response::text("400 Bad Request", "not an HTTP request");
    let head = std::str::from_utf8(head).map_err(|_| bad())?;
    let mut words = head.lines().next().unwrap_or_default().split(' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let (Some(method), Some(target), Some(version), None) = (method, target, version, words.next())
    else {
        return Err(bad());
    };
    if !version.starts_with("HTTP/1.") || !target.starts_with('/') {
        return Err(bad());
    }
    let with_body = match method {
        "GET" => true,
        "HEAD" => false,
        _ => return Err(Response::text("405 Method Not Allowed", "only GET and HEAD")),
    };
    let path = target.split('?').next().unwrap_or_default();
    Ok((path.to_owned(), with_body))
}

fn encode(response: &Response, with_body: bool) -> Vec<u8> {
    let Response { status, content_type, body } = response;
    let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
    let size = body.len();
    let body = if with_body { body } else { "" };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {size}\r\n{allow}\
         Cache-Control: no-store\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests;
