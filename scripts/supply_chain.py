#!/usr/bin/env python3
"""Checks what Cargo.lock brings in: licences, sources, versions that are there twice, unsafe code.

usage: scripts/supply_chain.py [--advisories CLONE]

Works offline, of what cargo has already downloaded, and changes nothing. --advisories also looks up
every package in a clone of https://github.com/rustsec/advisory-db (a bare one will do), and says how
old that is: no check without a clone, and a check only as good as its date. Exit code 1: something is
wrong, named with the remedy. scripts/supply_chain.sh runs this and, where it is installed, cargo-deny.
"""

import argparse
import collections
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tomllib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CRATES_IO = "registry+https://github.com/rust-lang/crates.io-index"

# Each lets us ship a binary, closed or open, with a notice at most. `.deny.toml` has the same.
LICENCES = {
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSL-1.0",
    "ISC",  # ring and what it rests on; as free as MIT  # clipboard of Windows, in a line editor's dependencies; never built here
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
}

# Why a package is there in two versions. `.deny.toml` has the same in `skip`.
TWICE = {
    "getrandom": "0.2 for ring; 0.3 for ahash in the model checker, 0.4 for tempfile: tests only",
    "hashbrown": "0.14 for dashmap in the model checker, 0.17 for indexmap in turmoil: tests only",
    "r-efi": "follows getrandom, on UEFI only: never built here",
    "syn": "2 and 3 in derive macros: at build time only, until clap and tracing follow serde to 3",
    "windows-sys": "0.52 for ring, on Windows only: never built here",
}


def satisfied(expression):
    """Whether a licence expression (SPDX) is met by what is allowed.

    >>> satisfied("MIT/Apache-2.0"), satisfied("GPL-3.0 OR MIT"), satisfied("GPL-3.0 AND MIT")
    (True, True, False)
    >>> satisfied("(MIT OR GPL-3.0) AND Unicode-3.0"), satisfied("(MIT OR Zlib) AND MPL-2.0")
    (True, False)
    """
    words = re.findall(r"\(|\)|[^\s()]+(?: WITH [^\s()]+)?", expression.replace("/", " OR "))

    def either(at):
        value, at = both(at)
        while at < len(words) and words[at] == "OR":
            other, at = both(at + 1)
            value = value or other
        return value, at

    def both(at):
        value, at = one(at)
        while at < len(words) and words[at] == "AND":
            other, at = one(at + 1)
            value = value and other
        return value, at

    def one(at):
        if at >= len(words):
            raise ValueError(expression)
        if words[at] == "(":
            value, at = either(at + 1)
            if at >= len(words) or words[at] != ")":
                raise ValueError(expression)
            return value, at + 1
        return words[at] in LICENCES, at + 1

    value, at = either(0)
    if at != len(words):
        raise ValueError(expression)
    return value


def metadata_of_all():
    """What cargo knows of all packages; of those of Linux only if the others cannot be had."""
    command = ["cargo", "metadata", "--locked", "--format-version", "1"]
    whole = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if whole.returncode == 0:
        return json.loads(whole.stdout), True
    command += ["--offline", "--filter-platform", "x86_64-unknown-linux-gnu"]
    return json.loads(subprocess.check_output(command, cwd=ROOT)), False


