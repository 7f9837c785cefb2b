use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::config::{Limits, Timing};
use crate::protocol::counts::{Arrival, Fate, Kind};
use crate::protocol::server::{self, Server, ServerConfig};
use crate::protocol::sources::Sources;
use crate::protocol::view_server::{self, ViewServer, ViewServerConfig};
use crate::protocol::{Effect, Outbox};
use crate::time::Timestamp;
use crate::types::{CallId, Incarnation, ServerId};

/// What a process answers to one command.
fn answer<P: Process>(mut process: P, command: P::Command) -> P::Answer {
    let mut outbox = Outbox::default();
    process.handle_command(Timestamp(1), CallId(1), command, &mut outbox);
    let mut answers = outbox.drain().filter_map(|effect| match effect {
        Effect::Answer(_, answer) => Some(answer),
        Effect::Send { .. } | Effect::SendBefore { .. } | Effect::Persist(_) | Effect::Stop(_) => {
            None
        }
    });
    answers.next().unwrap()
}

fn kv(totals: &Totals) -> Page {
    let config = ServerConfig {
        id: ServerId::from("s1"),
        incarnation: Incarnation(1),
        view_server: "127.0.0.1:1".parse().unwrap(),
        advertise: None,
        limits: Limits::default(),
        sources: Sources::Known,
    };
    let process = Server::new(Timestamp(1), config);
    kv_page(answer(process, server::Command::Measure), totals).unwrap()
}

fn view(totals: &Totals) -> Page {
    let hosts = [(ServerId::from("s1"), "127.0.0.1:2".parse().unwrap())].into();
    let (incarnation, sources) = (Incarnation(1), Sources::Known);
    let config = ViewServerConfig { incarnation, timing: Timing::default(), hosts, sources };
    let process = ViewServer::new(Timestamp(1), config, None);
    view_page(answer(process, view_server::Command::Measure), totals).unwrap()
}

/// Names, in the order of their `TYPE` lines.
fn exported(page: &Page) -> Vec<(String, String)> {
    let types = page.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split_once(' ').unwrap()).map(|(n, t)| (n.into(), t.into())).collect()
}

fn type_word(kind: Type) -> String {
    format!("{kind:?}").to_lowercase()
}

#[test]
fn the_table_in_the_documentation_is_the_list() {
    let rows: Vec<Vec<String>> = include_str!("mod.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `pbkv_"))
        .map(|line| line.split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let list = METRICS.iter().map(|metric| {
        let owner = match metric.owner {
            Owner::Both => "both",
            Owner::Kv => "kv server",
            Owner::View => "view server",
        };
        let name = metric.name.strip_prefix("pbkv_").unwrap();
        let labels = metric.labels.join(", ");
        let help = metric.help;
        [format!("{name}`"), type_word(metric.kind), labels, owner.into(), help.into(), "".into()]
    });
    assert_eq!(rows, list.map(|row| row.to_vec()).collect::<Vec<_>>());
}

