# SPDX-License-Identifier: Apache-2.0
"""Round trip of a 64-byte frame from guest to guest over two hosts, one at a time; idle, and beside a load of another
pair of guests on the same hosts."""

import time

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge
from rig import FULL_FRAME, Outrigger, RigError

GAP_US = 1000
LOAD_PPS = round(1e9 / 8 / FULL_FRAME)  # 1 Gb/s
MORE_US = {"asleep": 90, "appliance polls": 25}


def ping(loaded):
    def once(rig):
        if loaded:
            rig.guests[2].tell(f"send {rig.full_frame} {LOAD_PPS} 100")
        rig.guests[0].tell(f"ping {GAP_US}")
        try:
            time.sleep(0.3)
            rig.guests[0].tell("stats")
            time.sleep(SECONDS)
            stats = rig.guests[0].tell("stats")
        finally:
            rig.guests[0].tell("stop")
            rig.guests[2].tell("stop")
            time.sleep(0.1)
        if not stats["rtt_n"]:
            raise RigError(f"{rig.name}: no echo")
        return stats
    return once


def contest_of(report, name, options):
    with Contest(report) as contest:
        contest.enter(name, lambda: Outrigger("a", pairs=2, options=options))
        contest.enter("bridge + VXLAN", lambda: Bridge(True, pairs=2))
        for case, loaded in (("idle", False), ("beside 1 Gb/s", True)):
            loads = contest.loads(case, {name: ping(loaded), "bridge + VXLAN": ping(loaded)})
            for quantile in ("p50", "p99"):
                def pick(stats, key=f"rtt_{quantile}"):
                    return stats[key]
                contest.row(f"{case}, {name}: round trip, {quantile}", "us", loads, name, "bridge + VXLAN", pick)
                if quantile == "p50":
                    more = [mine[f"rtt_{quantile}"] - theirs[f"rtt_{quantile}"]
                            for mine, theirs in zip(loads[name], loads["bridge + VXLAN"])]
                    contest.row(f"{case}, {name}: more than VXLAN, {quantile}", "us", {"more": more}, "more", None,
                                lambda value: value, absolute=MORE_US[name])


def main():
    report = Report("latency", f"Encrypted; one ping each {GAP_US} us; {ROUNDS} rounds of {SECONDS:g} s in turns; the "
                    "bridge has the same ring guests on TAPs. Agents sleep in both cases.")
    contest_of(report, "asleep", ())
    contest_of(report, "appliance polls", ("--busy-poll",))
    return report
