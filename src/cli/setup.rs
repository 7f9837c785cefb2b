//! Where a program listens and whom it asks: flags, `PBKV_HOSTS` and the hosts file put together.
//!
//! The hosts file is read only when something is missing without it, or when the operator named
//! it. So addresses on the command line never mix with a file that happens to lie in the working
//! directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tracing::info;

use crate::cli::CliError;
use crate::hosts::{Hosts, VIEW};
use crate::protocol::seal::{KeyKind, Keyring, Role, Seal};
use crate::runtime::key_file;
use crate::types::ServerId;

/// The hosts file that is read when none is named.
pub const DEFAULT_HOSTS: &str = "knownhosts.json";

/// The environment variable that names another one.
pub const HOSTS_VARIABLE: &str = "PBKV_HOSTS";

/// The environment variable that names a key file.
pub const KEY_FILE_VARIABLE: &str = "PBKV_KEY_FILE";

/// The file that the flag names, or else the environment, and its keys.
fn keys_of(
    flag: Option<PathBuf>,
    variable: Option<OsString>,
) -> Result<Option<(PathBuf, Keyring)>, CliError> {
    let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
    let Some(path) = flag.or(variable) else { return Ok(None) };
    let keys = key_file::load(&path).map_err(CliError::misused)?;
    Ok(Some((path, keys)))
}

/// What seals the datagrams of a server that binds this address. Without keys, and unless the
/// operator insists, it binds loopback addresses only: whoever can send to it can read and change
/// everything.
///
/// # Errors
/// When the file cannot be used, or there is none and the address is one that others can reach.
pub fn server_seal(
    key_file: Option<PathBuf>,
    role: Role,
    listen: SocketAddr,
    is_insecure: bool,
) -> Result<Option<Seal>, CliError> {
    let found = keys_of(key_file, std::env::var_os(KEY_FILE_VARIABLE))?;
    seal_of(found, role, listen, is_insecure)
}

fn seal_of(
    found: Option<(PathBuf, Keyring)>,
    role: Role,
    listen: SocketAddr,
    is_insecure: bool,
) -> Result<Option<Seal>, CliError> {
    let Some((path, keys)) = found else {
        if is_insecure || listen.ip().to_canonical().is_loopback() {
            return Ok(None);
        }
        return Err(CliError::Misused(format!(
            "{listen} can be reached by others, who could read and change everything: give all \
             processes a key with --key-file FILE (client keygen > FILE makes one), or say \
             --insecure if nobody but them can send to it"
        )));
    };
    if !keys.has(KeyKind::Cluster) {
        let path = path.display();
        return Err(CliError::Misused(format!(
            "{path}: has only keys for clients; a server needs one of the cluster: client keygen"
        )));
    }
    info!(event = "keys", file = %path.display(), "datagrams are sealed with {}", keys.names());
    key_file::seal(keys, role).map(Some).map_err(CliError::failed)
}

/// Which hosts file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostsFile {
    /// What `--hosts` says.
    flag: Option<PathBuf>,
    /// What the environment says.
    variable: Option<PathBuf>,
}

impl HostsFile {
    /// A flag overrides the variable, which overrides the default. An empty variable counts as
    /// unset.
    #[must_use]
    pub fn new(flag: Option<PathBuf>, variable: Option<OsString>) -> Self {
        let variable = variable.filter(|value| !value.is_empty()).map(PathBuf::from);
        HostsFile { flag, variable }
    }

    /// The same, from the environment of this process.
    #[must_use]
    pub fn from_environment(flag: Option<PathBuf>) -> Self {
        HostsFile::new(flag, std::env::var_os(HOSTS_VARIABLE))
    }

    fn load(&self) -> Result<Hosts, CliError> {
        let named = self.flag.as_ref().or(self.variable.as_ref());
        let path = named.cloned().unwrap_or_else(|| PathBuf::from(DEFAULT_HOSTS));
        Hosts::load(&path).map_err(CliError::misused)
    }
}

/// What the flags before the client's command say of the cluster.
#[derive(Clone, Debug)]
pub struct Connection {
    /// `--hosts`.
    pub hosts: Option<PathBuf>,
    /// `--view-server`.
    pub view_server: Option<SocketAddr>,
    /// `--key-file`.
    pub key_file: Option<PathBuf>,
    /// `--deadline`.
    pub deadline: Duration,
}

impl Connection {
    /// The view server to ask, if the flags behind the command say this: either of them overrides
    /// both that stand before it. An address there and a file here would name two clusters, and
    /// the file is what was typed for this command.
    ///
    /// # Errors
    /// When no address is given and the hosts file cannot be used.
    pub fn whom(
        &self,
        hosts: Option<PathBuf>,
        view_server: Option<SocketAddr>,
    ) -> Result<SocketAddr, CliError> {
        let before = self.view_server.filter(|_| hosts.is_none());
        let hosts = hosts.or_else(|| self.hosts.clone());
        client(&HostsFile::from_environment(hosts), view_server.or(before))
    }

