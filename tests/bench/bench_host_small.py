# SPDX-License-Identifier: Apache-2.0
"""Frames of 64 bytes: what a million costs the host, flat out and at 0.1 and 1 million a second (bursts each 100 us).

Flat out a guest that sleeps while its ring is full sets the size of a burst, and so the price of each wake-up per frame:
rows with rings of 256 descriptors, QEMU's default, and of 1024, its most."""

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge, Floor, Ovs
from rig import Outrigger, Pair, measure

FRAME = 64
BURST_US = 100
RINGS = (256, 1024)
MOST = {"integrity only": 0.05, "encrypted": 0.06}
FLOOR = {"integrity only": "floor:crc", "encrypted": "floor:aes", "packed rings": "floor:crc",
         "rings of 1024": "floor:crc"}


def per_mpkt(load):
    return load.per_mpkt


def rows(contest, case, pps):
    def once(rig):
        return measure(rig, FRAME, pps, BURST_US, seconds=SECONDS)

    def ovs(sleep):
        def asleep(rig):
            rig.sleepy(sleep)
            return once(rig)
        return asleep

    def floor(seal):
        if pps:
            return lambda rig: rig.bursts(seal, frame=FRAME, pps=pps, burst_us=BURST_US, seconds=SECONDS / 2)
        return lambda rig: rig.stream(seal, frame=FRAME, seconds=SECONDS / 2)

    floors = {"floor:crc": floor("crc"), "floor:aes": floor("aes")}
    for ring in () if pps else RINGS:
        floors[f"floor:{ring}"] = lambda rig, ring=ring: rig.bursts("crc", frame=FRAME, ring=ring, seconds=SECONDS / 2)
    loads = contest.loads(case, {"integrity only": once, "Linux bridge": once, "OVS-DPDK": ovs(0), "encrypted": once,
                                 "packed rings": once, "rings of 1024": once, "OVS-DPDK:500": ovs(500),
                                 **floors})

    for name in ("integrity only", "encrypted"):
        contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "OVS-DPDK", per_mpkt,
                    absolute=None if pps else MOST[name], floor=FLOOR[name])
        contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "OVS-DPDK:500", per_mpkt, floor=FLOOR[name])
        contest.row(f"{case}, {name}: host", "s/Mpkt", loads, name, "Linux bridge", per_mpkt, most=0.1 if pps else None,
                    floor=FLOOR[name])
        contest.row(f"{case}, {name}: packets per train of an agent", "", loads, name, None, lambda load: load.train,
                    floor=FLOOR[name])
        contest.row(f"{case}, {name}: appliance", "s/Mpkt", loads, name, None, lambda load: load.appliance_per_mpkt)
        contest.row(f"{case}, {name}: arrived", "Mpps", loads, name, "Linux bridge", lambda load: load.mpps,
                    floor=FLOOR[name])
        contest.row(f"{case}, {name}: lost of what was offered", "%", loads, name, "Linux bridge",
                    lambda load: 100 * load.lost / load.offered)
    for name in ("packed rings", "rings of 1024"):
        contest.row(f"{case}, {name}, integrity only: host", "s/Mpkt", loads, name, "Linux bridge", per_mpkt,
                    most=0.1 if pps else None, floor=FLOOR[name])
    for ring in () if pps else RINGS:
        contest.row(f"{case}, the floor when it is woken for each ringful of {ring}: host", "s/Mpkt", loads, f"floor:{ring}",
                    None, per_mpkt)


def main():
    report = Report("host-small", f"CPU seconds of the host per million frames; {ROUNDS} rounds of {SECONDS:g} s in turns. "
                    "The bridge has the same ring guests on TAPs; OVS-DPDK is one switch on one host, :500 with "
                    "pmd-maxsleep=500. Floor: the frames packed into UDP trains and taken out again, nothing else; paced, by "
                    "processes that are woken for the same bursts.")
    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True, pair_words=((), ("packed",), ("rx=1024", "tx=1024"))))
        contest.enter("packed rings", lambda: Pair(contest.rigs["integrity only"], 1))
        contest.enter("rings of 1024", lambda: Pair(contest.rigs["integrity only"], 2))
        contest.enter("encrypted", lambda: Outrigger("b"))
        contest.enter("Linux bridge", lambda: Bridge(False))
        contest.enter("OVS-DPDK", Ovs)
        contest.enter("floor", Floor)
        for case, pps in (("flat out", 0), ("0.1 Mpps", 100000), ("1 Mpps", 1000000)):
            rows(contest, case, pps)
    return report
