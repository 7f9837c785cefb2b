use super::*;

const GOOD: &str = r#"{"hosts": {
    "view": {"ip_address": "127.0.0.1", "udp_start_port": 5000, "udp_end_port": 5009},
    "s2": {"ip_address": "localhost", "udp_start_port": 5020},
    "s1": {"ip_address": "::1", "udp_start_port": 5010, "udp_end_port": 5010, "rack": 7}}}"#;

fn parse(text: &str) -> Result<Hosts, HostsError> {
    Hosts::parse(Path::new("knownhosts.json"), text)
}

/// What is said of a file whose entry `s1` is this.
fn complaint(entry: &str) -> String {
    parse(&format!(r#"{{"hosts": {{"s1": {entry}}}}}"#)).unwrap_err().to_string()
}

#[test]
fn the_first_port_of_a_range_is_the_address() {
    let hosts = parse(GOOD).unwrap();
    assert_eq!(hosts.address_of(VIEW), Ok("127.0.0.1:5000".parse().unwrap()));
    assert_eq!(hosts.address_of("s1"), Ok("[::1]:5010".parse().unwrap()));
    assert_eq!(hosts.address_of("s2"), Ok("127.0.0.1:5020".parse().unwrap()));
}

#[test]
fn the_view_server_is_not_among_the_servers() {
    let names: Vec<String> =
        parse(GOOD).unwrap().servers().keys().map(ServerId::to_string).collect();
    assert_eq!(names, ["s1", "s2"]);
}

#[test]
fn an_unknown_id_is_answered_with_the_known_ones() {
    let error = parse(GOOD).unwrap().address_of("s9").unwrap_err().to_string();
    assert!(error.contains("knownhosts.json") && error.contains("\"s9\""), "{error}");
    assert!(error.contains("s1, s2, view"), "{error}");
}

#[test]
fn a_missing_file_is_named_with_the_remedy() {
    let error = Hosts::load(Path::new("/nowhere/hosts.json")).unwrap_err().to_string();
    assert!(error.contains("/nowhere/hosts.json") && error.contains("--hosts"), "{error}");
}

#[test]
fn what_is_not_json_is_named_with_its_place() {
    let error = parse("{\"hosts\": {").unwrap_err().to_string();
    assert!(error.contains("knownhosts.json: is not JSON") && error.contains("line 1"), "{error}");
}

#[test]
fn a_file_without_hosts_is_refused() {
    for (text, problem) in [
        ("{}", "hosts: is missing"),
        ("[]", "hosts: is missing"),
        (r#"{"hosts": 3}"#, "hosts: is no object"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

#[test]
fn every_bad_field_is_named_with_its_way() {
    for (entry, field) in [
        ("7", "hosts.s1: is not an object"),
        (r#"{"udp_start_port": 1}"#, "hosts.s1.ip_address: is missing"),
        (r#"{"ip_address": 4}"#, "hosts.s1.ip_address: 4 is not a text"),
        (r#"{"ip_address": "1.2.3"}"#, "hosts.s1.ip_address: \"1.2.3\" is not an IP address"),
        (r#"{"ip_address": "::1"}"#, "hosts.s1.udp_start_port: is missing"),
        (r#"{"ip_address": "::1", "udp_start_port": 0}"#, "udp_start_port: 0 is not a port"),
        (r#"{"ip_address": "::1", "udp_start_port": -5}"#, "udp_start_port: -5 is not a port"),
        (r#"{"ip_address": "::1", "udp_start_port": 65536}"#, "65536 is not a port"),
        (r#"{"ip_address": "::1", "udp_start_port": "5"}"#, "\"5\" is not a port"),
        (r#"{"ip_address": "::1", "udp_start_port": 9, "udp_end_port": 70000}"#, "udp_end_port"),
        (r#"{"ip_address": "::1", "udp_start_port": 9, "udp_end_port": 8}"#, "8 is below"),
    ] {
        let error = complaint(entry);
        assert!(error.starts_with("knownhosts.json: hosts.s1") && error.contains(field), "{error}");
    }
}

#[test]
fn two_entries_cannot_share_an_address() {
    let error = parse(
        r#"{"hosts": {"s1": {"ip_address": "127.0.0.1", "udp_start_port": 5},
            "s2": {"ip_address": "localhost", "udp_start_port": 5}}}"#,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("hosts.s2: has the same address 127.0.0.1:5 as hosts.s1"), "{error}");
}

#[test]
fn two_entries_of_one_name_are_refused() {
    let error = parse(
        r#"{"hosts": {"s1": {"ip_address": "127.0.0.1", "udp_start_port": 5},
            "s1": {"ip_address": "127.0.0.1", "udp_start_port": 6}}}"#,
    )
    .unwrap_err()
    .to_string();
    assert!(error.contains("hosts.s1: stands there twice"), "{error}");
}

#[test]
fn names_that_would_confuse_a_reader_are_refused() {
    for name in ["", "none", "a b", "a\n", "../x", &"x".repeat(65)] {
        assert!(check_id(name).is_err(), "{name:?}");
    }
    for name in ["s1", "view", "server-2.rack_3", "Grün"] {
        assert_eq!(check_id(name), Ok(()));
    }
}
