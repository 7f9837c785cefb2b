#!/usr/bin/env python3
"""Puts known mistakes into a copy of the tree, one at a time, and shows which test or seed kills each.

usage: scripts/mutants.py [--list] [PART OF A NAME]

The mistakes are in tests/mutants/*.json: each is a name, edits (file, search, replace; the search text
stands in its file exactly once), and the tests to run: arguments of `cargo test`, after settings of the
environment (NAME=value) if there are any. The tests run without a mistake first, and must pass.

--list shows names and tests, and runs nothing. Exit code 1: a mistake that no test kills is a hole in
the tests, one that cannot be put in or does not compile belongs to an older tree; both are listed at
the end. The copy stays in target/mutants, so that the next run starts fast.
"""

import argparse
import fcntl
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
TREE = os.path.join(ROOT, "target/mutants/tree")
PARTS = ["Cargo.toml", "Cargo.lock", "src", "tests", "scripts"]

# What no edit of this code, or no test on an ordinary machine, can express of a numbered mistake.
UNEXPRESSED = {
    20: "a clock that stands still while the machine is suspended is like any other until then",
    38: "what a full receive buffer loses is up to the kernel; the windows that prevent it are here",
}


class Broken(Exception):
    """A mistake that cannot be tried."""


def mutants():
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/mutants/*.json"))):
        with open(path, encoding="utf-8") as file:
            yield from json.load(file)


def copy_tree():
    shutil.rmtree(TREE, ignore_errors=True)
    os.makedirs(TREE)
    for part in PARTS:
        source, target = os.path.join(ROOT, part), os.path.join(TREE, part)
        # New times of change: cargo must not take what an earlier mistake built for fresh.
        if os.path.isdir(source):
            shutil.copytree(source, target, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target)


def edited(edits):
    """The texts of the files that a mistake changes, without it and with it."""
    originals, texts = {}, {}
    for edit in edits:
        path = os.path.join(TREE, edit["file"])
        if path not in texts:
            with open(path, encoding="utf-8") as file:
                originals[path] = texts[path] = file.read()
        if texts[path].count(edit["search"]) != 1:
            raise Broken(f"its search text is not once in {edit['file']}: {edit['search']!r}")
        texts[path] = texts[path].replace(edit["search"], edit["replace"])
    return originals, texts


def write(texts):
    for path, text in texts.items():
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def test(arguments, limit):
    """Runs tests; returns what failed, in words, or None if all passed."""
    settings = [word for word in arguments if re.match(r"[A-Z_]+=", word)]
    target = os.path.join(ROOT, "target/mutants/target")
    environment = dict(os.environ, CARGO_TARGET_DIR=target, CARGO_PROFILE_DEV_DEBUG="0")
    environment.setdefault("CARGO_PROFILE_DEV_OPT_LEVEL", "0")
    environment.update(word.split("=", 1) for word in settings)
    # Some mistakes make a test wait for ever: that is caught, too.
    command = ["timeout", str(int(limit)), "cargo", "test", "--locked", *arguments[len(settings):]]
    result = subprocess.run(
        command, cwd=TREE, env=environment, capture_output=True, text=True, errors="replace")
    if result.returncode == 0:
        return None
    if "could not compile" in result.stderr:
        raise Broken("it does not compile: " + result.stderr[-2000:])
    failed = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. FAILED", result.stdout, re.M)
    failed = failed or re.findall(r"^test (\S+) has been running", result.stdout, re.M)
    seed = re.search(r"seed \d+(?= breaks)", result.stdout)
    more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    return (failed or ["(no end)"])[0] + more + (f" ({seed.group()})" if seed else "")


def try_all(wanted):
    """Tries mistakes; returns the names of those that no test killed and of those that broke."""
    survivors, broken, limits = [], [], {}
    for mutant in wanted:
        tests = mutant["tests"]
        if tuple(tests) not in limits:
            started = time.monotonic()
            if failed := test(tests, 1800):
                sys.exit(f"without any mistake, {' '.join(tests)} fails: {failed}")
            # The first time includes a build, and a mistake can make a test slower.
            limits[tuple(tests)] = 90 + 3 * (time.monotonic() - started)
    for mutant in wanted:
        started = time.monotonic()
        originals = {}
        try:
            originals, texts = edited(mutant["edits"])
            write(texts)
            killer = test(mutant["tests"], limits[tuple(mutant["tests"])])
            verdict = f"killed    {mutant['name']}\n          by {killer}"
        except Broken as reason:
            killer, verdict = "", f"BROKEN    {mutant['name']}\n          {reason}"
            broken.append(mutant["name"])
        finally:
            write(originals)
        if killer is None:
            verdict = f"SURVIVES  {mutant['name']}\n          {' '.join(mutant['tests'])}"
            survivors.append(mutant["name"])
        print(f"{verdict}  [{time.monotonic() - started:.0f} s]", flush=True)
    return survivors, broken


def numbers(name):
    """The numbered mistakes (D1 to D57) that a name begins with."""
    head = re.match(r"(D\d+\S*\s)*", name).group()
    return {int(number) for number in re.findall(r"D(\d+)", head)}


def summary(wanted):
    print("\nmutants of each numbered mistake:")
    for number in range(1, 58):
        count = sum(number in numbers(mutant["name"]) for mutant in wanted)
        note = UNEXPRESSED.get(number, "" if count else "not expressed, and no reason is known")
        print(f"  D{number:<3} {count}  {f'({note})' if note else ''}".rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--list", action="store_true", help="show names and tests, run nothing")
    parser.add_argument("part", nargs="?", default="", help="only those with this in their name")
    arguments = parser.parse_args()
    wanted = [mutant for mutant in mutants() if arguments.part in mutant["name"]]
    if arguments.list:
        for mutant in wanted:
            print(f"{mutant['name']}\n    {' '.join(mutant['tests'])}")
        return 0
    started = time.monotonic()
    os.makedirs(os.path.dirname(TREE), exist_ok=True)
    with open(TREE + ".lock", "w", encoding="utf-8") as lock:
        # Another run would put its own mistakes into the same copy.
        fcntl.flock(lock, fcntl.LOCK_EX)
        copy_tree()
        survivors, broken = try_all(wanted)
    if not arguments.part:
        summary(wanted)
    killed = len(wanted) - len(survivors) - len(broken)
    print(f"\n{killed} of {len(wanted)} killed in {(time.monotonic() - started) / 60:.0f} min")
    for name in survivors:
        print(f"survives: {name}")
    for name in broken:
        print(f"broken: {name}")
    return 0 if wanted and killed == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
