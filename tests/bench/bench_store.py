# SPDX-License-Identifier: Apache-2.0
"""Disks: guest -> agent -> appliance -> a file in memory, beside the storage clients that run on hosts today.

Peers, from Debian's packages: qemu-storage-daemon as the guests' back-end, chained to nbdkit (NBD over TCP) and to tgt
(iSCSI), through the same wire, to a file on the same tmpfs; and for long reads qemu-storage-daemon with the file beside
it. Same guests (tests/bench/vms), in turns. CPU of the host is that of the agent or of qemu-storage-daemon, kernel
included; the gateway's is that of the appliance, nbdkit or tgtd. The floor (tests/bench/floor) is two processes with
requests and answers in UDP trains between their memories, guest and agent in one; for one request at a time a token of
the same size through guest, agent and appliance that sleep and do nothing else. Options, by environment: ROUNDS, SECONDS
(of each run).
"""

import os

from bench import Figure, Report, take_turns
from chain import Chain
from peers import Floor
from vms import BenchWorld, Run, fill

ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "0.5"))
VOLUME = 256 << 20

# Host CPU us per request, at most; requests a second of the peers' best, at least.
HOST_US = 2.0
HOST_US_SINGLE = 3.5
IOPS_RATIO = 4.0

# Name, words for the guest, goal of host CPU.
CHAIN = (
    ("4 KiB read, qd32", ("depth=32",), HOST_US),
    ("4 KiB write, qd32", ("depth=32", "op=write"), HOST_US),
    ("4 KiB read, qd32, 2 us of work each", ("depth=32", "think=2000"), HOST_US_SINGLE),
    ("4 KiB read, qd32, 5 us of work each", ("depth=32", "think=5000"), HOST_US_SINGLE),
    ("4 KiB read, qd1", ("depth=1",), None),
    ("4 KiB write, qd1", ("depth=1", "op=write"), None),
    ("4 KiB read, qd1, guest polls", ("depth=1", "poll=1"), None),
)
VARIANTS = ("encrypted", "jumbo fabric", "packed ring")
# What the floor does for the same load; of a guest that works between its requests, what they would cost all at once. One
# request at a time is a matter of waking up: guest, agent and appliance, each on its own.
FLOORS = {
    "4 KiB read, qd32": {"depth": 32}, "4 KiB write, qd32": {"depth": 32, "write": 1},
    "4 KiB read, qd32, 2 us of work each": {"depth": 32}, "4 KiB read, qd32, 5 us of work each": {"depth": 32},
    "4 KiB read, qd1": {"poll": 0}, "4 KiB write, qd1": {"poll": 0}, "4 KiB read, qd1, guest polls": {"poll": 1},
    "128 KiB reads in order, qd8": {"depth": 8, "size": 131072},
}
SEQUENTIAL = ("128 KiB reads in order, qd8", ("depth=8", "size=131072", "seq=1"))


class Ours:
    """A world with one disk."""

    def __init__(self, world):
        self.world = world
        world.start()
        world.ctl("pool", "create", "main", "--directory", world.volumes)
        world.ctl("profile", "create", "vm", "--host", "h1")
        world.ctl("volume", "create", "vol", "--pool", "main", "--size", str(VOLUME))
        world.ctl("vdisk", "create", "disk", "--profile", "vm", "--volume", "vol")
        self.socket = world.socket("vdisk", "disk")
        fill(f"{world.volumes}/volumes/vol.raw", VOLUME)

    def pids(self):
        return {"host": self.world.agent.pid, "gateway": self.world.appliance.pid}


class Packed:
    """The same disk, by a guest that has negotiated packed rings."""

    def __init__(self, ours):
        self.socket = ours.socket
        self.pids = ours.pids
        self.words = ("packed=1",)


def run(backend, words):
    return Run(backend.pids(), f"disks={backend.socket}", f"span={VOLUME}", "verify=1", "warm=0.2",
               f"seconds={SECONDS}", *words, *getattr(backend, "words", ()))


def figure(runs, value):
    return Figure([value(one) for one in runs])


def total_us(one):
    return sum(one.us(name) for name in one.costs)


def floor_figure(results, value):
    return figure(results["floor"], value) if "floor" in results else None


