"""The servers of every peer: started on loopback ports in a temporary folder, ended by pid.

Each class has the measurements of its peer as methods; each returns the object that its load
generator printed, with "cpu_us" (CPU time of the servers an operation) where it has servers of
its own worth counting.
"""

import base64
import csv
import ctypes
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request

BIN = os.environ["PBKV_RELEASE"]
PEERS = f"{BIN}/examples/peers"
TICKS = os.sysconf("SC_CLK_TCK")
LIBC = ctypes.CDLL(None)


def die_with_parent():
    """A child ends with this process, even if this one is killed: PR_SET_PDEATHSIG."""
    LIBC.prctl(1, signal.SIGKILL)


class Failed(Exception):
    """A measurement that came to nothing, and why."""


def wait_until(what, condition, seconds=30.0, pause=0.005):
    """Polls; returns the first truth."""
    until = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > until:
            raise Failed(f"waited {seconds:.0f} s in vain: {what}")
        time.sleep(pause)


def cpu_seconds(processes):
    """User and system time that these have used."""
    total = 0
    for process in processes:
        with open(f"/proc/{process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def rss_bytes(process):
    with open(f"/proc/{process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def run_json(words, timeout=600):
    """Runs a load generator to its end; the object that it printed."""
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=timeout, preexec_fn=die_with_parent)
    if done.returncode != 0:
        raise Failed(f"{' '.join(words)}: {done.stderr.strip() or done.stdout.strip()}")
    return json.loads(done.stdout.splitlines()[-1])


class Nursery:
    """Everything that was started, in a folder that goes with it."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="pbkv-peers-")
        self.processes = []
        self.started = 0

    def start(self, *words):
        """Starts a server; its output is in `log`."""
        self.started += 1
        log = f"{self.folder}/{self.started}.log"
        environment = dict(os.environ, RUST_LOG="warn,pbkv::cli=info")
        with open(log, "w") as output:
            process = subprocess.Popen(words, cwd=self.folder, stdin=subprocess.DEVNULL,
                                       stdout=output, stderr=output, env=environment,
                                       preexec_fn=die_with_parent)
        process.log = log
        self.processes.append(process)
        return process

    def kill(self, process):
        process.kill()
        process.wait()
        self.processes.remove(process)

    def close(self):
        for process in list(self.processes):
            self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)


def logged(process, pattern):
    """What a server says of itself as soon as it can be reached."""
    def found():
        with open(process.log) as log:
            text = log.read()
        if process.poll() is not None:
            raise Failed(f"{' '.join(process.args)} has ended: {text}")
        return re.search(pattern, text)
    return wait_until(f"{process.args[0]} to start", found).group(1)


class Pbkv:
    """A view server and kv servers."""

    def __init__(self, nursery, view_flags=(), servers=2):
        self.nursery = nursery
        self.servers = {}
        state = f"{nursery.folder}/view{nursery.started}.state.json"
        self.view_server = nursery.start(f"{BIN}/viewserver", "--listen", "127.0.0.1:0",
                                         "--state", state, *view_flags)
        self.address = logged(self.view_server, r"listening on ([0-9.:]+)")
        for number in range(1, servers + 1):
            self.start(f"s{number}")
        self.wait_for_pair()

    def start(self, name):
        self.servers[name] = self.nursery.start(
            f"{BIN}/kvserver", name, "--listen", "127.0.0.1:0", "--view-server", self.address)

    def kill(self, name):
        self.nursery.kill(self.servers.pop(name))

    def view(self):
        host, port = self.address.rsplit(":", 1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
            asking.settimeout(0.2)
            asking.sendto(b'{"type":"get_view"}', (host, int(port)))
            try:
                return json.loads(asking.recv(65536))
            except TimeoutError:
                return {"primary": None, "backup": None, "number": 0}

    def wait_for_pair(self, seconds=120.0):
        def pair():
            view = self.view()
            return view if view["primary"] and view["backup"] else None
        return wait_until("a primary and a backup", pair, seconds)

    def command(self, *flags):
        return [f"{BIN}/client", "--view-server", self.address, "bench", "--json", "--quiet",
                *(() if "--warm-up" in flags else ("--warm-up", "0.3")), *map(str, flags)]

    def bench(self, *flags, may_fail=False):
        servers = list(self.servers.values())
        before = cpu_seconds(servers)
        told = run_json(self.command(*flags, *(["--allow-failures"] if may_fail else [])))
        failed = told["all"]["not_executed"] + told["all"]["unknown"]
        if failed and not may_fail:
            raise Failed(f"pbkv: {failed} operations failed")
        told["cpu_us"] = (cpu_seconds(servers) - before) * 1e6 / told["asked"]
        return told

    def fill(self, keys):
        self.bench("--clients", 16, "--pipeline", 32, "--gets", "0%", "--keys", keys,
                   "--distribution", "sequential", "--requests", keys, "--warm-up", 0)


class Redis:
    """A primary and an asynchronous replica, nothing written to disk."""

    def __init__(self, nursery):
        self.nursery = nursery
        self.port = free_port()
        self.primary = self.server(self.port)
        self.calibrated = {}
        self.replica = None
        self.join()

    def server(self, port, *flags):
        process = self.nursery.start(
            "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", self.nursery.folder, "--repl-diskless-sync", "yes",
            "--repl-diskless-sync-delay", "0", "--repl-diskless-load", "on-empty-db", *flags)
        return process

    def join(self):
        """Starts an empty replica; the seconds until it has everything."""
        if self.replica:
            self.nursery.kill(self.replica)
        wait_until("Redis to start", lambda: self.info(self.port))
        port = free_port()
        begun = time.monotonic()
        self.replica = self.server(port, "--replicaof", f"127.0.0.1 {self.port}")
        wait_until("the replica to have everything",
                   lambda: "master_link_status:up" in self.info(port), 120)
        return time.monotonic() - begun

    @staticmethod
    def info(port):
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as asking:
                asking.sendall(b"INFO replication\r\n")
                return asking.recv(65536).decode()
        except OSError:
            return ""

    def load(self, operation, clients, seconds, keys=1000):
        servers = [self.primary, self.replica]
        before = cpu_seconds(servers)
        told = run_json([PEERS, "redis", f"127.0.0.1:{self.port}", operation, "--clients",
                         str(clients), "--seconds", str(seconds), "--keys", str(keys)])
        told["cpu_us"] = (cpu_seconds(servers) - before) * 1e6 / told["asked"]
        return told

    def fill(self, keys):
        run_json([PEERS, "redis-fill", f"127.0.0.1:{self.port}", str(keys), "100"])

    def benchmark(self, test, seconds):
        """redis-benchmark itself, with as many requests as take about so long."""
        requests = self.calibrated.get(test, 200_000)
        words = ["redis-benchmark", "-p", str(self.port), "-t", test, "-c", "50", "-P", "16",
                 "-d", "100", "-n", str(requests), "--csv"]
        done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=120, preexec_fn=die_with_parent)
        rows = list(csv.DictReader(io.StringIO(done.stdout)))
        if not rows:
            raise Failed(f"{' '.join(words)}: {done.stderr}")
        row = rows[0]
        per_second = float(row["rps"])
        is_first = test not in self.calibrated
        self.calibrated[test] = max(int(per_second * seconds), 1000)
        if is_first:
            return self.benchmark(test, seconds)
        return {"all": {"per_second": per_second, "p50_ms": float(row["p50_latency_ms"])}}


class Relay:
    """Two processes that pass bare datagrams on."""

    def __init__(self, nursery, *flags):
        backup = logged(nursery.start(PEERS, "relay-backup"), r"([0-9.]+:[0-9]+)")
        self.address = logged(nursery.start(PEERS, "relay-primary", backup, *flags),
                              r"([0-9.]+:[0-9]+)")

    def load(self, clients, seconds):
        return run_json([PEERS, "relay", self.address, "--clients", str(clients),
                         "--seconds", str(seconds)], timeout=seconds + 60)


class Etcd:
    """Three nodes, which write to disk as etcd always does."""

    def __init__(self, nursery):
        self.nursery = nursery
        ports = [(free_port(), free_port()) for _ in range(3)]
        peers = ",".join(f"n{i}=http://127.0.0.1:{peer}" for i, (_, peer) in enumerate(ports))
        self.nodes = [
            nursery.start(
                "etcd", "--name", f"n{i}", "--data-dir", f"{nursery.folder}/etcd{i}",
                "--listen-client-urls", f"http://127.0.0.1:{client}",
                "--advertise-client-urls", f"http://127.0.0.1:{client}",
                "--listen-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                "--initial-cluster", peers, "--initial-cluster-state", "new",
                "--logger", "zap", "--log-level", "error")
            for i, (client, peer) in enumerate(ports)]
        urls = [f"127.0.0.1:{client}" for client, _ in ports]
        self.leader = wait_until("etcd to elect a leader",
                                 lambda: next(filter(self.leads, urls), None), 30, 0.1)
        value = base64.b64encode(b"x" * 100).decode()
        for number in range(1000):
            key = base64.b64encode(f"bench:{number:010}".encode()).decode()
            self.post(self.leader, "kv/put", {"key": key, "value": value})

    @staticmethod
    def post(address, path, body):
        asking = urllib.request.Request(f"http://{address}/v3/{path}", json.dumps(body).encode())
        with urllib.request.urlopen(asking, timeout=5) as answer:
            return json.load(answer)

    def leads(self, address):
        try:
            status = self.post(address, "maintenance/status", {})
            return status.get("leader") == status["header"]["member_id"]
        except OSError:
            return False

    def load(self, operation, clients, seconds):
        return run_json([PEERS, "etcd", self.leader, operation, "--clients", str(clients),
                         "--seconds", str(seconds)], timeout=seconds + 60)

    def close(self):
        for node in self.nodes:
            self.nursery.kill(node)
