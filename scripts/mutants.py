#!/usr/bin/env python3
"""Puts known mistakes into a copy of the tree, one at a time, and shows which tests catch each.

usage: scripts/mutants.py [PART OF A NAME]

The mistakes are in tests/mutants/*.json: each is a name, edits (file, search, replace; the search text
stands in its file exactly once), and the tests to run (arguments of `cargo test`). A mistake that no
test catches is a hole in the tests: exit code 1.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def mutants():
    for path in sorted(glob.glob(os.path.join(ROOT, "tests/mutants/*.json"))):
        with open(path, encoding="utf-8") as file:
            yield from json.load(file)


def run(tree, arguments):
    """Runs tests; returns None if all pass, otherwise the names of those that failed."""
    environment = dict(os.environ, CARGO_PROFILE_DEV_OPT_LEVEL="0", CARGO_TARGET_DIR=tree + "/target")
    # Some mistakes make a test wait for ever: that is caught, too.
    command = ["timeout", "300", "cargo", "test", "--quiet", "--locked", *arguments]
    result = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True)
    if result.returncode == 0:
        return None
    if "could not compile" in result.stderr:
        sys.exit("a mistake does not compile:\n" + result.stderr[-3000:])
    failed = re.findall(r"^test (\S+) \.\.\. FAILED|^---- (\S+) stdout", result.stdout, re.M)
    return sorted({one or other for one, other in failed}) or ["(no end)"]


def main():
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    survivors, count = [], 0
    with tempfile.TemporaryDirectory(prefix="pbkv-mutants.") as tree:
        ignore = shutil.ignore_patterns("target", ".git")
        shutil.copytree(ROOT, tree, ignore=ignore, dirs_exist_ok=True)
        for mutant in mutants():
            if wanted not in mutant["name"]:
                continue
            originals = {}
            for edit in mutant["edits"]:
                path = os.path.join(tree, edit["file"])
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                originals.setdefault(path, text)
                if text.count(edit["search"]) != 1:
                    sys.exit(f"{mutant['name']}: its search text is not once in {edit['file']}")
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text.replace(edit["search"], edit["replace"]))
            failed = run(tree, mutant["tests"])
            for path, text in originals.items():
                with open(path, "w", encoding="utf-8") as file:
                    file.write(text)
            count += 1
            if failed is None:
                survivors.append(mutant["name"])
                print(f"SURVIVES  {mutant['name']}", flush=True)
            else:
                more = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
                print(f"killed    {mutant['name']}  by {failed[0]}{more}", flush=True)
    print(f"{count - len(survivors)} of {count} killed")
    return 1 if survivors or count == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
