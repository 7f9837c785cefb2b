//! `--metrics`: what a scrape of running servers says, and what those who ask cannot do to them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::process::Command;

use pbkv::config::Limits;
use pbkv::kv::command::{Command as Write, Origin};
use pbkv::protocol::message::{Ask, Message, Outcome, Reply, Request};
use pbkv::protocol::transport::Transport;
use pbkv::time::Timestamp;
use pbkv::types::{Incarnation, RequestId, RequestNumber};

use crate::support::cluster::{Cluster, Options, PATIENT};
use crate::support::logs::Logs;
use crate::support::process::{Process, command};
use crate::support::{PATIENCE, amount};

const METRICS: &[&str] = &["--metrics", "127.0.0.1:0"];

fn cluster(servers: usize) -> Cluster {
    let view_flags = [PATIENT, METRICS].concat();
    Cluster::start(Options {
        servers,
        view_flags,
        server_flags: METRICS.to_vec(),
        ..Options::default()
    })
}

fn address_of(process: &Process) -> SocketAddr {
    let line = process.wait_for_log("metrics at http://");
    let (_, rest) = line.split_once("metrics at http://").unwrap();
    rest.split('/').next().unwrap().parse().unwrap()
}

/// Status and body.
fn get(to: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head[9..12].parse().unwrap(), body.to_owned())
}

/// The samples of one scrape, each under its name and labels.
#[derive(Debug)]
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    fn of(to: SocketAddr) -> Scrape {
        let (status, text) = get(to, "/metrics");
        assert_eq!(status, 200, "{text}");
        let parsed = prometheus_parse::Scrape::parse(text.lines().map(|line| Ok(line.to_owned())));
        let mut samples = BTreeMap::new();
        for sample in parsed.unwrap().samples {
            use prometheus_parse::Value::{Counter, Gauge, Histogram, Summary, Untyped};
            let mut labels: Vec<_> =
                sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            labels.sort();
            let name = format!("{} {}", sample.metric, labels.join(" "));
            match sample.value {
                Counter(value) | Gauge(value) | Untyped(value) => {
                    samples.insert(name.trim_end().to_owned(), value);
                }
                Histogram(_) | Summary(_) => {}
            }
        }
        Scrape(samples)
    }

    #[track_caller]
    fn at(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("no {name} among {:?}", self.0.keys()))
    }
}

/// A client that sends each request as often as it is told.
struct Sender {
    socket: UdpSocket,
    transport: Transport,
    client: Incarnation,
    requests: u64,
}

impl Sender {
    fn new() -> Sender {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let client = Incarnation(77);
        let transport = Transport::new(client, Limits::default());
        Sender { socket, transport, client, requests: 0 }
    }

    /// Sends the same datagram so many times, and waits for as many answers.
    fn ask(&mut self, to: SocketAddr, ask: Ask, times: usize) -> Vec<Outcome> {
        self.requests += 1;
        let id = RequestId(self.requests);
        let message = Message::Request(Request { client: self.client, id, ask });
        self.transport.send(Timestamp(1), to, &message);
        let mut datagrams = Vec::new();
        self.transport.flush(&mut datagrams);
        let mut outcomes = Vec::new();
        for _ in 0..times {
            for datagram in &datagrams {
                self.socket.send_to(&datagram.bytes, datagram.to).unwrap();
            }
            outcomes.push(self.answer(id));
        }
        outcomes
    }

    fn answer(&mut self, wanted: RequestId) -> Outcome {
        let mut bytes = vec![0; 1 << 16];
        loop {
            let (size, from) = self.socket.recv_from(&mut bytes).unwrap();
            let mut messages = Vec::new();
            self.transport.receive(Timestamp(1), from, &bytes[..size], &mut messages);
            for message in messages {
                if let Message::Reply(Reply { id, outcome, .. }) = message
                    && id == wanted
                {
                    return outcome;
                }
            }
        }
    }
}

