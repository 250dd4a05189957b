# SPDX-License-Identifier: Apache-2.0
"""Runs the programs of tests/world as test cases."""

import json
import os
import re
import signal
import subprocess
import sys

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
sys.path.insert(0, f"{TOP}/tests/world")
from proc import child  # noqa: E402


def run(command, link):
    """Runs a program of tests/world with its output in our log; it ends when we are told to."""
    process = child(["/usr/bin/python3", *command], cwd=TOP, env={**os.environ, "LINK": link, "KEEP": ""}, stdout=subprocess.PIPE,
                    text=True)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    # Who types ^C means the program too, which dies with us: it is let take its world down.
    signal.signal(signal.SIGINT, lambda *_: None)
    output = ""
    for line in process.stdout:
        print(f"  {line}", end="", flush=True)
        output += line
    return process.wait(), output


def main(link):
    directory = f"{TOP}/build/func/run_{link}"
    if os.path.exists(f"{directory}.json"):
        os.unlink(f"{directory}.json")
    status, _ = run(["tests/world/run.py", directory], link)
    failed = 0
    if os.path.exists(f"{directory}.json"):
        with open(f"{directory}.json") as file:
            for row in json.load(file)["checks"]:
                name = re.sub(r"\s+", " ", row["name"])
                print(f"ok {name}" if row["ok"] else f"FAIL {name}: see the log")
                failed += not row["ok"]
    if status and not failed:
        print(f"FAIL run: ended with {status}")
    sys.exit(1 if status else 0)


def kill(link, rounds):
    status, output = run(["tests/world/kill.py", str(rounds), f"{TOP}/build/func/kill_{link}"], link)
    found = re.search(r"^test-kill: (\d+) passed, (\d+) failed", output, re.M)
    passed = int(found.group(1)) if found else 0
    for number in range(1, rounds + 1):
        print(f"ok round {number}" if number <= passed else f"FAIL round {number}: see the log")
    if status and passed == rounds:
        print(f"FAIL kill: ended with {status}")
    sys.exit(1 if status else 0)
