# SPDX-License-Identifier: Apache-2.0
"""Many VMs, a vNIC and a disk each, on one agent: what each costs, and how they share a load.

The guests are of memory (tests/bench/vms). "One VM" is the same load, whole, on one guest; on two where frames go from
each to its neighbour. The floor of many is what one costs and the doors more (bench_floor doors): kicks and interrupts of
guests that come each by itself, in a process that does nothing else. Options, by environment: VMS, ROUNDS, SECONDS (of
each run).
"""

import os
import subprocess
import time

from bench import Figure, Report, take_turns
from peers import Floor
from vms import BenchWorld, Run, Vms, WorldError, wait_for
from world import API_PORT

VMS = int(os.environ.get("VMS", "256"))
FEWER = VMS // 4
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "1"))
VOLUME = 1 << 20

SHARE = 0.9
CPU_RATIO = 1.2

# Name, words, guests that carry it alone, whether frames are part of it.
# Rates at which each guest has some fifty turns a second, so that one more or less is no unequal share.
LOADS = (
    ("disks: 12800 reads/s of 16 KiB", ("rate=12800", "size=16384"), 1, False),
    ("disks: 20000 reads/s of 4 KiB", ("rate=20000",), 1, False),
    ("vNICs: 40000 frames/s of 1514 B", ("rate=0", "frames=40000"), 2, True),
)
GREEDY = ("disks: 4 KiB reads, qd1 each, as many as go", ("depth=1",))