    /// The keys to use, if the flags behind the command say this.
    ///
    /// # Errors
    /// When the file cannot be used.
    pub fn keys(&self, key_file: Option<PathBuf>) -> Result<Option<Keyring>, CliError> {
        let flag = key_file.or_else(|| self.key_file.clone());
        let found = keys_of(flag, std::env::var_os(KEY_FILE_VARIABLE))?;
        Ok(found.map(|(_, keys)| keys))
    }
}

/// What a view server needs to know of its surroundings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewServerPlace {
    /// What it binds.
    pub listen: SocketAddr,
    /// The servers of the hosts file, if one was read.
    pub servers: BTreeMap<ServerId, SocketAddr>,
}

/// Without `listen` the address is the entry `id` of the hosts file. With it a file is read only
/// if it was named, by the flag or by the variable.
///
/// # Errors
/// When the file is needed or named, and cannot be used.
pub fn view_server(
    hosts: &HostsFile,
    id: &ServerId,
    listen: Option<SocketAddr>,
) -> Result<ViewServerPlace, CliError> {
    let named = hosts.flag.is_some() || hosts.variable.is_some();
    if let Some(listen) = listen.filter(|_| !named) {
        return Ok(ViewServerPlace { listen, servers: BTreeMap::new() });
    }
    let hosts = hosts.load()?;
    let listen = match listen {
        Some(listen) => listen,
        None => hosts.address_of(&id.0).map_err(CliError::misused)?,
    };
    let mut servers = hosts.servers();
    servers.remove(id);
    Ok(ViewServerPlace { listen, servers })
}

/// What a kv server needs to know of its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvServerPlace {
    /// What it binds.
    pub listen: SocketAddr,
    /// Where it announces itself.
    pub view_server: SocketAddr,
}

/// What the flags leave out comes from the hosts file. With both addresses given, a file is read
/// (and checked) only if the flag names it.
///
/// # Errors
/// When the file is needed or named by the flag, and cannot be used.
pub fn kv_server(
    hosts: &HostsFile,
    id: &ServerId,
    listen: Option<SocketAddr>,
    view_server: Option<SocketAddr>,
) -> Result<KvServerPlace, CliError> {
    if let (Some(listen), Some(view_server), None) = (listen, view_server, &hosts.flag) {
        return Ok(KvServerPlace { listen, view_server });
    }
    let hosts = hosts.load()?;
    let or_entry = |given: Option<SocketAddr>, id: &str| match given {
        Some(address) => Ok(address),
        None => hosts.address_of(id).map_err(CliError::misused),
    };
    Ok(KvServerPlace {
        listen: or_entry(listen, &id.0)?,
        view_server: or_entry(view_server, VIEW)?,
    })
}

