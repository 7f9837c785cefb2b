//! The hosts file, and what stands for addresses, names and times on a command line.
//!
//! Must hold: no panic; an error names the file; whatever was understood can be used, and an address
//! is understood again as it is shown.

use std::path::Path;

use pbkv::cli::flags;
use pbkv::hosts::{self, Hosts};

pub fn run(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    match kind % 4 {
        0 => file(&text),
        1 => file(&format!(
            "{{\"hosts\":{{\"view\":{{\"ip_address\":\"127.0.0.1\",\"udp_start_port\":1}},{text}}}}}"
        )),
        2 => file(&format!("{{\"hosts\":{{\"s1\":{{\"ip_address\":{text}}}}}}}")),
        _ => words(&text),
    }
}

fn file(text: &str) {
    let path = Path::new("some/where/hosts.json");
    match Hosts::parse(path, text) {
        Ok(hosts) => {
            for (id, address) in hosts.servers() {
                hosts::check_id(&id.0).expect("ids were checked");
                assert_ne!(address.port(), 0, "nobody listens at port 0");
                assert_eq!(hosts.address_of(&id.0).expect("it is there"), address);
            }
            for id in ["view", "s1", "", "nobody"] {
                let _ = hosts.address_of(id).map_err(|error| named(&error.to_string()));
            }
        }
        Err(error) => named(&error.to_string()),
    }
}

fn named(error: &str) {
    assert!(error.contains("some/where/hosts.json"), "names the file: {error}");
}

fn words(text: &str) {
    if let Ok(address) = hosts::parse_ip(text) {
        assert_eq!(hosts::parse_ip(&address.to_string()), Ok(address));
    }
    if let Ok(address) = flags::parse_listen(text) {
        assert_eq!(flags::parse_listen(&address.to_string()), Ok(address));
    }
    if let Ok(address) = flags::parse_address(text) {
        assert_eq!(flags::parse_address(&address.to_string()), Ok(address));
    }
    for id in [flags::parse_id(text), flags::parse_kv_id(text)].into_iter().flatten() {
        assert_eq!(*id.0, *text, "a name is taken as it is");
    }
    let _ = (flags::parse_time(text), flags::parse_state(text));
}