class Crowd:
    """A world with one host and its VMs, numbered from 0."""

    def __init__(self, world):
        self.world = world
        self.vms = 0
        world.start()
        world.ctl("pool", "create", "main", "--directory", world.volumes)
        world.ctl("network", "create", "blue")

    def grow(self, vms):
        """Seconds that the API took, and those until the agent has the last of them."""
        here = os.path.dirname(os.path.abspath(__file__))
        done = subprocess.run(self.world.net.inside("app") + [
            f"{here}/provision.py", f"{self.world.bracket('app')}:{API_PORT}", f"{self.world.directory}/app/admin",
            str(self.vms), str(vms)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=600)
        if done.returncode:
            raise WorldError(done.stdout.strip())
        self.vms = vms
        start = time.monotonic()
        last = f"{self.world.run_dir('h1')}/d{vms - 1}.sock"
        wait_for(last, lambda: os.path.exists(last), 60, self.world.check)
        return float(done.stdout), time.monotonic() - start

    def words(self, vms, frames=True):
        sockets = self.world.run_dir("h1")
        nics = [f"nics={sockets}/n%u.sock"] if frames else []
        return [f"vms={vms}", f"disks={sockets}/d%u.sock", f"span={VOLUME}", *nics]

    def pids(self):
        return {"host": self.world.agent.pid, "gateway": self.world.appliance.pid}

    def run(self, vms, words, frames):
        # The first frames go to every guest, until the switch has learnt where each is.
        return Run(self.pids(), *self.words(vms, frames), f"seconds={SECONDS}", f"warm={1 if frames else 0.3}", *words)


def own_kib(pid):
    """Resident memory of a process without the guests' that it maps."""
    total, guest = 0, False
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if "-" in line.split(" ", 1)[0]:
                guest = "/memfd:guest" in line
            elif line.startswith("Rss:") and not guest:
                total += int(line.split()[1])
    return total


def memory_row(report, crowd, empty_kib):
    """All guests connected; the memory of each in KiB. What they cost idle is a benchmark of its own, host_idle."""
    agent = crowd.world.agent.pid
    start = time.monotonic()
    guests = Vms(*crowd.words(crowd.vms), "idle=1")
    try:
        guests.expect("ready")
        report.add(f"{crowd.vms} VMs connect at once", time.monotonic() - start, "s")
        time.sleep(1)
        memory = own_kib(agent)
    finally:
        guests.end()
    report.add(f"{crowd.vms} VMs: memory of each VM", (memory - empty_kib) / crowd.vms, "KiB")


def doors_us(floor, doors, words, frames):
    """CPU us of a request of that many guests' doors, of the load's pace."""
    pace = next(word for word in words if word.startswith("frames=" if frames else "rate=")).split("=")[1]
    return floor.doors(doors=doors, signals=2 if frames else 1, pps=pace, burst_us=1000, seconds=SECONDS / 2).host_us


def share(one):
    return one.said["least"] / max(1, one.said["most"])


def doors_floor(results):
    """CPU seconds per GB: what one VM costs, and the doors of many."""
    found = []
    for one, more in zip(results["one"], results["doors"]):
        done = one.said["requests"] + one.said["frames"]
        found.append((one.costs["host"][0] + done * more / 1e6) / (one.said["bytes"] / 1e9))
    return Figure(found)


def load_rows(report, crowd, floor):
    def per_gb(name):
        return lambda one: one.costs[name][0] / (one.said["bytes"] / 1e9)

    for case, words, alone, frames in LOADS:
        results = take_turns({"all": lambda: crowd.run(VMS, words, frames),
                              "one": lambda: crowd.run(alone, (*words, "depth=128"), frames),
                              "doors": lambda: doors_us(floor, VMS, words, frames) - doors_us(floor, alone, words, frames)},
                             ROUNDS, case)
        shares = Figure([share(one) for one in results["all"]])
        report.add(f"{case}, {VMS} VMs: least share/most", shares, "", goal=f">= {SHARE}", met=shares.median >= SHARE)
        for name in ("host", "gateway"):
            mine, one = (Figure([per_gb(name)(run) for run in results[who]]) for who in ("all", "one"))
            goal = name == "host"
            least = doors_floor(results) if goal else None
            report.add(f"{case}, {VMS} VMs: {name} CPU", mine, "s/GB", peer=one, peer_name="one VM",
                       goal=f"<= {CPU_RATIO} x" if goal else "",
                       met=mine.median <= CPU_RATIO * one.median if goal else None, floor=least)
        for what, key in (("kicks", "kicks"), ("interrupts", "calls")):
            mine, one = (Figure([run.said[key] / max(1, run.said["requests"] + run.said["frames"])
                                 for run in results[who]]) for who in ("all", "one"))
            report.add(f"{case}, {VMS} VMs: {what}", mine, "1/frame" if frames else "1/request", peer=one, peer_name="one VM")
        report.add(f"{case}, {VMS} VMs: done", Figure([run.said["bytes"] / run.said["seconds"] / 1e6 for run in
                                                     results["all"]]), "MB/s",
                   peer=Figure([run.said["bytes"] / run.said["seconds"] / 1e6 for run in results["one"]]),
                   peer_name="one VM")
    case, words = GREEDY
    runs = [crowd.run(VMS, words, False) for _ in range(ROUNDS)]
    shares = Figure([share(one) for one in runs])
    report.add(f"{case}, {VMS} VMs: least share/most", shares, "", goal=f">= {SHARE}", met=shares.median >= SHARE)
    report.add(f"{case}, {VMS} VMs: requests/s", Figure([one.iops for one in runs]), "1/s")


def main():
    report = Report("density", f"One agent, integrity only; {ROUNDS} rounds of {SECONDS:g} s in turns. CPU is of the agent, "
                    "the kernel's part included.")
    with BenchWorld("d", ["--integrity-only"]) as world, Floor() as floor:
        crowd = Crowd(world)
        empty = own_kib(world.agent.pid)
        spent = 0
        for vms in (FEWER, VMS):
            api, attach = crowd.grow(vms)
            spent += api
            report.add(f"{vms} VMs: the agent has the last device after the API's last answer", attach, "s")
            memory_row(report, crowd, empty)
        report.add(f"{VMS} VMs made through the API, {4 * VMS} calls", spent, "s")
        load_rows(report, crowd, floor)
    return report
