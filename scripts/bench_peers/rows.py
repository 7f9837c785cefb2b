"""What is measured, and against which goal.

Rows of the first kind (ROUNDS) are ratios of two loads that run one after the other in the same
round; the table shows the median of the rounds' ratios, with the smallest and the largest. The
others need servers of their own and are functions (OTHERS) that yield the same kind of line.
"""

import json
import signal
import statistics
import subprocess
import time
from dataclasses import dataclass, field

from servers import Failed, Pbkv, die_with_parent, rss_bytes


def p50(told):
    return told["all"]["p50_ms"] * 1000


def throughput(told):
    return told["all"]["per_second"]


def cpu(told):
    return told["cpu_us"]


UNITS = {p50: "µs", throughput: "/s", cpu: "µs"}


@dataclass
class Line:
    """A line of the table. `ratios` holds one a round; `wanted` is e.g. (">=", 2.0)."""
    row: str
    what: str
    goal: str
    ours: str
    theirs: str
    ratios: list = field(default_factory=list)
    wanted: tuple = ()
    met: bool = None
    figures: dict = field(default_factory=dict)

    def __post_init__(self):
        if self.ratios and self.wanted:
            ratio, (relation, bound) = statistics.median(self.ratios), self.wanted
            self.met = ratio >= bound if relation == ">=" else ratio <= bound


@dataclass
class Row:
    row: str
    what: str
    goal: str
    figure: object
    ours: str
    theirs: str
    wanted: tuple = ()


PUT1, PUT64, SHARED = "put1", "put64", "put-shared"
ROUNDS = [
    Row(PUT1, "replicated put, 1 client, p50", "≤ 1.15 × bare relay", p50,
        "pbkv put, 1", "relay, 1", ("<=", 1.15)),
    Row(PUT1, "the same", "below Redis SET+WAIT", p50,
        "pbkv put, 1", "Redis SET+WAIT, 1", ("<=", 1.0)),
    Row(PUT64, "replicated put, 64 clients", "≥ 2 × Redis SET+WAIT", throughput,
        "pbkv put, 64", "Redis SET+WAIT, 64", (">=", 2.0)),
    Row(PUT64, "the same", "≥ 0.75 × packed relay", throughput,
        "pbkv put, 64", "packed relay, 64", (">=", 0.75)),
    Row(PUT64, "the same", "(unpacked relay, no goal)", throughput,
        "pbkv put, 64", "relay, 64"),
    Row("cpu", "CPU of both servers a put, 64 clients", "below Redis's", cpu,
        "pbkv put, 64", "Redis SET+WAIT, 64", ("<=", 1.0)),
    Row(SHARED, "replicated put, 64 tasks sharing a client",
        "≥ 4 × Redis SET+WAIT, 64 connections", throughput, "pbkv put, shared", "Redis SET+WAIT, 64", (">=", 4.0)),
    Row("put-pipelined", "replicated put, 50 clients × 16",
        "≥ 1 × redis-benchmark set, asynchronous replica", throughput,
        "pbkv put, 50 x 16", "redis-benchmark set, 50 x 16", (">=", 1.0)),
    Row("get-pipelined", "get, 50 clients × 16", "≥ 1 × redis-benchmark get", throughput,
        "pbkv get, 50 x 16", "redis-benchmark get, 50 x 16", (">=", 1.0)),
    Row("get64", "get, 64 clients, barrier reads", "≥ 1.15 × Redis GET", throughput,
        "pbkv get, 64", "Redis GET, 64", (">=", 1.15)),
    Row("get64-lease", "get, 64 clients, lease reads", "≥ 1.3 × Redis GET", throughput,
        "pbkv lease get, 64", "Redis GET, 64", (">=", 1.3)),
    Row("get-shared", "get, 64 tasks sharing a client", "≥ 3 × Redis GET, 64 connections",
        throughput, "pbkv get, shared", "Redis GET, 64", (">=", 3.0)),
    Row("etcd", "put, 1 client, p50 (etcd: JSON gateway, on disk)", "(no goal)", p50,
        "pbkv put, 1", "etcd put, 1"),
    Row("etcd", "put, 64 clients", "(no goal)", throughput, "pbkv put, 64", "etcd put, 64"),
    Row("etcd", "linearizable get, 64 clients", "(no goal)", throughput,
        "pbkv get, 64", "etcd get, 64"),
]


