//! `knownhosts.json`: which server is reached where.
//!
//! The file is written by people, so every complaint names the file, the field and the remedy. A
//! range of ports stands for each entry; only its first port is bound, and only that one is kept.
//! Unknown fields are ignored. Nothing here looks at the network.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use thiserror::Error;

use crate::types::ServerId;
pub use crate::types::check_id;

/// The name of the view server's entry.
pub const VIEW: &str = "view";

/// What an entry looks like, for the remedies.
const ENTRY: &str = r#"{"ip_address": "127.0.0.1", "udp_start_port": 5000, "udp_end_port": 5009}"#;

/// Why a hosts file cannot be used.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum HostsError {
    /// The file is missing or must not be read.
    #[error(
        "{path}: cannot be read: {cause}; create it, name another one with --hosts FILE or \
         PBKV_HOSTS, or do without one by giving addresses (see --help)"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// What the system says.
        cause: String,
    },
    /// The text is no JSON, or is cut off.
    #[error(
        "{path}: is not JSON: {cause}; write it as {{\"hosts\": {{\"view\": {ENTRY}, \"s1\": ...}}}}"
    )]
    NotJson {
        /// The file.
        path: String,
        /// What the parser says, with line and column.
        cause: String,
    },
    /// A field is missing or has a value that cannot be used.
    #[error("{path}: {field}: {problem}; {remedy}")]
    Field {
        /// The file.
        path: String,
        /// The way to the field, as in `hosts.s1.udp_start_port`.
        field: String,
        /// What is wrong with it.
        problem: String,
        /// What to write instead.
        remedy: String,
    },
    /// The entry that was asked for is not there.
    #[error(
        "{path}: hosts: there is no entry \"{id}\" (there are: {known}); add one like {ENTRY}, or choose another id"
    )]
    UnknownId {
        /// The file.
        path: String,
        /// The id that was asked for.
        id: String,
        /// The ids that are there.
        known: String,
    },
}

/// A hosts file that has been read and checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    path: PathBuf,
    addresses: BTreeMap<ServerId, SocketAddr>,
}

impl Hosts {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// When it cannot be read, or when [`Hosts::parse`] refuses it.
    pub fn load(path: &Path) -> Result<Hosts, HostsError> {
        let text = std::fs::read_to_string(path).map_err(|error| HostsError::Unreadable {
            path: path.display().to_string(),
            cause: error.to_string(),
        })?;
        Hosts::parse(path, &text)
    }

    /// Checks the text of a file. `path` is only named in errors.
    ///
    /// # Errors
    /// When the text is not JSON, when a field is missing or cannot be used, and when two entries
    /// would bind the same address.
    pub fn parse(path: &Path, text: &str) -> Result<Hosts, HostsError> {
        let file = path.display().to_string();
        let not_json = |error: serde_json::Error| HostsError::NotJson {
            path: file.clone(),
            cause: error.to_string(),
        };
        let complain = |field: &str, problem: String, remedy: String| HostsError::Field {
            path: file.clone(),
            field: field.to_owned(),
            problem,
            remedy,
        };
        let shape: Value = serde_json::from_str(text).map_err(not_json)?;
        if !shape.get("hosts").is_some_and(Value::is_object) {
            let there = if shape.get("hosts").is_none() { "is missing" } else { "is no object" };
            let remedy = format!("write {{\"hosts\": {{\"view\": {ENTRY}, \"s1\": ...}}}}");
            return Err(complain("hosts", there.to_owned(), remedy));
        }
        let File { hosts: Entries(entries) } = serde_json::from_str(text).map_err(not_json)?;
        let mut addresses: BTreeMap<ServerId, SocketAddr> = BTreeMap::new();
        for (id, entry) in entries {
            let field = format!("hosts.{id}");
            check_id(&id).map_err(|problem| {
                complain(&field, problem, "choose another name for the entry".to_owned())
            })?;
            let address = address_of_entry(&entry).map_err(|(name, problem, remedy)| {
                let field = if name.is_empty() { field.clone() } else { format!("{field}.{name}") };
                complain(&field, problem, remedy)
            })?;
            if addresses.contains_key(&ServerId::from(id.as_str())) {
                return Err(complain(
                    &field,
                    "stands there twice".to_owned(),
                    "remove or rename one of the two".to_owned(),
                ));
            }
            if let Some((other, _)) = addresses.iter().find(|(_, taken)| **taken == address) {
                return Err(complain(
                    &field,
                    format!("has the same address {address} as hosts.{other}"),
                    "give each entry a udp_start_port of its own".to_owned(),
                ));
            }
            addresses.insert(ServerId::from(id.as_str()), address);
        }
        Ok(Hosts { path: path.to_owned(), addresses })
    }