#[test]
fn each_operation_and_each_duplicate_is_counted_once_where_it_happens() {
    let mut cluster = cluster(3);
    let roles = cluster.roles();
    let primary = address_of(cluster.server(&roles.primary));
    let backup = address_of(cluster.server(&roles.backup));
    let put = "pbkv_operations_total kind=put outcome=done";
    let suppressed = "pbkv_duplicates_suppressed_total message=request";

    let before = Scrape::of(primary);
    let lines: String = (0..10).map(|n| format!("put key{n} value\n")).collect();
    cluster.script(&[], &format!("{lines}append key0 x\nremove key1\nget key0\nget none\n"));
    // What is served may be some milliseconds old.
    let after_more = |before: &Scrape, name: &str, more: f64| {
        cluster.logs.wait_for("the last one is counted", PATIENCE, || {
            let after = Scrape::of(primary);
            (after.at(name) - before.at(name) >= more).then_some(after)
        })
    };
    let after = after_more(&before, "pbkv_operations_total kind=get outcome=missing", 1.0);
    for (name, more) in [
        (put, 10.0),
        ("pbkv_operations_total kind=append outcome=done", 1.0),
        ("pbkv_operations_total kind=remove outcome=done", 1.0),
        ("pbkv_operations_total kind=get outcome=done", 1.0),
        ("pbkv_operations_total kind=get outcome=missing", 1.0),
        ("pbkv_operations_total kind=open outcome=done", 1.0),
        ("pbkv_operation_duration_seconds_count kind=put", 10.0),
        ("pbkv_operation_duration_seconds_count kind=get", 2.0),
        ("pbkv_keys", 9.0),
        ("pbkv_sessions", 1.0),
        ("pbkv_store_bytes", 9.0 * 9.0 + 1.0),
        ("pbkv_applied_operations", 13.0),
    ] {
        let counted = after.at(name) - before.at(name);
        // A read that was repeated is answered, and counted, again.
        let is_right = if name.contains("kind=get") { counted >= more } else { counted == more };
        assert!(is_right, "{name}: {counted}, not {more}");
    }
    assert!(after.at("pbkv_operation_duration_seconds_sum kind=put") > 0.0);
    assert_eq!(after.at("pbkv_role role=primary"), 1.0);
    assert_eq!(Scrape::of(backup).at("pbkv_role role=backup"), 1.0);
    assert_eq!(Scrape::of(backup).at(put), 0.0, "the primary answers");
    assert_eq!(after.at("pbkv_view_number"), roles.number as f64);

    let (mut sender, to) = (Sender::new(), cluster.address(&roles.primary));
    let opened = sender.ask(to, Ask::Open { nonce: 5 }, 1);
    let Outcome::Opened(session) = opened[0] else { panic!("{opened:?}") };
    let write = |number: u64| Ask::Write {
        origin: Origin {
            session,
            number: RequestNumber(number),
            acknowledged: RequestNumber(number - 1),
        },
        command: Write::Append { key: "list".into(), value: "x".into() },
    };
    let before = Scrape::of(primary);
    for number in 1..=3 {
        assert_eq!(sender.ask(to, write(number), 2), [Outcome::Done, Outcome::Done]);
    }
    let after = after_more(&before, suppressed, 3.0);
    let append = "pbkv_operations_total kind=append outcome=done";
    assert_eq!(after.at(append) - before.at(append), 3.0, "executed once each");
    assert_eq!(after.at(suppressed) - before.at(suppressed), 3.0);
    assert_eq!(cluster.get("list").unwrap().len(), 3);

    let (dropped, stranger) = ("pbkv_datagrams_dropped_total reason=checksum", Sender::new());
    stranger.socket.send_to(b"{\"type\":\"pbkv\",\"sum\":1}\nx", to).unwrap();
    cluster.logs.wait_for("the damaged datagram is counted", PATIENCE, || {
        (Scrape::of(primary).at(dropped) - after.at(dropped) == 1.0).then_some(())
    });
}

