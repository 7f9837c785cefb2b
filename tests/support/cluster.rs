//! A view server and its kv servers as real processes on ports that the system chooses.
//!
//! Timing: a test that is not about the time of a failover runs with [`PATIENT`], pings every
//! 100 ms and judgement after 1 s, so that a process which the loaded machine starves for a moment
//! is not declared dead.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::logs::Logs;
use super::plain::ask_again;
use super::process::{Finished, Process, command};
use super::proxy::Proxy;
use super::{PATIENCE, plain};

/// See the top of this file.
pub const PATIENT: &[&str] = &["--ping-interval", "100ms", "--dead-after", "1s"];

/// How a cluster is set up.
pub struct Options {
    /// kv servers at the start: `s1`, `s2`, ...
    pub servers: usize,
    /// Flags of the view server for timing and leases.
    pub view_flags: Vec<&'static str>,
    /// More flags of the kv servers.
    pub server_flags: Vec<&'static str>,
    /// Whether the view server keeps its record in a file.
    pub keep_record: bool,
    /// Where everybody listens.
    pub host: IpAddr,
    /// Lines of the key file that everybody is started with, if there is one.
    pub keys: Option<String>,
    /// Seed of a lossy network between all of them, if there is to be one.
    pub proxy: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            servers: 3,
            view_flags: PATIENT.to_vec(),
            server_flags: vec![],
            keep_record: true,
            host: IpAddr::V4(Ipv4Addr::LOCALHOST),
            keys: None,
            proxy: None,
        }
    }
}

/// What the view server shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct View {
    /// Primary, if shown.
    pub primary: Option<String>,
    /// Backup, if shown.
    pub backup: Option<String>,
    /// View number.
    pub number: u64,
}

/// Who does what.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roles {
    /// The primary.
    pub primary: String,
    /// The backup.
    pub backup: String,
    /// Everybody else that runs.
    pub spares: Vec<String>,
    /// View number.
    pub number: u64,
}

struct Server {
    process: Option<Process>,
    /// Where it listens; others may reach it through a front of the proxy.
    address: SocketAddr,
}

/// See the top of this file. Everything ends when it is dropped.
pub struct Cluster {
    /// What all processes say on stderr.
    pub logs: Logs,
    /// The network in between, if there is one.
    pub proxy: Option<Proxy>,
    options: Options,
    folder: TempDir,
    view_server: Option<Process>,
    view_address: SocketAddr,
    servers: BTreeMap<String, Server>,
}

impl Cluster {
    /// A cluster of this many servers on loopback.
    pub fn of(servers: usize) -> Cluster {
        Cluster::start(Options { servers, ..Options::default() })
    }

    /// Starts everybody, and waits for a primary and (with two servers or more) a backup.
    pub fn start(options: Options) -> Cluster {
        let logs = Logs::default();
        let nowhere = SocketAddr::new(options.host, 0);
        let mut cluster = Cluster {
            logs,
            proxy: options.proxy.map(Proxy::new),
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            view_server: None,
            view_address: nowhere,
            servers: BTreeMap::new(),
            options,
        };
        if let Some(proxy) = &cluster.proxy {
            proxy.add_node("view");
        }
        if let Some(keys) = cluster.options.keys.clone() {
            cluster.set_keys(&keys);
        }
        cluster.start_view_server();
        for number in 1..=cluster.options.servers {
            cluster.start_server(&format!("s{number}"));
        }
        let servers = cluster.options.servers;
        if servers > 0 {
            cluster.wait_for("a primary and a backup", |view| {
                view.primary.is_some() && (servers == 1 || view.backup.is_some())
            });
        }
        cluster
    }

    /// Starts the view server, on its former address if it had one.
    pub fn start_view_server(&mut self) {
        let mut command = self.command("viewserver");
        command.args(["--listen", &self.view_address.to_string()]);
        command.args(&self.options.view_flags);
        command
            .args(["--state", if self.options.keep_record { "view.state.json" } else { "none" }]);
        let process = Process::spawn(&self.logs, "view", command);
        self.view_address = bound_address(&process);
        if let Some(proxy) = &self.proxy {
            proxy.set_real("view", self.view_address);
        }
        self.view_server = Some(process);
    }

    /// `kill -9` of the view server.
    pub fn kill_view_server(&mut self) {
        self.view_server.take().expect("the view server runs").kill();
    }

    /// The view server, to be ended by the caller.
    pub fn take_view_server(&mut self) -> Process {
        self.view_server.take().expect("the view server runs")
    }

    /// The folder that every process runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// From now on a view server that is started has no record.
    pub fn lose_record(&mut self) {
        self.options.keep_record = false;
    }