#[test]
fn each_server_exports_its_metrics_of_the_list_in_order_and_no_others() {
    for (page, owner) in
        [(kv(&Totals::default()), Owner::Kv), (view(&Totals::default()), Owner::View)]
    {
        let listed: Vec<_> = METRICS
            .iter()
            .filter(|metric| [owner, Owner::Both].contains(&metric.owner))
            .map(|metric| (metric.name.to_owned(), type_word(metric.kind)))
            .collect();
        assert_eq!(exported(&page), listed);
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let mut names = BTreeSet::new();
    for Metric { name, kind, help, .. } in METRICS {
        assert!(names.insert(name), "{name} is there twice");
        assert_eq!(*kind == Type::Counter, name.ends_with("_total"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        for unit in ["_ms", "_millis", "_micros", "_kb", "_percent"] {
            assert!(!name.contains(unit), "{name}: base units are seconds, bytes and ratios");
        }
        assert!(help.ends_with('.') && !help.contains(['\n', '\\']), "{name}: {help}");
    }
}

#[test]
fn a_real_parser_reads_every_sample_with_its_type_and_value() {
    let mut totals = Totals::default();
    let arrival = Arrival { at: Timestamp(0), kind: Kind::Put };
    totals.process.answer(Timestamp(30_000), arrival, Fate::Done);
    totals.process.answer(Timestamp(60_000_000), arrival, Fate::Done);
    totals.process.repeated_requests = 7;
    for page in [kv(&totals), view(&totals)] {
        let lines = page.text.lines().map(|line| Ok(line.to_owned()));
        let scrape = prometheus_parse::Scrape::parse(lines).unwrap();
        let mut read = BTreeSet::new();
        for sample in &scrape.samples {
            // This parser takes the sum and the count of a histogram for metrics of their own.
            let name = sample.metric.trim_end_matches("_sum").trim_end_matches("_count");
            let metric = METRICS.iter().find(|metric| metric.name == name);
            let metric = metric.unwrap_or_else(|| panic!("{} is not in the list", sample.metric));
            let expected = match &sample.value {
                prometheus_parse::Value::Counter(_) => Type::Counter,
                prometheus_parse::Value::Gauge(_) => Type::Gauge,
                prometheus_parse::Value::Histogram(_) | prometheus_parse::Value::Untyped(_) => {
                    Type::Histogram
                }
                other => panic!("{} is {other:?}", sample.metric),
            };
            assert_eq!(metric.kind, expected, "{}", sample.metric);
            let mut labels: Vec<&str> = sample.labels.keys().map(String::as_str).collect();
            let mut listed = metric.labels.to_vec();
            labels.sort_unstable();
            listed.sort_unstable();
            assert_eq!(labels, listed, "{}", sample.metric);
            read.insert(&*sample.metric);
        }
        for (name, _) in exported(&page) {
            let none_is_known = name == "pbkv_server_silence_seconds";
            assert!(read.contains(&*name) || none_is_known, "{name} has no sample");
        }
    }
    let text = kv(&totals).text;
    for line in [
        r#"pbkv_operations_total{kind="put",outcome="done"} 2"#,
        r#"pbkv_duplicates_suppressed_total{message="request"} 7"#,
        r#"pbkv_operation_duration_seconds_bucket{kind="put",le="0.000025"} 0"#,
        r#"pbkv_operation_duration_seconds_bucket{kind="put",le="0.00005"} 1"#,
        r#"pbkv_operation_duration_seconds_bucket{kind="put",le="0.1"} 2"#,
        r#"pbkv_operation_duration_seconds_bucket{kind="put",le="+Inf"} 2"#,
        r#"pbkv_operation_duration_seconds_sum{kind="put"} 0.06003"#,
        r#"pbkv_operation_duration_seconds_count{kind="put"} 2"#,
        r#"pbkv_role{role="spare"} 1"#,
    ] {
        assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_server_that_knows_nothing_is_well_and_not_ready() {
    for page in [kv(&Totals::default()), view(&Totals::default())] {
        assert!(page.text.contains("\npbkv_ready 0\n"));
        let response = respond("/readyz", Some(page.clone()));
        assert!(response.status.starts_with("503"), "{response:?}");
        assert_eq!(response.body.trim_end(), page.ready.clone().unwrap_err());
        assert_eq!(respond("/healthz", Some(page.clone())).status, "200 OK");
        assert_eq!(respond("/metrics", Some(page.clone())).body, page.text);
        assert_eq!(respond("/readyz", Some(Page { ready: Ok(()), ..page })).status, "200 OK");
    }
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert!(respond(path, None).status.starts_with("503"), "the loop does not answer");
    }
}

#[test]
fn every_server_is_counted_under_its_role() {
    let roles = ["primary", "backup", "joining", "spare", "proposed primary", "drained", "drained"];
    let servers = roles.iter().enumerate().map(|(number, role)| view_server::ServerStatus {
        id: ServerId::from(&*format!("s{number}")),
        role: (*role).to_owned(),
        alive: number != 6,
        silent: None,
        incarnation: Some(Incarnation(1)),
        address: "127.0.0.1:2".parse().unwrap(),
        synced: false,
    });
    let status = view_server::Status { shown: Default::default(), servers: servers.collect() };
    let measures = view_server::Measures { status, phase: None, listens: false };
    let answer = view_server::Answer::Measures(measures.into());
    let text = view_page(answer, &Totals::default()).unwrap().text;
    let counts = |name: &str| -> Vec<u64> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
        lines.map(|line| line.split(' ').next_back().unwrap().parse().unwrap()).collect()
    };
    assert_eq!(counts("pbkv_servers_known"), [1, 1, 1, 1, 1, 2]);
    assert_eq!(counts("pbkv_servers_alive"), [1, 1, 1, 1, 1, 1]);
}

#[test]
fn seconds_are_written_exactly() {
    for (nanos, text) in [
        (0, "0"),
        (1, "0.000000001"),
        (1_000_000_000, "1"),
        (25_000_000_000, "25"),
        (2_500, "0.0000025"),
    ] {
        assert_eq!(text::seconds(nanos), text);
        let back = Duration::from_secs_f64(text.parse().unwrap());
        assert_eq!(back, Duration::from_nanos(nanos));
    }
}

/// Each metric with its labels, as `name{label="value",...}`, that a file asks for.
fn asked_for(file: &str) -> Vec<(String, Vec<(String, String)>)> {
    let text = file.replace("\\\"", "\"");
    let found = text.match_indices("pbkv_").map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(rest.len());
        let (name, rest) = rest.split_at(end);
        let selector = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = selector.map_or("", |(labels, _)| labels).split(',');
        let labels = labels.filter_map(|label| {
            let (name, value) = label.split_once('=')?;
            Some((name.to_owned(), value.trim_matches(['~', '"']).to_owned()))
        });
        (name.to_owned(), labels.collect())
    });
    found.collect()
}

#[test]
fn every_panel_of_the_dashboard_has_a_source_a_unit_and_a_place_of_its_own() {
    let dashboard = include_str!("../../../scripts/grafana.json");
    let dashboard: serde_json::Value = serde_json::from_str(dashboard).unwrap();
    let (mut ids, mut cells) = (BTreeSet::new(), BTreeSet::new());
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{panel}");
        assert_eq!(panel["datasource"]["uid"], "${source}");
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{panel}");
        let targets = panel["targets"].as_array().unwrap();
        let refs: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
        assert!(!refs.contains(&None) && refs.len() == targets.len() && !refs.is_empty());
        // $__interval may be shorter than the time between two scrapes: then there is nothing.
        assert!(!panel.to_string().contains("$__interval"), "{panel}");
        let [x, y, w, h] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap());
        assert!(w > 0 && h > 0 && x + w <= 24, "Grafana's grid has 24 columns: {panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(cells.insert(cell), "two panels at {cell:?}");
        }
    }
    assert!(ids.len() > 10);
}

#[test]
fn dashboard_and_alerts_ask_for_what_is_exported() {
    let dashboard = include_str!("../../../scripts/grafana.json");
    let alerts = include_str!("../../../scripts/alerts.yml");
    let served = kv(&Totals::default()).text + &view(&Totals::default()).text;
    for (name, labels) in [asked_for(dashboard), asked_for(alerts)].concat() {
        let is_line = |line: &&str| {
            line.strip_prefix(&*name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        };
        let lines: Vec<&str> = served.lines().filter(is_line).collect();
        // Nobody is known to a view server that has just begun.
        assert!(!lines.is_empty() || name == "pbkv_server_silence_seconds", "no {name}");
        for (label, values) in labels {
            for value in values.split('|') {
                let pair = format!("{label}=\"{value}\"");
                assert!(lines.iter().any(|line| line.contains(&pair)), "no {name} with {pair}");
            }
        }
    }
    assert!(asked_for(dashboard).len() > 20 && asked_for(alerts).len() > 10);
    let rules =
        |word: &str| alerts.lines().filter(|line| line.trim_start().starts_with(word)).count();
    assert_eq!((rules("expr: "), rules("summary: ")), (rules("- alert: "), rules("- alert: ")));
}