#[test]
fn the_view_server_counts_changes_by_their_reason_and_readiness_follows_the_roles() {
    let mut cluster = cluster(3);
    let roles = cluster.roles();
    let view = address_of(cluster.view_server());
    let spare = roles.spares[0].clone();
    let addresses: Vec<SocketAddr> =
        [&roles.primary, &roles.backup, &spare].map(|id| address_of(cluster.server(id))).to_vec();
    for to in addresses.iter().chain([&view]) {
        assert_eq!(get(*to, "/healthz"), (200, "ok\n".to_owned()));
        cluster.logs.wait_for("everybody is ready", PATIENCE, || {
            (get(*to, "/readyz") == (200, "ready\n".to_owned())).then_some(())
        });
        assert_eq!(get(*to, "/").0, 404);
    }
    let before = Scrape::of(view);
    assert_eq!(before.at("pbkv_servers_alive role=primary"), 1.0);
    assert_eq!(before.at("pbkv_servers_alive role=spare"), 1.0);
    assert_eq!(before.at("pbkv_view_changes_total reason=history_began"), 1.0);
    assert_eq!(before.at("pbkv_view_phase phase=active"), 1.0);
    assert!(before.at(&format!("pbkv_server_silence_seconds server={spare}")) < 1.0);

    cluster.kill(&roles.primary);
    cluster.wait_for_view(&roles.backup, Some(&spare));
    let after = Scrape::of(view);
    for reason in ["primary_lost", "taken_over", "spare_joins", "caught_up", "backup_synced"] {
        let name = format!("pbkv_view_changes_total reason={reason}");
        assert_eq!(after.at(&name) - before.at(&name), 1.0, "{reason}");
    }
    assert_eq!(after.at("pbkv_servers_known role=spare"), 1.0, "the dead one is still known");
    assert_eq!(after.at("pbkv_servers_alive role=spare"), 0.0);
    assert!(after.at("pbkv_pongs_heard_total") > before.at("pbkv_pongs_heard_total"));

    // One copy is left when the other dies: nobody may stop the next server now.
    cluster.kill(&spare);
    cluster.wait_for_view(&roles.backup, None);
    assert_eq!(get(addresses[1], "/readyz").0, 200, "it serves");
    assert_eq!(Scrape::of(view).at("pbkv_waiting"), 1.0);
    assert_eq!(Scrape::of(addresses[1]).at("pbkv_ready"), 1.0);
}

#[test]
fn clients_of_http_that_are_slow_or_hostile_do_not_disturb_the_service() {
    let mut cluster = cluster(2);
    let roles = cluster.roles();
    let servers = [address_of(cluster.server(&roles.primary)), address_of(cluster.view_server())];
    let mut idle = Vec::new();
    for to in servers {
        for number in 0..amount(60, 200) {
            let mut stream = TcpStream::connect(to).unwrap();
            stream.set_nonblocking(true).unwrap();
            match number % 3 {
                0 => {}
                1 => drop(stream.write(b"GET /metrics HTTP/1.1\r\nX: ")),
                _ => drop(stream.write(&[0xff; 5_000])),
            }
            idle.push(stream);
        }
    }
    let lines: String = (0..amount(100, 500)).map(|n| format!("put key{n} value\n")).collect();
    let finished = cluster.script(&[], &lines);
    assert_eq!(finished.code, Some(0), "{}", finished.stderr);
    cluster.assert_no_view_change(&roles);
    drop(idle);
    for to in servers {
        assert_eq!(get(to, "/healthz").0, 200);
    }
}

#[test]
fn metrics_are_off_by_default_and_an_address_in_use_ends_the_program() {
    let mut cluster = Cluster::of(1);
    cluster.server("s1").wait_for_log("listening on");
    let lines = cluster.server("s1").stderr.all();
    assert!(!lines.iter().any(|line| line.contains("metrics")), "{lines:?}");
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let mut second = command("viewserver", cluster.folder());
    second.args(["--listen", "127.0.0.1:0", "--state", "none", "--metrics", &taken]);
    let finished = Process::run(&Logs::default(), "view", second, "");
    finished.expect_complaint(1, &[&taken, "HTTP"]);
}

/// The linter that comes with Prometheus, on machines that have it. It evaluates the alerts, too.
#[test]
fn promtool_has_nothing_to_complain_of_and_alerts_fire_when_they_should() {
    if Command::new("promtool").arg("--version").output().is_err() {
        println!("there is no promtool here");
        return;
    }
    let mut cluster = cluster(1);
    for to in [address_of(cluster.server("s1")), address_of(cluster.view_server())] {
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]);
        let (_, text) = get(to, "/metrics");
        let finished = Process::run(&Logs::default(), "promtool", promtool, &text);
        assert_eq!((finished.code, &*finished.stderr), (Some(0), ""), "{finished:?}");
    }
    for words in
        [["check", "rules", "scripts/alerts.yml"], ["test", "rules", "scripts/alerts_test.yml"]]
    {
        let mut promtool = Command::new("promtool");
        promtool.args(words).current_dir(env!("CARGO_MANIFEST_DIR"));
        let finished = Process::run(&Logs::default(), "promtool", promtool, "");
        assert_eq!(finished.code, Some(0), "{finished:?}");
    }
}