def loads(servers, seconds):
    """What can be measured, by name. `servers` makes each kind at its first use."""
    def pbkv(kind, *flags):
        return lambda: servers[kind].bench("--seconds", seconds, *flags)

    puts, gets = ("--gets", "0%"), ("--gets", "100%")
    return {
        "pbkv put, 1": pbkv("pbkv", "--clients", 1, *puts),
        "pbkv put, 64": pbkv("pbkv", "--clients", 64, *puts),
        "pbkv put, shared": pbkv("pbkv", "--clients", 1, "--pipeline", 64, *puts),
        "pbkv put, 50 x 16": pbkv("pbkv", "--clients", 50, "--pipeline", 16, *puts),
        "pbkv get, 50 x 16": pbkv("pbkv", "--clients", 50, "--pipeline", 16, *gets),
        "pbkv get, 64": pbkv("pbkv", "--clients", 64, *gets),
        "pbkv get, shared": pbkv("pbkv", "--clients", 1, "--pipeline", 64, *gets),
        "pbkv lease get, 64": pbkv("pbkv with leases", "--clients", 64, *gets),
        "relay, 1": lambda: servers["relay"].load(1, seconds),
        "relay, 64": lambda: servers["relay"].load(64, seconds),
        "packed relay, 64": lambda: servers["packed relay"].load(64, seconds),
        "Redis SET+WAIT, 1": lambda: servers["redis"].load("set-wait", 1, seconds),
        "Redis SET+WAIT, 64": lambda: servers["redis"].load("set-wait", 64, seconds),
        "Redis GET, 64": lambda: servers["redis"].load("get", 64, seconds),
        "redis-benchmark set, 50 x 16": lambda: servers["redis"].benchmark("set", seconds),
        "redis-benchmark get, 50 x 16": lambda: servers["redis"].benchmark("get", seconds),
        "etcd put, 1": lambda: servers["etcd"].load("put", 1, seconds),
        "etcd put, 64": lambda: servers["etcd"].load("put", 64, seconds),
        "etcd get, 64": lambda: servers["etcd"].load("get", 64, seconds),
    }


def rounds(context, rows):
    """Runs every load that the rows need once a round, in an order that turns around each time.
    A load that fails takes only the rows that need it with it."""
    wanted = [row for row in rows if all(context.has(name) for name in (row.ours, row.theirs))]
    names = list(dict.fromkeys(name for row in wanted for name in (row.ours, row.theirs)))
    all_loads = loads(context.servers, context.seconds)
    told = {name: [] for name in names}
    failed = set()
    for number in range(context.rounds if names else 0):
        for name in names if number % 2 == 0 else reversed(names):
            if name in failed:
                continue
            context.progress(f"round {number + 1} of {context.rounds}: {name}")
            try:
                told[name].append(all_loads[name]())
            except (Failed, OSError) as problem:
                failed.add(name)
                context.problem(f"{name}: {problem}")
    for row in wanted:
        if failed & {row.ours, row.theirs}:
            continue
        ours, theirs = ([row.figure(each) for each in told[name]]
                        for name in (row.ours, row.theirs))
        unit = UNITS[row.figure]
        yield Line(row.row, row.what, row.goal, f"{statistics.median(ours):,.0f} {unit}",
                   f"{statistics.median(theirs):,.0f} {unit}",
                   [one / other for one, other in zip(ours, theirs)], row.wanted,
                   figures={row.ours: ours, row.theirs: theirs})