    /// The address that this server binds, and where it is reached.
    ///
    /// # Errors
    /// When there is no such entry; the error lists those that are there.
    pub fn address_of(&self, id: &str) -> Result<SocketAddr, HostsError> {
        self.addresses.get(&ServerId::from(id)).copied().ok_or_else(|| {
            let known: Vec<String> = self.addresses.keys().map(ServerId::to_string).collect();
            HostsError::UnknownId {
                path: self.path.display().to_string(),
                id: id.to_owned(),
                known: if known.is_empty() { "none".to_owned() } else { known.join(", ") },
            }
        })
    }

    /// Every entry but the view server's.
    #[must_use]
    pub fn servers(&self) -> BTreeMap<ServerId, SocketAddr> {
        let mut servers = self.addresses.clone();
        servers.remove(&ServerId::from(VIEW));
        servers
    }
}

/// An IP address in the text form, or `localhost`.
///
/// # Errors
/// What is wrong with it.
pub fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if text == "localhost" {
        return Ok(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    text.parse().map_err(|_| format!("\"{text}\" is not an IP address (or localhost)"))
}

/// Field (empty for the entry itself), problem, remedy.
type Complaint = (&'static str, String, String);

fn address_of_entry(entry: &Value) -> Result<SocketAddr, Complaint> {
    if !entry.is_object() {
        return Err(("", "is not an object".to_owned(), format!("write {ENTRY}")));
    }
    let ip_address = match entry.get("ip_address") {
        Some(Value::String(text)) => parse_ip(text),
        Some(other) => Err(format!("{other} is not a text")),
        None => Err("is missing".to_owned()),
    };
    let ip_address = ip_address.map_err(|problem| {
        ("ip_address", problem, "write an address like \"127.0.0.1\"".to_owned())
    })?;
    let first = port(entry, "udp_start_port")?.ok_or_else(|| {
        let remedy = "write a port from 1 to 65535".to_owned();
        ("udp_start_port", "is missing".to_owned(), remedy)
    })?;
    if let Some(last) = port(entry, "udp_end_port")?.filter(|last| *last < first) {
        return Err((
            "udp_end_port",
            format!("{last} is below udp_start_port, {first}"),
            "exchange the two, or leave udp_end_port out".to_owned(),
        ));
    }
    Ok(SocketAddr::new(ip_address, first))
}

fn port(entry: &Value, name: &'static str) -> Result<Option<u16>, Complaint> {
    let Some(value) = entry.get(name) else { return Ok(None) };
    match value.as_u64().and_then(|number| u16::try_from(number).ok()) {
        Some(0) | None => {
            let remedy = "write a number from 1 to 65535".to_owned();
            Err((name, format!("{value} is not a port"), remedy))
        }
        Some(port) => Ok(Some(port)),
    }
}

/// The whole file.
#[derive(Deserialize)]
struct File {
    hosts: Entries,
}

/// The entries in their order, doubles included: two of one name are nearly always a slip of
/// somebody who copied a line, and one of them would silently win.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Entries, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
