# SPDX-License-Identifier: Apache-2.0
"""A disk over RDMA beside the same disk over UDP, and beside perftest, in the same emulated guests (tests/func/test_rdma_block.py).

disk_guest writes and reads 4 to 64 KiB without pause. The agent runs with UDP alone, then with RDMA, in turns. Then bench_vms
reads and writes another disk 64 KiB at a time, in turns with perftest's READs and WRITEs of that size, and 4 KiB one at a time.
Counts are exact; of rates only ratios say anything, as the guests are emulated and rdma_rxe is RDMA in software. Options, by
environment: ROUNDS, SECONDS (of each run).
"""

import json
import os
import sys
import time

from bench import Figure, Report, take_turns

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../func")
sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../world")
import bench_rdma
import test_rdma
import test_rdma_block as stand_of

ROUNDS = int(os.environ.get("ROUNDS", "2"))
SECONDS = int(os.environ.get("SECONDS", "4"))
BULK = 16 << 20  # bytes of the disk for it
PIECE, DEPTH = 65536, 16
# One-way trips of a read: request, WRITE, the READ that closes it (there and back), completion.
STEPS = 5


def restart_agent(stand, options, ready):
    connects = stand.vm()["connects"]
    stand.host.must("killall outrigger-agent; while pidof outrigger-agent; do sleep 0.1; done", test_rdma.PATIENCE)
    stand.start_agent(options)
    stand.wait("the session's paths", ready)
    stand.wait("the VM is connected", lambda: stand.vm()["connects"] > connects)
    stand.goes_on()


def sample(stand):
    """Counters of the disk, of the agent's RDMA ports (agent_*) and of the appliance's (appliance_*)."""
    ports = {}
    for one in json.loads(stand.ctl("counters", "-o", "json"))["counters"]:
        name = "appliance_" + one["name"].removeprefix("rdma_")
        if one["name"].startswith("rdma_"):
            ports[name] = ports.get(name, 0) + int(one.get("value", 0))
    return {**stand.counters(), **ports, **{f"agent_{name}": value for name, value in stand.rdma_counters().items()}}


def run(stand):
    """So many seconds of I/O: requests, CPU of the agent, and what was counted meanwhile."""
    before, done, ticks, began = sample(stand), stand.done(), bench_rdma.ticks(stand), time.monotonic()
    time.sleep(SECONDS)
    requests, seconds = stand.done() - done, time.monotonic() - began
    user, system = ((b - a) / 100 for a, b in zip(ticks, bench_rdma.ticks(stand)))
    # Counters come about once a second: what they count is divided by the requests that they count.
    after = sample(stand)
    counted = {name: after[name] - before.get(name, 0) for name in after}
    return {"iops": requests / seconds, "user": user / requests * 1e6, "all": (user + system) / requests * 1e6,
            "counted": counted}


def over_udp(stand):
    restart_agent(stand, "", lambda: stand.paths().get("10.9.0.1:4793"))
    return run(stand)


def over_rdma(stand):
    restart_agent(stand, bench_rdma.RDMA_OPTIONS, stand.rdma_up)
    stand.by_key()
    return run(stand)


def bulk(stand, operation, size, depth):
    """bench_vms on a disk of its own: what it says."""
    out = stand.host.must(f"bench_vms disks=/run/og/bulk.sock vms=1 op={operation} size={size} depth={depth} span={BULK} "
                          f"warm=1 seconds={SECONDS}", test_rdma.PATIENCE)
    said = json.loads(out.strip().splitlines()[-1])
    return {"MB/s": said["bytes"] / said["seconds"] / 1e6, "us": said["p50_us"]}


def beside_perftest(report, stand):
    """The same device, pieces and guests, in turns: the appliance READs what the VM writes, and WRITEs what it reads."""
    stand.ctl("volume", "create", "bulk", "--pool", "pool0", "--size", str(BULK))
    stand.ctl("vdisk", "create", "bulk", "--profile", "p", "--volume", "bulk")
    stand.wait("the disk's socket", lambda: stand.host.run("test -S /run/og/bulk.sock").ok)
    stand.host.must("kill -STOP $(pidof disk_guest)")
    perftest, bandwidth = bench_rdma.perftest, bench_rdma.bandwidth
    runs = take_turns({
        "write": lambda: bulk(stand, "write", PIECE, DEPTH)["MB/s"],
        "ib_read_bw": lambda: bandwidth(stand, "ib_read_bw", "-n", "300", "-s", str(PIECE)),
        "read": lambda: bulk(stand, "read", PIECE, DEPTH)["MB/s"],
        "ib_write_bw": lambda: bandwidth(stand, "ib_write_bw", "-n", "300", "-s", str(PIECE)),
        "one read": lambda: bulk(stand, "read", 4096, 1)["us"],
        "write latency": lambda: perftest(stand, "ib_write_lat", 4, "-n", "200", "-s", "64"),
    }, ROUNDS)
    figure = {name: Figure(values) for name, values in runs.items()}
    for ours, peer, what in (("write", "ib_read_bw", "writes of 64 KiB"), ("read", "ib_write_bw", "reads of 64 KiB")):
        report.add(what, figure[ours], "MB/s", peer=figure[peer], peer_name=peer, goal="ratio >= 0.8",
                   met=figure[ours].median >= 0.8 * figure[peer].median)
    steps = Figure([STEPS * value for value in figure["write latency"].values])
    report.add("a read of 4 KiB, one at a time", figure["one read"], "us", peer=steps, peer_name=f"{STEPS} x ib_write_lat",
               goal="ratio <= 1.5", met=figure["one read"].median <= 1.5 * steps.median)


def main():
    report = Report("rdma_block", "Emulated guests, RDMA in software: counts, and ratios of one run.")
    with stand_of.world() as stand:
        stand_of.setup(stand)
        stand.goes_on()
        runs = take_turns({"udp": lambda: over_udp(stand), "rdma": lambda: over_rdma(stand)}, ROUNDS)
        for key, what, unit in (("iops", "requests of 4 to 64 KiB", "/s"), ("user", "agent CPU, user", "us/request"),
                                ("all", "agent CPU, all", "us/request")):
            rdma, udp = (Figure([r[key] for r in runs[link]]) for link in ("rdma", "udp"))
            report.add(what, rdma, unit, peer=udp, peer_name="UDP link")
        counted = runs["rdma"][-1]["counted"]
        agent, appliance = max(1, counted["host_completions"]), max(1, counted["tunnel_completions"])
        for name in stand_of.COPIED:
            side, _, what = name.partition("_")
            per = agent if side == "host" else appliance
            report.add(f"{'agent' if side == 'host' else 'appliance'}: {what.replace('_', ' ')} per request",
                       counted[name] / per, "B", goal="0", met=counted[name] == 0)
        report.add("requests by key, of all", counted["host_requests_keyed"] / agent, "")
        for side, per in (("agent", agent), ("appliance", appliance)):
            report.add(f"{side}: messages sent per request",
                       (counted.get(f"{side}_tx_inline", 0) + counted.get(f"{side}_tx_copied", 0)) / per, "")
            for name in ("moves", "reads", "writes", "tx_doorbells"):
                report.add(f"{side}: {name.replace('_', ' ')} per request", counted.get(f"{side}_{name}", 0) / per, "")
        beside_perftest(report, stand)
    return report