def shipped(metadata):
    """Ids of what a released program is built of: all but what only tests need."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    found, waiting = set(), [metadata["resolve"]["root"]]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            for dependency in nodes[node]["deps"]:
                if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
                    waiting.append(dependency["pkg"])
    return found


def check_licences(packages):
    for package in packages:
        licence = package["license"]
        try:
            fine = licence is not None and satisfied(licence)
        except ValueError:
            fine = False
        if not fine:
            yield (f"{package['name']} {package['version']}: licence {licence!r} is not allowed; "
                   "replace the package, or allow the licence here and in .deny.toml")


def check_sources(packages):
    with open(os.path.join(ROOT, "Cargo.lock"), "rb") as file:
        locked = tomllib.load(file)["package"]
    sums = {(it["name"], it["version"]) for it in locked if "checksum" in it}
    for package in packages:
        name, version = package["name"], package["version"]
        if package["source"] != CRATES_IO:
            yield f"{name} {version}: comes from {package['source']}, not from crates.io"
        elif (name, version) not in sums:
            yield f"{name} {version}: Cargo.lock has no checksum of it; run cargo update --locked"


def check_twice(packages, built, is_whole):
    versions = collections.defaultdict(list)
    for package in packages:
        versions[package["name"]].append(package)
    twice = {name: found for name, found in versions.items() if len(found) > 1}
    for name, found in sorted(twice.items()):
        numbers = ", ".join(sorted(package["version"] for package in found))
        inside = sum(package["id"] in built for package in found)
        if name in TWICE:
            print(f"  {name} {numbers} ({inside} of them in programs): {TWICE[name]}")
        else:
            yield f"{name} is there as {numbers}: bring it to one version, or say why in TWICE"
    for name in sorted(TWICE.keys() - twice.keys()) if is_whole else ():
        yield f"{name} is there only once: take it out of TWICE and .deny.toml"


def check_unsafe():
    with open(os.path.join(ROOT, "Cargo.toml"), "rb") as file:
        lint = tomllib.load(file).get("lints", {}).get("rust", {}).get("unsafe_code")
    if lint != "forbid":
        yield f"Cargo.toml: [lints.rust] unsafe_code is {lint!r}; make it \"forbid\""
    words = re.compile(r"\bunsafe\s*(\{|fn|impl|trait|extern)|allow\(unsafe_code\)")
    for top in ("src", "tests"):
        for folder, _, names in os.walk(os.path.join(ROOT, top)):
            for name in (name for name in names if name.endswith(".rs")):
                path = os.path.join(folder, name)
                with open(path, encoding="utf-8") as file:
                    for number, line in enumerate(file, 1):
                        if words.search(line.split("//")[0]):
                            yield f"{os.path.relpath(path, ROOT)}:{number}: unsafe code"


def numbers(version):
    """A version as something to be compared; what stands before a release is less than it."""
    core, _, pre = version.split("+")[0].partition("-")
    parts = [int(part) for part in core.split(".")]
    return (parts + [0, 0])[:3], pre == "", pre


def bounds(requirement):
    """The lowest version that fits, and the first one that no longer does."""
    sign, text = re.fullmatch(r"([<>=^~]*)\s*(.+)", requirement.strip()).groups()
    version = numbers(text)
    (major, minor, patch), *rest = version
    none, least = None, numbers("0.0.0-0")
    if sign == ">=":
        return version, none
    if sign == ">":
        return ([major, minor, patch + 1], *rest), none
    if sign == "<":
        return least, version
    if sign == "<=":
        return least, ([major, minor, patch + 1], *rest)
    if sign == "=":
        return version, ([major, minor, patch + 1], True, "")
    given = len(text.split("."))
    if sign == "~" and given > 1:
        return version, ([major, minor + 1, 0], True, "")
    if major or given == 1:
        return version, ([major + 1, 0, 0], True, "")
    if minor or given == 2:
        return version, ([0, minor + 1, 0], True, "")
    return version, ([0, 0, patch + 1], True, "")


def fits(version, requirements):
    """Whether a version fits all of the comma-separated requirements.

    >>> fits("1.2.3", ">= 1.2.3"), fits("1.2.3-rc1", ">= 1.2.3"), fits("1.2.2", ">=1.2.3")
    (True, False, False)
    >>> fits("0.5.9", ">= 0.5.1, < 0.6.0"), fits("0.6.0", ">= 0.5.1, < 0.6.0")
    (True, False)
    >>> fits("1.9.0", "^1.2"), fits("2.0.0", "^1.2"), fits("0.3.1", "^0.2.9"), fits("1.0.0", "< 1")
    (True, False, False, False)
    >>> fits("1.0.0", "= 1.0.0"), fits("1.0.1", "= 1.0.0"), fits("1.0.0", "> 1.0.0")
    (True, False, False)
    """
    at = numbers(version)
    for requirement in requirements.split(","):
        least, end = bounds(requirement)
        if at < least or (end is not None and at >= end):
            return False
    return True


def check_advisories(packages, clone):
    git = ["git", "-C", clone]
    date = subprocess.check_output(git + ["log", "-1", "--format=%cs"], text=True).strip()
    tar = subprocess.check_output(git + ["archive", "--format=tar", "HEAD", "crates"])
    known = collections.defaultdict(list)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        for member in archive:
            match = re.fullmatch(r"crates/([^/]+)/RUSTSEC-[^/]+\.md", member.name)
            if match:
                text = archive.extractfile(member).read().decode()
                front = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
                known[match[1]].append(tomllib.loads(front[1]))
    count = sum(map(len, known.values()))
    looked, hits = 0, []
    for package in packages:
        for advisory in known[package["name"]]:
            looked += 1
            about, versions = advisory["advisory"], advisory["versions"]
            fine = versions.get("patched", []) + versions.get("unaffected", [])
            if "withdrawn" in about or any(fits(package["version"], it) for it in fine):
                continue
            kind = about.get("informational", "vulnerability")
            hits.append(f"{package['name']} {package['version']}: {about['id']} ({kind})")
    print(f"advisories: {count} of {date}; {looked} are of packages here, {len(hits)} apply")
    return hits


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--advisories", metavar="CLONE", help="clone of rustsec/advisory-db")
    flags = parser.parse_args()
    metadata, is_whole = metadata_of_all()
    built = shipped(metadata)
    root = metadata["resolve"]["root"]
    packages = [package for package in metadata["packages"] if package["id"] != root]
    inside = sum(package["id"] in built for package in packages)
    platforms = "all platforms" if is_whole else "Linux"
    print(f"{len(packages)} packages on {platforms}, {inside} of them in programs, "
          f"{len(packages) - inside} in tests only")
    wrong = [*check_licences(packages)]
    licences = collections.Counter(package["license"] for package in packages)
    print(f"licences: {len(licences)} expressions, {len(wrong)} of them not allowed")
    wrong += check_sources(packages)
    print("versions that are there twice:")
    wrong += check_twice(packages, built, is_whole)
    unsafe = [*check_unsafe()]
    print(f"unsafe code of our own: {len(unsafe) or 'none, and the compiler forbids it'}")
    wrong += unsafe
    if flags.advisories:
        wrong += check_advisories(packages, flags.advisories)
    else:
        print("advisories: not checked; that takes a clone of their database (--advisories CLONE)")
    for line in wrong:
        print(f"supply_chain: {line}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
