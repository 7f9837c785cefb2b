use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::*;

/// Long enough never to be over in a test.
const LONG: Duration = Duration::from_secs(600);

fn server_with(patience: Patience) -> SocketAddr {
    serve_with(patience, "127.0.0.1:0".parse().unwrap(), |path| async move {
        match &*path {
            "/here" => Response::text("200 OK", "it is here"),
            _ => Response::not_found(),
        }
    })
    .unwrap()
}

fn server() -> SocketAddr {
    server_with(Patience::default())
}

fn connect(to: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

/// Everything that comes back on one connection.
fn exchange(to: SocketAddr, request: &[u8]) -> String {
    let mut stream = connect(to);
    stream.write_all(request).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_path_is_answered_and_every_other_request_refused_with_its_own_status() {
    let to = server();
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(REQUEST_BYTES));
    for (request, status) in [
        ("GET /here HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK"),
        ("GET /here?a=b HTTP/1.0\r\n\r\n", "200 OK"),
        ("GET /here HTTP/1.1\n\n", "200 OK"),
        ("GET / HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("GET /here/ HTTP/1.1\r\n\r\n", "404 Not Found"),
        ("POST /here HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "405 Method Not Allowed"),
        ("DELETE / HTTP/1.1\r\n\r\n", "405 Method Not Allowed"),
        ("nonsense\r\n\r\n", "400 Bad Request"),
        ("GET here HTTP/1.1\r\n\r\n", "400 Bad Request"),
        ("GET /here HTTP/2\r\n\r\n", "400 Bad Request"),
        ("\u{1}\u{2}\r\n\r\n", "400 Bad Request"),
        (&long, "431 Request Header Fields Too Large"),
    ] {
        let answer = exchange(to, request.as_bytes());
        let first = answer.lines().next().unwrap_or_default();
        assert_eq!(first, format!("HTTP/1.1 {status}"), "{request:?}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    }
    let answer = exchange(to, b"GET /here HTTP/1.1\r\n\r\n");
    assert!(
        answer.ends_with(
            "Content-Length: 11\r\nCache-Control: no-store\r\nConnection: close\r\n\r\nit is here\n"
        ),
        "{answer}"
    );
    let head = exchange(to, b"HEAD /here HTTP/1.1\r\n\r\n");
    assert!(head.contains("Content-Length: 11\r\n") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(exchange(to, b"PUT / HTTP/1.1\r\n\r\n").contains("\r\nAllow: GET, HEAD\r\n"));
}

/// Everything that comes until the other side closes, in whatever way it does.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Err(error) = stream.read_to_end(&mut bytes) {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "nobody has closed it");
    }
    bytes
}

#[test]
fn a_request_that_never_ends_is_cut_off_and_a_silent_client_too() {
    let short = Duration::from_millis(300);
    let begun = Instant::now();
    let to = server_with(Patience { whole: LONG, head: short, ..Patience::default() });
    let mut silent = connect(to);
    let mut endless = connect(to);
    endless.write_all(b"GET /here HTTP/1.1\r\n").unwrap();
    // More than may be sent is refused, whatever it is; the rest is thrown away, but not for ever.
    while begun.elapsed() < LONG && endless.write_all(b"X: y\r\n").is_ok() {}
    assert!(begun.elapsed() < LONG, "the writer was cut off");
    assert_eq!(read_all(&mut silent), b"");
    assert!(begun.elapsed() >= short);
}

#[test]
fn a_request_is_refused_as_soon_as_it_is_too_long_and_not_when_it_ends() {
    let to = server_with(Patience { whole: LONG, head: LONG, rest: LONG });
    let mut endless = connect(to);
    endless.write_all(&[b'x'; REQUEST_BYTES + 1]).unwrap();
    let mut status = [0; 12];
    endless.read_exact(&mut status).unwrap();
    assert_eq!(&status, b"HTTP/1.1 431");
}

#[test]
fn whoever_is_answered_and_does_not_go_is_cut_off() {
    let to = server_with(Patience { whole: LONG, head: LONG, rest: Duration::from_millis(10) });
    let mut stays = connect(to);
    stays.write_all(b"GET /here HTTP/1.1\r\n\r\n").unwrap();
    assert!(read_all(&mut stays).ends_with(b"it is here\n"));
    // The end of the answer came before: that the connection is closed shows to who writes.
    let begun = Instant::now();
    while begun.elapsed() < LONG && stays.write_all(b"more").is_ok() {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(begun.elapsed() < LONG);
}

#[test]
fn clients_that_ask_nothing_keep_nobody_from_being_answered() {
    let to = server_with(Patience { whole: LONG, head: LONG, rest: LONG });
    let mut silent: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(to)).collect();
    let mut late = connect(to);
    late.write_all(b"GET /here HTTP/1.1\r\n\r\n").unwrap();
    late.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut late).starts_with(b"HTTP/1.1 200 OK"));
    // The oldest one had to go; the others still may ask.
    assert_eq!(read_all(&mut silent[0]), b"");
    silent[1].write_all(b"GET /here HTTP/1.1\r\n\r\n").unwrap();
    silent[1].shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut silent[1]).starts_with(b"HTTP/1.1 200 OK"));
}

#[test]
fn more_clients_than_places_wait_for_those_that_are_being_answered() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let patience = Patience { whole: LONG, head: LONG, rest: LONG };
    let to = serve_with(patience, "127.0.0.1:0".parse().unwrap(), move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending()
    });
    let to = to.unwrap();
    let ask = || {
        let mut stream = connect(to);
        stream.write_all(b"GET /here HTTP/1.1\r\n\r\n").unwrap();
        stream
    };
    let _asking: Vec<TcpStream> = (0..CONNECTIONS).map(|_| ask()).collect();
    while asked.load(Ordering::SeqCst) < CONNECTIONS {
        std::thread::yield_now();
    }
    let mut late = ask();
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(late.read(&mut [0]).is_err(), "every place is taken");
}

#[test]
fn an_address_in_use_is_refused_with_the_remedy() {
    let taken = server();
    let error = serve(taken, |_| async { Response::not_found() }).unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("choose another"), "{error}");
}