def compare(row, what, goal, ours, theirs, wanted, unit):
    """A line of figures that were taken in turns."""
    middle = [f"{statistics.median(each):,.{0 if unit == '/s' else 1}f} {unit}"
              for each in (ours, theirs)]
    return Line(row, what, goal, *middle, [one / other for one, other in zip(ours, theirs)], wanted,
                figures={"ours": ours, "theirs": theirs})


def append(context):
    """A list that is long already, beside lists of few elements."""
    pbkv, long, short = context.servers["pbkv"], [], []
    flags = ("--clients", 16, "--mix", "append=1")
    prefix = f"l{time.time_ns() % 10**8}"
    pbkv.bench(*flags, "--pipeline", 16, "--keys", 1, "--key-prefix", prefix,
               "--requests", 100_000, "--warm-up", 0)
    for number in range(context.rounds):
        context.progress(f"round {number + 1} of {context.rounds}: append")
        for figures, keys, of in ((short, 20_000, f"s{prefix[1:]}"), (long, 1, prefix)):
            told = pbkv.bench(*flags, "--keys", keys, "--key-prefix", of, "--requests", 10_000)
            figures.append(throughput(told))
    yield compare("append", "append to a list of 100,000 elements", "as fast as to short lists",
                  long, short, (">=", 0.95), "/s")