    /// Whoever is started from now on has these flags.
    pub fn set_server_flags(&mut self, flags: &[&'static str]) {
        self.options.server_flags = flags.to_vec();
    }

    /// Starts a kv server, on its former address if it had one.
    pub fn start_server(&mut self, id: &str) {
        let listen =
            self.servers.get(id).map_or(SocketAddr::new(self.options.host, 0), |s| s.address);
        let process = self.spawn_server(id, listen);
        let address = bound_address(&process);
        if let Some(proxy) = &self.proxy {
            proxy.set_real(id, address);
        }
        self.servers.insert(id.to_owned(), Server { process: Some(process), address });
    }

    /// A kv server process that the cluster does not keep.
    pub fn spawn_server(&self, id: &str, listen: SocketAddr) -> Process {
        let mut command = self.command("kvserver");
        command.args([id, "--listen", &listen.to_string()]);
        command.args(["--view-server", &self.view_address_for_others().to_string()]);
        command.args(&self.options.server_flags);
        if let Some(proxy) = &self.proxy {
            command.args(["--advertise", &proxy.add_node(id).to_string()]);
        }
        Process::spawn(&self.logs, id, command)
    }

    /// `kill -9`.
    pub fn kill(&mut self, id: &str) {
        let server = self.servers.get_mut(id).expect("there is a server with this id");
        server.process.take().expect("it runs").kill();
    }

    /// `kill -9`, and a new process on the same address at once. Shown with `--nocapture`: how
    /// long nobody listened there.
    pub fn restart(&mut self, id: &str) {
        let killed = Instant::now();
        self.kill(id);
        self.start_server(id);
        println!("{id} was back after {:?}", killed.elapsed());
    }

    /// A running kv server.
    pub fn server(&mut self, id: &str) -> &mut Process {
        let server = self.servers.get_mut(id).expect("there is a server with this id");
        server.process.as_mut().expect("it runs")
    }

    /// The running view server.
    pub fn view_server(&mut self) -> &mut Process {
        self.view_server.as_mut().expect("the view server runs")
    }

    /// Where a kv server listens.
    pub fn address(&self, id: &str) -> SocketAddr {
        self.servers[id].address
    }

    /// Where the view server listens.
    pub fn view_address(&self) -> SocketAddr {
        self.view_address
    }

    /// Where others reach the view server.
    fn view_address_for_others(&self) -> SocketAddr {
        self.proxy.as_ref().map_or(self.view_address, |proxy| proxy.add_node("view"))
    }

    fn command(&self, binary: &str) -> Command {
        let mut command = command(binary, self.folder.path());
        if self.options.keys.is_some() {
            command.env("PBKV_KEY_FILE", "keys");
        }
        if !self.options.host.is_loopback() && binary != "client" {
            command.arg("--insecure");
        }
        command
    }

    /// Whoever is started from now on has these lines in its key file.
    pub fn set_keys(&mut self, lines: &str) {
        let path = self.folder.path().join("keys");
        std::fs::write(&path, lines).expect("the folder can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(&path, mode).expect("the file is ours");
        self.options.keys = Some(lines.to_owned());
    }

    /// What the view server shows, if it answers.
    pub fn view(&self) -> Option<View> {
        // Nor is the plain form answered off loopback, before an address has proven itself.
        if self.options.keys.is_some() || !self.options.host.is_loopback() {
            return self.view_by_client();
        }
        let answer = ask_again(self.view_address, r#"{"type":"get_view"}"#, PATIENCE / 10)?;
        let name = |field: &str| answer[field].as_str().map(str::to_owned);
        let number = answer["number"].as_u64()?;
        Some(View { primary: name("primary"), backup: name("backup"), number })
    }

    fn view_by_client(&self) -> Option<View> {
        let shown = self.client(&["--json", "--deadline", "3s", "view"]);
        let answer: serde_json::Value = serde_json::from_str(shown.stdout.first()?).ok()?;
        let name = |field: &str| answer[field].as_str().map(str::to_owned);
        let number = answer["number"].as_u64()?;
        Some(View { primary: name("primary"), backup: name("backup"), number })
    }

    /// Waits until the view server shows what is wanted.
    #[track_caller]
    pub fn wait_for(&self, what: &str, wanted: impl Fn(&View) -> bool) -> View {
        let mut last = None;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            last = self.view();
            match &last {
                Some(view) if wanted(view) => return view.clone(),
                _ => std::thread::sleep(Duration::from_millis(10)),
            }
        }
        self.logs.fail(&format!("waited {PATIENCE:?} in vain: {what}; the view is {last:?}"))
    }

    /// Waits for exactly this primary and backup.
    #[track_caller]
    pub fn wait_for_view(&self, primary: &str, backup: Option<&str>) -> View {
        self.wait_for(&format!("primary {primary}, backup {backup:?}"), |view| {
            view.primary.as_deref() == Some(primary) && view.backup.as_deref() == backup
        })
    }

    /// Waits until there is a primary, other than `old`, and a backup.
    #[track_caller]
    pub fn wait_for_failover(&self, old: &str) -> Roles {
        self.wait_for(&format!("another primary than {old}, and a backup"), |view| {
            view.primary.as_deref().is_some_and(|primary| primary != old) && view.backup.is_some()
        });
        self.roles()
    }

    /// Who does what, once there are a primary and a backup.
    #[track_caller]
    pub fn roles(&self) -> Roles {
        let view = self.wait_for("a primary and a backup", |view| {
            view.primary.is_some() && view.backup.is_some()
        });
        let primary = view.primary.expect("waited for");
        let backup = view.backup.expect("waited for");
        let running = self.servers.iter().filter(|(_, server)| server.process.is_some());
        let spares = running.map(|(id, _)| id.clone()).filter(|id| *id != primary && *id != backup);
        Roles { spares: spares.collect(), primary, backup, number: view.number }
    }

    /// Primary and backup are who they were, in a view of the same number.
    #[track_caller]
    pub fn assert_no_view_change(&self, since: &Roles) {
        let view = self.wait_for_view(&since.primary, Some(&since.backup));
        if view.number != since.number {
            self.logs.fail(&format!("the view changed from {} to {}", since.number, view.number));
        }
    }

    /// What a plain liveness probe says of a server's role.
    pub fn probed_role(&self, id: &str) -> Option<String> {
        let pong = plain::ask_again(self.address(id), r#"{"type":"ping"}"#, PATIENCE / 30)?;
        pong["role"].as_str().map(str::to_owned)
    }

    fn client_command(&self, flags: &[&str]) -> Command {
        let mut command = self.command("client");
        command.args(["--view-server", &self.view_address_for_others().to_string()]);
        command.args(flags);
        command
    }

    /// One command of the client, one shot.
    pub fn client(&self, words: &[&str]) -> Finished {
        Process::run(&self.logs, "client", self.client_command(words), "")
    }

    /// A script piped into the client.
    pub fn script(&self, flags: &[&str], lines: &str) -> Finished {
        Process::run(&self.logs, "client", self.client_command(flags), lines)
    }

    /// A client that stays, for one line at a time.
    pub fn session(&self, name: &str, flags: &[&str]) -> Process {
        Process::spawn(&self.logs, name, self.client_command(flags))
    }

    /// The list under a key as a client reads it.
    #[track_caller]
    pub fn get(&self, key: &str) -> Option<Vec<String>> {
        let mut session = self.session("reader", &["--json", "--deadline", "20s"]);
        json_list(&session.ask(&format!("get '{key}'")))
    }

    /// What a kv server shows of its store, line by line.
    #[track_caller]
    pub fn kv(&mut self, id: &str) -> Vec<String> {
        let server = self.server(id);
        // The answer to `status` follows the last line of the store, and looks different.
        server.type_line("kv");
        let of_store = |line: &str| line.contains(" : [") || line == "no entries";
        let mut lines = server.ask_until("status", |line| !of_store(line));
        lines.pop();
        // Lines of `status` that are still on their way belong to nobody.
        while server.answer_within(Duration::from_millis(30)).is_some() {}
        lines
    }

    /// Waits until two servers show the same store, and returns it.
    #[track_caller]
    pub fn wait_for_equal_stores(&mut self, one: &str, other: &str) -> Vec<String> {
        for _ in 0..100 {
            let store = self.kv(one);
            if store == self.kv(other) {
                return store;
            }
        }
        self.logs.fail(&format!("the stores of {one} and {other} stay different"))
    }
}

/// The value of a `get` in the client's JSON form; panics if it failed.
#[track_caller]
pub fn json_list(answer: &str) -> Option<Vec<String>> {
    let answer: serde_json::Value = serde_json::from_str(answer).expect("an answer is JSON");
    assert_eq!(answer["ok"], true, "{answer}");
    let list = answer["value"].as_array()?;
    Some(list.iter().map(|value| value.as_str().expect("values are text").to_owned()).collect())
}

/// The address in the line that a server logs as soon as it can be reached.
#[track_caller]
pub fn bound_address(process: &Process) -> SocketAddr {
    let line = process.wait_for_log("listening on ");
    let (_, rest) = line.split_once("listening on ").expect("waited for");
    let end = rest.find(|c: char| !c.is_ascii_hexdigit() && !"[]:.".contains(c));
    rest[..end.unwrap_or(rest.len())].trim_end_matches('.').parse().expect("an address follows")
}
