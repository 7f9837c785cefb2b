"""pbkv beside Redis, etcd and a bare relay, as a table in Markdown.

Everything runs on this machine, servers and load, on the same cores. Loads that are compared run
in the same round, one after the other, in an order that turns around with each round.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import sys
import time

import rows
from servers import Etcd, Failed, Nursery, Pbkv, Redis, Relay

NEEDED = {"redis": ("redis-server", "redis-server"),
          "redis-benchmark": ("redis-benchmark", "redis-tools"),
          "etcd": ("etcd", "etcd-server")}
MAKERS = {
    "pbkv": Pbkv,
    "pbkv with leases": lambda nursery: Pbkv(nursery, ["--lease-reads"]),
    "big pbkv": Pbkv,
    "redis": Redis,
    "big redis": Redis,
    "relay": Relay,
    "packed relay": lambda nursery: Relay(nursery, "--packed"),
    "etcd": Etcd,
}


class Servers(dict):
    """Each kind starts when it is first needed, with a thousand keys in it."""

    def __init__(self, nursery):
        super().__init__()
        self.nursery = nursery

    def __missing__(self, kind):
        made = MAKERS[kind](self.nursery)
        if kind in ("pbkv", "pbkv with leases", "redis"):
            made.fill(1000)
        self[kind] = made
        return made


class Context:
    """What the rows need to know."""

    def __init__(self, flags, nursery):
        self.rounds, self.seconds, self.keys = flags.rounds, flags.seconds, flags.keys
        self.failovers, self.soak, self.rate = flags.failovers, flags.soak_seconds, flags.join_rate
        self.nursery = nursery
        self.servers = Servers(nursery)
        self.missing = {}
        self.problems = []
        for word, (program, package) in NEEDED.items():
            if not shutil.which(program):
                self.missing[word] = f"{program} (Debian package {package})"

    def has(self, load):
        """Whether the programs for this load are there."""
        return load.split()[0].rstrip(",").lower() not in self.missing

    @staticmethod
    def progress(text):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    def problem(self, text):
        self.problems.append(text)
        print(f"bench_peers.sh: not measured: {text}", file=sys.stderr, flush=True)

    def counted(self, what, count):
        for number in range(count):
            self.progress(f"{what}, {number + 1} of {count}")
            yield number

    def stop(self, pbkv):
        for process in [pbkv.view_server, *pbkv.servers.values()]:
            self.nursery.kill(process)


def parse():
    names = list(dict.fromkeys([row.row for row in rows.ROUNDS] + list(rows.OTHERS)))
    parser = argparse.ArgumentParser(prog="bench_peers.sh", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="ROW",
                        help=f"what to measure (default: all): {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each load in each round")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the rows about much data")
    parser.add_argument("--failovers", type=int, default=20, help="at each timing")
    parser.add_argument("--soak-seconds", type=int, default=60,
                        help="of full load in which nothing may fail over")
    parser.add_argument("--join-rate", type=int, default=5000, help="puts a second during a join")
    parser.add_argument("--json", metavar="FILE", help="all figures of all rounds")
    flags = parser.parse_args()
    for row in flags.rows:
        if row not in names:
            parser.error(f"there is no row {row}; there are {', '.join(names)}")
    flags.rows = flags.rows or names
    return flags


def machine():
    model = "unknown processor"
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return f"{os.cpu_count()} cores of {model}, Linux {platform.release()}"


def load_average():
    return " ".join(f"{load:.1f}" for load in os.getloadavg())


def cells(line):
    ratio = "-"
    if line.ratios:
        least, most = min(line.ratios), max(line.ratios)
        ratio = f"{statistics.median(line.ratios):.2f} ({least:.2f}..{most:.2f})"
    met = {None: "", True: "yes", False: "**no**"}[line.met]
    return [line.row, line.what, line.goal, line.ours, line.theirs, ratio, met]


def table(lines):
    head = ["row", "what", "goal", "pbkv", "peer", "ratio (min..max)", "met"]
    yield "| " + " | ".join(head) + " |"
    yield "|" + " --- |" * len(head)
    for line in lines:
        yield "| " + " | ".join(cells(line)) + " |"


def measurements(context, names):
    """What to do, in order: the name of each part, and what yields its lines."""
    # etcd works a little even when nobody asks, so it runs only by itself.
    for is_etcd in (False, True):
        chosen = [row for row in rows.ROUNDS
                  if row.row in names and (row.row == "etcd") == is_etcd]
        yield "rounds", lambda chosen=chosen: rows.rounds(context, chosen)
    if "etcd" in context.servers:
        context.servers.pop("etcd").close()
    for name, make in rows.OTHERS.items():
        if name in names:
            yield name, lambda make=make: make(context)


def main():
    flags = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    nursery = Nursery()
    lines, begun = [], load_average()
    context = Context(flags, nursery)
    is_interrupted = False
    try:
        for what in context.missing.values():
            print(f"bench_peers.sh: {what} is missing; its rows are left out", file=sys.stderr)
        for name, measure in measurements(context, flags.rows):
            try:
                lines.extend(measure())
            except (Failed, OSError, KeyError, ValueError) as problem:
                context.problem(f"{name}: {problem!r}")
    except KeyboardInterrupt:
        is_interrupted = True
    finally:
        # Nothing may end this before it is done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        nursery.close()
    print(f"{machine()}; load average {begun} at the beginning, {load_average()} at the end;")
    print(f"{flags.rounds} rounds of {flags.seconds:g} s, medians; 16-byte keys, 100-byte values.")
    print()
    print("\n".join(table(lines)))
    for problem in context.problems:
        print(f"\nNot measured: {problem}")
    if flags.json:
        with open(flags.json, "w") as file:
            told = {"machine": machine(), "load_average": [begun, load_average()],
                    "rounds": flags.rounds, "seconds": flags.seconds,
                    "problems": context.problems,
                    "lines": [dict(vars(line), wanted=list(line.wanted)) for line in lines]}
            json.dump(told, file, indent=1)
    return 130 if is_interrupted else 1 if context.problems else 0


if __name__ == "__main__":
    sys.exit(main())