def failover(context):
    """kill -9 of the primary under 8 clients: the longest time without a success."""
    for timing, flags, goal, of, bound in (
            ("default timing", (), "p50 ≤ dead-after + 60 ms", "p50", 310),
            ("5ms/40ms", ("--ping-interval", "5ms", "--dead-after", "40ms"), "p99 < 100 ms", "p99",
             100)):
        pbkv = Pbkv(context.nursery, flags)
        gaps = [kill_primary(pbkv, 1000) for _ in
                context.counted(f"failover, {timing}", context.failovers)]
        at = sorted(gaps)
        told = {"p50": statistics.median(at), "p99": at[-1 - len(at) // 100]}
        yield Line("failover", f"kill -9 of the primary to the next write, {timing}", goal,
                   f"p50 {told['p50']:.0f} ms, p99 {told['p99']:.0f} ms of {len(gaps)}", "-",
                   met=told[of] <= bound, figures={"gaps_ms": gaps})
        if flags:
            yield soak(context, pbkv)
        context.stop(pbkv)


def soak(context, pbkv):
    """Full load must not look like death."""
    context.progress(f"{context.soak} s of full load with the short timing")
    before = pbkv.view()["number"]
    told = pbkv.bench("--clients", 64, "--gets", "50%", "--seconds", context.soak, may_fail=True)
    changes = pbkv.view()["number"] - before
    return Line("failover", f"spurious failovers in {context.soak} s of full load, 5ms/40ms",
                "none", f"{changes} changes of the view at {throughput(told):,.0f} operations/s", "-",
                met=changes == 0, figures={"view_changes": changes})


def kill_primary(pbkv, keys):
    """One failover; both servers are there again afterwards. Milliseconds."""
    view = pbkv.wait_for_pair()
    load = subprocess.Popen(
        pbkv.command("--clients", 8, "--gets", "0%", "--seconds", 60, "--keys", keys),
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, preexec_fn=die_with_parent)
    time.sleep(0.8)
    pbkv.kill(view["primary"])
    time.sleep(1.0)
    told = interrupt(load)
    pbkv.start(view["primary"])
    pbkv.wait_for_pair()
    return told["longest_gap_ms"]


def interrupt(load):
    """Ends a load as Ctrl-C does; what it told."""
    load.send_signal(signal.SIGINT)
    output, _ = load.communicate(timeout=60)
    if not output:
        raise Failed("an interrupted load told nothing")
    return json.loads(output.splitlines()[-1])


def memory(context):
    """RSS before filling and a while after it, of the larger one of both servers."""
    pbkv = full_pbkv(context)
    if context.has("redis"):
        redis = full_redis(context)
        yield compare("memory", f"RSS a key, {context.keys:,} keys of 16 + 100 bytes",
                      "below Redis's", [pbkv.bytes_a_key], [redis.bytes_a_key], ("<=", 1.0),
                      "bytes")


def filled(context, kind, processes):
    """Servers with all the keys in them; filled at the first use."""
    servers = context.servers[kind]
    if not hasattr(servers, "bytes_a_key"):
        context.progress(f"{kind}: filling {context.keys:,} keys")
        before = [rss_bytes(each) for each in processes(servers)]
        servers.fill(context.keys)
        # Allocators give memory back over some seconds, which is to the credit of whoever does.
        time.sleep(15)
        after = [rss_bytes(each) for each in processes(servers)]
        most = max(end - start for start, end in zip(before, after))
        servers.bytes_a_key = most / context.keys
    return servers


def full_pbkv(context):
    return filled(context, "big pbkv", lambda pbkv: list(pbkv.servers.values()))


def full_redis(context):
    return filled(context, "big redis", lambda redis: [redis.primary, redis.replica])


def growth(context):
    """The same load on few and on many keys, in turns; and a failover with many."""
    big, small = full_pbkv(context), context.servers["pbkv"]
    for what, gets in (("put", "0%"), ("get", "100%")):
        few, many = [], []
        for number in range(context.rounds):
            context.progress(f"round {number + 1} of {context.rounds}: {what} as data grows")
            flags = ("--clients", 64, "--gets", gets, "--seconds", context.seconds)
            few.append(1e6 / throughput(small.bench(*flags, "--keys", 1000)))
            many.append(1e6 / throughput(big.bench(*flags, "--keys", context.keys)))
        yield compare("growth", f"time a {what}, 64 clients: {context.keys:,} keys to 1,000",
                      "≤ 1.3 ×", many, few, ("<=", 1.3), "µs")
    few, many = [], []
    for _ in context.counted("failover as data grows", context.rounds):
        few.append(kill_primary(small, 1000))
        many.append(kill_primary(big, context.keys))
    yield compare("growth", f"failover: {context.keys:,} keys to 1,000", "independent (≤ 1.1 ×)",
                  many, few, ("<=", 1.1), "ms")


def join(context):
    """An empty server joins: alone (beside Redis's full sync), then under puts at a fixed rate."""
    pbkv = full_pbkv(context)
    redis = full_redis(context) if context.has("redis") else None
    foreground = ("--clients", 16, "--gets", "0%", "--rate", context.rate, "--keys", context.keys)
    ours, theirs, loaded, calm, busy = [], [], [], [], []
    for _ in context.counted("join", context.rounds):
        ours.append(replace_backup(pbkv))
        if redis:
            theirs.append(redis.join())
        calm.append(pbkv.bench(*foreground, "--seconds", 5)["all"]["p99_ms"])
        load = []

        def begin():
            load.append(subprocess.Popen(
                pbkv.command(*foreground, "--seconds", 100, "--warm-up", "0.05"),
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                preexec_fn=die_with_parent))
        loaded.append(replace_backup(pbkv, begin))
        busy.append(interrupt(load[0])["all"]["p99_ms"])
    if redis:
        yield compare("join", f"a spare joins with {context.keys:,} keys",
                      "faster than Redis's full sync", ours, theirs, ("<=", 1.0), "s")
    yield compare("join", f"the same under {context.rate:,} puts/s", "(no goal; to without load)",
                  loaded, ours, (), "s")
    yield compare("join", f"p99 of {context.rate:,} puts/s meanwhile", "≤ 2 × that without",
                  busy, calm, ("<=", 2.0), "ms")


def replace_backup(pbkv, begin=lambda: None):
    """Kills the backup; the seconds from the start of an empty server until it is the backup."""
    gone = pbkv.wait_for_pair()["backup"]
    pbkv.kill(gone)
    while pbkv.view()["backup"]:
        time.sleep(0.01)
    begin()
    begun = time.monotonic()
    pbkv.start(gone)
    pbkv.wait_for_pair()
    return time.monotonic() - begun


OTHERS = {"append": append, "failover": failover, "memory": memory, "growth": growth, "join": join}