def chain_rows(report, case, results, host_goal):
    """The rows of one load; results: {contestant: [Run]}."""
    ours = results["ours"]
    peers = {name: runs for name, runs in results.items() if not name.startswith(("ours", "floor"))}
    least_us, least_iops = (floor_figure(results, lambda one, key=key: getattr(one, key)) for key in ("host_us", "iops"))
    best = max(peers, key=lambda name: figure(peers[name], lambda one: one.iops).median)
    alone = "qd1" in case
    mine, theirs_iops = figure(ours, lambda one: one.iops), figure(peers[best], lambda one: one.iops)
    goal = None if alone or host_goal != HOST_US else f">= {IOPS_RATIO:g} x"
    report.add(f"{case}: requests/s", mine, "1/s", peer=theirs_iops, peer_name=best, goal=goal or "",
               met=mine.median >= IOPS_RATIO * theirs_iops.median if goal else None, floor=least_iops)
    for name in peers:
        mine = figure(ours, lambda one: one.us("host"))
        theirs = figure(peers[name], lambda one: one.us("host"))
        report.add(f"{case}: host CPU, beside {name}", mine, "us", peer=theirs, peer_name=name,
                   goal=f"<= {host_goal:g}" if host_goal else "", met=mine.median <= host_goal if host_goal else None,
                   floor=least_us)
    for name in VARIANTS:
        report.add(f"{case}: host CPU, {name}", figure(results[f"ours, {name}"], lambda one: one.us("host")), "us",
                   peer=figure(peers[best], lambda one: one.us("host")), peer_name=best, floor=least_us)
        report.add(f"{case}: requests/s, {name}", figure(results[f"ours, {name}"], lambda one: one.iops), "1/s", peer=theirs_iops,
                   peer_name=best, floor=least_iops)
    report.add(f"{case}: gateway CPU", figure(ours, lambda one: one.us("gateway")), "us",
               peer=figure(peers[best], lambda one: one.us("gateway")), peer_name=best,
               floor=None if alone else floor_figure(results, lambda one: one.gateway_us))
    report.add(f"{case}: host, gateway, softirq", figure(ours, total_us), "us", peer=figure(peers[best], total_us),
               peer_name=best)
    report.add(f"{case}: host wake-ups", figure(ours, lambda one: one.wakes("host")), "1/request",
               peer=figure(peers[best], lambda one: one.wakes("host")), peer_name=best)
    if not alone:
        report.add(f"{case}: requests per interrupt", figure(ours, lambda one: one.ios / max(1, one.said["calls"])), "",
                   peer=figure(peers[best], lambda one: one.ios / max(1, one.said["calls"])), peer_name=best)
        return
    for part in ("p50", "p99"):
        mine, theirs = (figure(runs, lambda one: one.said[f"{part}_us"]) for runs in (ours, peers[best]))
        report.add(f"{case}: {part}", mine, "us", peer=theirs, peer_name=best, goal="<= peer" if part == "p50" else "",
                   met=mine.median <= theirs.median if part == "p50" else None,
                   floor=floor_figure(results, lambda one: getattr(one, f"{part}_us")))
        report.add(f"{case}: {part}, encrypted", figure(results["ours, encrypted"], lambda one: one.said[f"{part}_us"]), "us",
                   peer=theirs, peer_name=best)


def sequential_rows(report, case, results):
    def gbps(one):
        return one.said["bytes"] / one.said["seconds"] / 1e9

    def per_gb(one):
        return one.costs["host"][0] / (one.said["bytes"] / 1e9)

    peer = "qemu-storage-daemon, local"
    theirs = figure(results[peer], gbps)
    for name in ("ours", *(f"ours, {name}" for name in VARIANTS)):
        mine = figure(results[name], gbps)
        case_name = case + name[len("ours"):]
        report.add(f"{case_name}: throughput", mine, "GB/s", peer=theirs, peer_name=peer, goal=">= peer",
                   met=mine.median >= theirs.median, floor=floor_figure(results, lambda one: one.gbps))
        report.add(f"{case_name}: host CPU", figure(results[name], per_gb), "s/GB", peer=figure(results[peer], per_gb),
                   peer_name=peer)
    report.add(f"{case}: throughput, beside the chain", figure(results["ours"], gbps), "GB/s",
               peer=figure(results["nbdkit"], gbps), peer_name="nbdkit")


def floor_of(floor, case):
    if case not in FLOORS:
        return {}
    options = FLOORS[case]
    if "poll" in options:
        return {"floor": lambda: floor.relay(seconds=SECONDS / 2, **options)}
    return {"floor": lambda: floor.store(seconds=SECONDS / 2, **options)}


def main():
    report = Report("store", f"A file of {VOLUME >> 20} MiB on tmpfs; {ROUNDS} rounds of {SECONDS:g} s in turns. "
                    "Rows are of --integrity-only, since the peers are in the clear, unless they say encrypted.")
    with BenchWorld("i", ["--integrity-only"]) as clear, BenchWorld("e") as sealed, \
            BenchWorld("j", ["--integrity-only"], mtu=9000) as jumbo, Floor() as floor:
        ours = Ours(clear)
        file = f"{clear.volumes}/peer.raw"
        fill(file, VOLUME)
        contestants = {"ours": ours, "ours, encrypted": Ours(sealed), "ours, jumbo fabric": Ours(jumbo),
                        "ours, packed ring": Packed(ours),
                       "nbdkit": Chain(clear, "nbd", file),
                       "tgt": Chain(clear, "iscsi", file), "qemu-storage-daemon, local": Chain(clear, "local", file)}
        remote = [name for name in contestants if not name.endswith("local")]
        for case, words, goal in CHAIN:
            results = take_turns({name: lambda name=name: run(contestants[name], words) for name in remote}
                                 | floor_of(floor, case), ROUNDS, case)
            chain_rows(report, case, results, goal)
        case, words = SEQUENTIAL
        results = take_turns({name: lambda name=name: run(contestants[name], words) for name in contestants
                              if name != "tgt"} | floor_of(floor, case), ROUNDS, case)
        sequential_rows(report, case, results)
    return report
