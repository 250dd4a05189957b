# SPDX-License-Identifier: Apache-2.0
"""Guests of memory (tests/bench/vms) under a load, and what that cost: of each process CPU time and wake-ups.

The worlds are those of tests/world: a host, a switch, an appliance in namespaces, real daemons.
"""

import json
import os
import select
import struct
import subprocess
import sys

from bench import BUILD, cpu_s, softirq_pids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../world"))
from proc import WorldError, wait_for  # noqa: E402
from world import World  # noqa: E402

STAMP = 4096
RAM = "/dev/shm"


class BenchWorld(World):
    """A world of one host. Several live side by side in one program, each with a letter of its own. `options` are
    the appliance's."""

    def __init__(self, letter, options=(), mtu=1500):
        super().__init__(f"build/bench/world-{letter}", hosts=("h1",), mtu=mtu, tag=letter, appliance_options=options)
        self.volumes = f"{RAM}/{self.prefix}"
        self.undo.append(self.remove_volumes)

    def remove_volumes(self):
        subprocess.run(["rm", "-rf", self.volumes], check=False)

    @property
    def agent(self):
        return self.agents["h1"]

    def socket(self, noun, name):
        return wait_for(f"{name} at h1", lambda: self.attached(noun, name, "h1"), 30, self.check)


def fill(path, size):
    """Each STAMP bytes begin with their number, as the guests expect it (verify=1)."""
    piece = 256
    with open(path, "r+b" if os.path.exists(path) else "w+b") as file:
        for first in range(0, size // STAMP, piece):
            data = bytearray(piece * STAMP)
            for i in range(piece):
                struct.pack_into("<Q", data, i * STAMP, first + i)
            file.write(data)


def wakeups(pid):
    """Times that the threads of a process went to sleep of themselves."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{task}/status") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
        except (FileNotFoundError, ProcessLookupError):
            pass  # a thread that has just ended
    return total


def pin(pid, cpus):
    """All threads of a process to these processors."""
    for task in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setaffinity(int(task), cpus)
        except OSError:
            pass  # a thread of the kernel's, or one that has just ended


class Vms:
    """bench_vms under way; its processes' costs between "start" and the figures."""

    def __init__(self, *words, cpus=None):
        self.process = subprocess.Popen([f"{BUILD}/bin/bench_vms", *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        if cpus:
            pin(self.process.pid, cpus)

    def line(self, timeout=90):
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise WorldError("bench_vms: no word")
        line = self.process.stdout.readline().strip()
        if not line:
            raise WorldError(f"bench_vms ended with {self.process.wait(10)}")
        return line

    def expect(self, word):
        line = self.line()
        if line != word:
            raise WorldError(f"bench_vms: {line} where {word} was to come")

    def end(self):
        """The guests leave in order."""
        self.process.stdin.close()
        self.process.wait(30)


class Costs:
    """What processes cost between two moments: {name: pid}."""

    def __init__(self, pids):
        self.pids = pids
        self.before = self.read()

    def read(self):
        found = {name: (cpu_s([pid]), wakeups(pid)) for name, pid in self.pids.items()}
        found["softirq"] = (cpu_s(softirq_pids()), 0)
        return found

    def since(self):
        """{name: (CPU seconds, wake-ups)}"""
        after = self.read()
        return {name: tuple(b - a for a, b in zip(self.before[name], after[name])) for name in after}


class Run:
    """One load on one back-end: what bench_vms said, and of `pids` what they cost meanwhile."""

    def __init__(self, pids, *words, cpus=None):
        vms = Vms(*words, cpus=cpus)
        try:
            vms.expect("ready")
            vms.expect("start")
            costs = Costs(pids)
            self.said = json.loads(vms.line())
            self.costs = costs.since()
        finally:
            vms.end()
        if self.said["errors"]:
            raise WorldError(f"{self.said['errors']} requests failed or came back with other bytes: {' '.join(words)}")
        self.ios = self.said["requests"]
        self.iops = self.ios / self.said["seconds"]

    def us(self, name):
        """CPU microseconds per request of one process."""
        return 1e6 * self.costs[name][0] / max(1, self.ios)

    def wakes(self, name):
        return self.costs[name][1] / max(1, self.ios)
