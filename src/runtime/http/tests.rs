use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::*;

fn server() -> SocketAddr {
    serve("127.0.0.1:0".parse().unwrap(), |path| async move {
        match &*path {
            "/here" => Response::text("200 OK", "it is here"),
            _ => Response::not_found(),
        }
    })
    .unwrap()
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

#[test]
fn a_request_that_never_ends_is_cut_off_and_a_silent_client_too() {
    let to = server();
    let begun = Instant::now();
    let mut silent = connect(to);
    let mut endless = connect(to);
    endless.write_all(b"GET /here HTTP/1.1\r\n").unwrap();
    // More than may be sent is refused, whatever it is; the rest is thrown away.
    while begun.elapsed() < PATIENCE * 4 && endless.write_all(b"X: y\r\n").is_ok() {}
    assert!(begun.elapsed() < PATIENCE * 3, "the writer was cut off");
    let mut nothing = Vec::new();
    silent.read_to_end(&mut nothing).unwrap();
    assert_eq!(nothing, b"");
    assert!(begun.elapsed() >= PATIENCE);
}

#[test]
fn more_clients_than_places_wait_and_are_answered_when_the_slow_ones_are_gone() {
    let to = server();
    let slow: Vec<TcpStream> = (0..CONNECTIONS).map(|_| connect(to)).collect();
    let mut late = connect(to);
    late.write_all(b"GET /here HTTP/1.1\r\n\r\n").unwrap();
    late.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let mut byte = [0];
    assert!(late.read(&mut byte).is_err(), "every place is taken");
    for stream in &slow[..2] {
        stream.shutdown(Shutdown::Both).unwrap();
    }
    late.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[test]
fn an_address_in_use_is_refused_with_the_remedy() {
    let taken = server();
    let error = serve(taken, |_| async { Response::not_found() }).unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("choose another"), "{error}");
}
