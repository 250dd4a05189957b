# SPDX-License-Identifier: Apache-2.0
"""Frames of 64 bytes: what a million costs the host, flat out and at 0.1 and 1 million a second (bursts each 100 us)."""

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge, Ovs
from rig import Outrigger, measure

FRAME = 64
MOST = {"integrity only": 0.05, "encrypted": 0.06}


def main():
    report = Report("host-small", f"CPU seconds of the host per million frames; {ROUNDS} rounds of {SECONDS:g} s in turns. "
                    "The bridge has the same ring guests on TAPs; OVS-DPDK is one switch on one host, :500 with "
                    "pmd-maxsleep=500.")

    def per_mpkt(load):
        return load.per_mpkt

    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True))
        contest.enter("encrypted", lambda: Outrigger("b"))
        contest.enter("Linux bridge", lambda: Bridge(False))
        contest.enter("OVS-DPDK", Ovs)
        for case, pps in (("flat out", 0), ("0.1 Mpps", 100000), ("1 Mpps", 1000000)):
            def once(rig, pps=pps):
                return measure(rig, FRAME, pps, seconds=SECONDS)

            def ovs(sleep, once=once):
                def asleep(rig):
                    rig.sleepy(sleep)
                    return once(rig)
                return asleep

            loads = contest.loads(case, {"integrity only": once, "Linux bridge": once, "OVS-DPDK": ovs(0), "encrypted": once,
                                         "OVS-DPDK:500": ovs(500)})
            for name in ("integrity only", "encrypted"):
                contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "OVS-DPDK", per_mpkt,
                            absolute=None if pps else MOST[name])
                contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "OVS-DPDK:500", per_mpkt)
                contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "Linux bridge", per_mpkt, most=0.1 if pps else None)
                contest.row(f"{case}, {name}: packets per train of an agent", "", loads, name, None, lambda load: load.train)
                contest.row(f"{case}, {name}: appliance", "s/Mpkt", loads, name, None, lambda load: load.appliance_per_mpkt)
                contest.row(f"{case}, {name}: arrived", "Mpps", loads, name, "Linux bridge", lambda load: load.mpps)
    return report