/// The view server that a client asks.
///
/// # Errors
/// When no address is given and the hosts file cannot be used.
pub fn client(hosts: &HostsFile, view_server: Option<SocketAddr>) -> Result<SocketAddr, CliError> {
    match view_server {
        Some(address) => Ok(address),
        None => hosts.load()?.address_of(VIEW).map_err(CliError::misused),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{"hosts": {
        "view": {"ip_address": "127.0.0.1", "udp_start_port": 5000},
        "s1": {"ip_address": "127.0.0.1", "udp_start_port": 5010}}}"#;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn file() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hosts.json");
        std::fs::write(&path, FILE).unwrap();
        (folder, path)
    }

    #[test]
    fn without_keys_a_server_binds_loopback_only_unless_the_operator_insists() {
        let seal = |listen: &str, is_insecure| {
            seal_of(None, Role::Server, listen.parse().unwrap(), is_insecure)
        };
        for listen in ["127.0.0.1:5000", "127.8.0.1:0", "[::1]:5000", "[::ffff:127.0.0.1]:1"] {
            assert!(seal(listen, false).unwrap().is_none(), "{listen}");
        }
        for listen in ["0.0.0.0:5000", "192.0.2.1:5000", "[::]:5000", "[2001:db8::1]:5000"] {
            let CliError::Misused(error) = seal(listen, false).unwrap_err() else {
                panic!("{listen}")
            };
            assert!(error.contains("--key-file") && error.contains("--insecure"), "{error}");
            assert!(seal(listen, true).unwrap().is_none(), "{listen}");
        }
    }

    #[test]
    fn a_server_needs_a_key_of_the_cluster() {
        let file = |kind: &str| {
            let text = format!("a {} {kind}", "0123456789abcdef".repeat(4));
            Some((PathBuf::from("key"), Keyring::parse(&text).unwrap()))
        };
        let anywhere = "0.0.0.0:5000".parse().unwrap();
        assert!(seal_of(file("cluster"), Role::Server, anywhere, false).unwrap().is_some());
        let error = seal_of(file("client"), Role::Server, anywhere, true).unwrap_err();
        assert!(error.to_string().contains("only keys for clients"), "{error}");
    }

    #[test]
    fn the_key_file_of_the_flag_overrides_the_variable() {
        assert!(keys_of(None, None).unwrap().is_none());
        assert!(keys_of(None, Some("".into())).unwrap().is_none());
        let both = keys_of(Some("/nowhere/flag".into()), Some("/nowhere/variable".into()));
        assert!(both.unwrap_err().to_string().contains("/nowhere/flag"));
        let variable = keys_of(None, Some("/nowhere/variable".into()));
        assert!(variable.unwrap_err().to_string().contains("/nowhere/variable"));
    }

    fn nowhere() -> PathBuf {
        PathBuf::from("/nowhere/hosts.json")
    }

    #[test]
    fn a_flag_overrides_the_variable_and_the_variable_the_default() {
        let (_folder, path) = file();
        let by_flag = HostsFile::new(Some(path.clone()), Some(nowhere().into()));
        assert_eq!(client(&by_flag, None).unwrap(), address(5000));
        let by_variable = HostsFile::new(None, Some(path.into()));
        assert_eq!(client(&by_variable, None).unwrap(), address(5000));
        let error = client(&HostsFile::new(None, Some("".into())), None).unwrap_err();
        assert!(error.to_string().starts_with(DEFAULT_HOSTS), "{error}");
    }

    #[test]
    fn addresses_on_the_command_line_need_no_file() {
        let none = HostsFile::new(None, None);
        let place = view_server(&none, &ServerId::from(VIEW), Some(address(1))).unwrap();
        assert_eq!(place, ViewServerPlace { listen: address(1), servers: BTreeMap::new() });
        let bad_variable = HostsFile::new(None, Some(nowhere().into()));
        let place =
            kv_server(&bad_variable, &ServerId::from("s9"), Some(address(1)), Some(address(2)));
        assert_eq!(place.unwrap(), KvServerPlace { listen: address(1), view_server: address(2) });
        assert_eq!(client(&bad_variable, Some(address(2))).unwrap(), address(2));
    }

    #[test]
    fn what_stands_behind_a_command_overrides_what_stands_before_it() {
        let (_folder, path) = file();
        let before = |hosts: Option<PathBuf>, view_server| {
            let deadline = Duration::from_secs(1);
            Connection { hosts, view_server, key_file: None, deadline }
        };
        let by_address = before(None, Some(address(1)));
        assert_eq!(by_address.whom(None, None).unwrap(), address(1));
        assert_eq!(by_address.whom(None, Some(address(2))).unwrap(), address(2));
        assert_eq!(by_address.whom(Some(path.clone()), None).unwrap(), address(5000));
        assert!(by_address.whom(Some(nowhere()), None).is_err());
        let by_file = before(Some(path.clone()), None);
        assert_eq!(by_file.whom(None, None).unwrap(), address(5000));
        assert_eq!(by_file.whom(None, Some(address(2))).unwrap(), address(2));
        assert!(by_file.whom(Some(nowhere()), None).is_err());
        assert_eq!(before(Some(nowhere()), None).whom(Some(path), None).unwrap(), address(5000));
    }

    #[test]
    fn a_file_that_was_named_must_be_readable() {
        let named = HostsFile::new(Some(nowhere()), None);
        let view = ServerId::from(VIEW);
        assert!(view_server(&named, &view, Some(address(1))).is_err());
        assert!(
            kv_server(&named, &ServerId::from("s1"), Some(address(1)), Some(address(2))).is_err()
        );
    }

    #[test]
    fn the_file_fills_in_what_the_flags_leave_out() {
        let (_folder, path) = file();
        let hosts = HostsFile::new(Some(path), None);
        let s1 = ServerId::from("s1");
        let place = view_server(&hosts, &ServerId::from(VIEW), None).unwrap();
        assert_eq!(place.listen, address(5000));
        assert_eq!(place.servers, BTreeMap::from([(s1.clone(), address(5010))]));
        let place = kv_server(&hosts, &s1, None, None).unwrap();
        assert_eq!(place, KvServerPlace { listen: address(5010), view_server: address(5000) });
        let place = kv_server(&hosts, &ServerId::from("s9"), Some(address(7)), None).unwrap();
        assert_eq!(place, KvServerPlace { listen: address(7), view_server: address(5000) });
        assert!(kv_server(&hosts, &ServerId::from("s9"), None, None).is_err());
    }
}
