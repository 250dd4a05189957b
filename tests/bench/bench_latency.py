# SPDX-License-Identifier: Apache-2.0
"""Round trip of a 64-byte frame from guest to guest over two hosts, one at a time; idle, and beside a load of another
pair of guests on the same hosts; and the part of each hop, heard on the wires (tests/bench/hops).

The floor is a token that goes the same way through processes that wake up, pass it on and do nothing else (bench_floor
relay): guest, agent, appliance, agent, guest and back, by eventfd and the kernel's UDP. They sleep or poll as ours do, and
beside a load there is one of processes that are woken for the same bursts.
"""

import contextlib
import json
import subprocess
import time

from bench import Report, cpu_s, program
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge, Floor
from rig import ADDRESS, FULL_FRAME, POLL, Outrigger, RigError

GAP_US = 1000
FLOORS = {"asleep": {}, "agents poll": {"spin_us": 50}, "appliance polls": {"busy": 1}}
LOAD_PPS = round(1e9 / 8 / FULL_FRAME)  # 1 Gb/s
ASLEEP, POLLING = 90, 25  # us more than VXLAN, at most
PARTS = (("sender", "the sender's guest and agent"), ("wire_in", "the wire to the appliance"), ("appliance", "appliance"),
         ("wire_out", "the wire from the appliance"), ("receiver", "the receiver's agent and guest"))


def ping(loaded):
    def once(rig):
        if loaded:
            rig.guests[2].tell(f"send {rig.full_frame} {LOAD_PPS} 100")
        rig.guests[0].tell(f"ping {GAP_US}")
        try:
            time.sleep(0.2)
            rig.guests[0].tell("stats")
            spent, start = cpu_s(rig.pids("host")), time.monotonic()
            time.sleep(SECONDS)
            spent, elapsed = cpu_s(rig.pids("host")) - spent, time.monotonic() - start
            stats = rig.guests[0].tell("stats")
        finally:
            rig.guests[0].tell("stop")
            rig.guests[2].tell("stop")
            time.sleep(0.1)
        if not stats["rtt_n"]:
            raise RigError(f"{rig.name}: no echo")
        return {**stats, "cpu": 100 * spent / elapsed}
    return once


def floor(loaded, options):
    def once(rig):
        with rig.beside(LOAD_PPS) if loaded else contextlib.nullcontext():
            figures = rig.relay(hosts=2, gap_us=GAP_US, size=64, seconds=SECONDS, **options)
        return {"rtt_p50": figures.p50_us, "rtt_p99": figures.p99_us}
    return once


def hops(rig):
    """The medians of the parts of the way there."""
    prefix = rig.net.prefix
    rig.guests[0].tell(f"ping {GAP_US}")
    try:
        time.sleep(0.2)
        done = subprocess.run([program("bench_hops"), str(SECONDS), ADDRESS[0][0],
                               *(f"{prefix}-{node}/fab0" for node in ("h1", "app", "h2"))], stdout=subprocess.PIPE,
                              text=True, timeout=60, check=True)
    finally:
        rig.guests[0].tell("stop")
        time.sleep(0.1)
    figures = json.loads(done.stdout)
    if not figures["pings"]:
        raise RigError(f"{rig.name}: no ping was heard on the wires")
    return figures


def hop_rows(contest, name):
    loads = contest.loads(f"{name}: hops", {name: hops})
    for part, words in PARTS:
        contest.row(f"idle, {name}: one way, {words}", "us", loads, name, None, lambda figures, part=part: figures[part])


def rows(contest, names):
    """names: {contestant: (how much more than VXLAN it may be, its floor)}"""
    for case, loaded in (("idle", False), ("beside 1 Gb/s", True)):
        loads = contest.loads(case, {**dict.fromkeys((*names, "bridge + VXLAN"), ping(loaded)),
                                     **{f"floor:{who}": floor(loaded, FLOORS[who]) for _, who in names.values()}})
        for name, (most, who) in names.items():
            least = f"floor:{who}"
            for quantile in ("p50", "p99"):
                def pick(stats, key=f"rtt_{quantile}"):
                    return stats[key]
                contest.row(f"{case}, {name}: round trip, {quantile}", "us", loads, name, "bridge + VXLAN", pick, floor=least)
            more = {one: [mine["rtt_p50"] - theirs["rtt_p50"] for mine, theirs in zip(loads[one], loads["bridge + VXLAN"])]
                    for one in (name, least)}
            contest.row(f"{case}, {name}: more than VXLAN, p50", "us", more, name, None, lambda value: value,
                        absolute=most, floor=least)
            contest.row(f"{case}, {name}: both agents", "% of a core", loads, name, None, lambda stats: stats["cpu"])


def main():
    report = Report("latency", f"One ping each {GAP_US} us; {ROUNDS} rounds of {SECONDS:g} s in turns; the bridge has the "
                    "same ring guests on TAPs. Agents poll: --poll-us 50, each bound to a processor that the others use "
                    "too; appliance polls: --busy-poll.")
    two = ((), ())
    with Contest(report) as contest:
        contest.enter("asleep", lambda: Outrigger("a", clear=True, pair_words=two))
        contest.enter("asleep, encrypted", lambda: Outrigger("b", pair_words=two))
        contest.enter("agents poll", lambda: Outrigger("c", clear=True, pair_words=two, agent_words=POLL))
        contest.enter("bridge + VXLAN", lambda: Bridge(True, pairs=2))
        contest.enter("floor", Floor)
        rows(contest, {"asleep": (ASLEEP, "asleep"), "asleep, encrypted": (ASLEEP, "asleep"),
                       "agents poll": (POLLING, "agents poll")})
        for name in ("asleep", "agents poll"):
            hop_rows(contest, name)
    with Contest(report) as contest:
        contest.enter("appliance polls", lambda: Outrigger("a", clear=True, pair_words=two, options=("--busy-poll",)))
        contest.enter("bridge + VXLAN", lambda: Bridge(True, pairs=2))
        contest.enter("floor", Floor)
        rows(contest, {"appliance polls": (POLLING, "appliance polls")})
        hop_rows(contest, "appliance polls")
    return report
