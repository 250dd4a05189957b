# SPDX-License-Identifier: Apache-2.0
"""What a host pays for bulk traffic: guest TCP with TSO between two hosts, flat out and paced.

Ours: ring guests, 64 KiB super-frames. Peers: the kernel's UDP with GSO and GRO as the limit; bridge + VXLAN with real
Linux stacks, of which the guests' own cost (the same stacks on a straight veth pair) is taken off; OVS-DPDK on one
host in both modes, with ring guests as ours. What TAPs cost a bridge's host is in the row "ring guests on TAPs".
The floor (tests/bench/floor), of what is flat out, is the kernel's UDP with one pass over the bytes on each side: CRC32C
and copy for the rows of integrity alone, AES-128-GCM for the encrypted ones. Of what is paced it is the same by processes
that sleep and are woken for the same bursts (bench_floor bursts).
"""

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge, Floor, Ovs, Udp, VethTcp
from rig import FULL_FRAME, Outrigger, Pair, RigError, measure

GBPS = 1e9 / 8 / FULL_FRAME  # super-frames a second
JUMBO = {"chunk": 8224, "train": 7}
FLOOR = {"integrity only": "floor:crc", "encrypted": "floor:aes", "packed rings": "floor:crc"}


def per_gb(load):
    return load["per_gb"] if isinstance(load, dict) else load.per_gb


def ours(pps=0):
    return lambda rig: measure(rig, 0, pps, seconds=SECONDS)


def ovs(sleep, pps=0):
    def once(rig):
        rig.sleepy(sleep)
        return measure(rig, 0, pps, seconds=SECONDS)
    return once


def floors(**options):
    return {f"floor:{seal}": lambda rig, seal=seal: rig.stream(seal, seconds=SECONDS / 2, **options)
            for seal in ("crc", "aes")} | {"floor:woken": lambda rig: rig.bursts("crc", seconds=SECONDS / 2, **options)}


def paced_floors(pps):
    return {f"floor:{seal}": lambda rig, seal=seal: rig.bursts(seal, pps=pps, seconds=SECONDS / 2) for seal in ("crc", "aes")}


def host_only(contest, case, loads):
    """VXLAN's CPU without the guests', round by round. On a machine that is too busy the difference drowns."""
    pairs = list(zip(loads["veth and VXLAN"], loads["veth direct"]))
    found = [{"per_gb": vxlan["per_gb"] - direct["per_gb"]} for vxlan, direct in pairs]
    loads["bridge + VXLAN"] = [one for one in found if one["per_gb"] > 0]
    if pairs and not loads["bridge + VXLAN"]:
        contest.broken["bridge + VXLAN"] = RigError(f"{case}: it costs no more than a straight veth pair: too much noise")


def parts(contest, case, loads):
    """Rate, appliance and sum of ours: moving work is not saving it."""
    for name in ("integrity only", "encrypted"):
        floor = FLOOR[name] if FLOOR[name] in loads else None
        contest.row(f"{case}, {name}: rate", "Gb/s", loads, name, None, lambda load: load.gbps, floor=floor)
        contest.row(f"{case}, {name}: packets per train of an agent", "", loads, name, None, lambda load: load.train,
                    floor=floor)
        contest.row(f"{case}, {name}: appliance", "s/GB", loads, name, None, lambda load: load.appliance_per_gb)
        contest.row(f"{case}, {name}: host + appliance", "s/GB", loads, name, None,
                    lambda load: load.per_gb + load.appliance_per_gb)


def flat_out(contest, case, limits, vxlan_limits, **options):
    """limits, vxlan_limits: {contestant: the ratio that is to be reached}."""
    loads = contest.loads(case, {
        **dict.fromkeys(limits, ours()), "kernel UDP": lambda rig: rig.measure(seconds=SECONDS, **options),
        **floors(**options), "veth and VXLAN": lambda rig: rig.measure(seconds=SECONDS),
        "veth direct": lambda rig: rig.measure(seconds=SECONDS),
    })
    host_only(contest, case, loads)
    for name, limit in limits.items():
        contest.row(f"{case}, {name}: host", "s/GB", loads, name, "kernel UDP", per_gb, limit, floor=FLOOR[name])
    for name, limit in vxlan_limits.items():
        contest.row(f"{case}, {name}: host", "s/GB", loads, name, "bridge + VXLAN", per_gb, limit, floor=FLOOR[name])
    contest.row(f"{case}, the floor when it is woken for what a window of 1 MiB lets go: host", "s/GB", loads, "floor:woken",
                "kernel UDP", per_gb)
    contest.row(f"{case}, kernel UDP: rate", "Gb/s", loads, "kernel UDP", None, lambda load: load["gbps"])
    contest.row(f"{case}, VXLAN: rate", "Gb/s", loads, "veth and VXLAN", None, lambda load: load["gbps"])
    parts(contest, case, loads)


def others_flat_out(contest):
    loads = contest.loads("flat out", {"encrypted": ours(), "TAPs and VXLAN": ours(), "OVS-DPDK": ovs(0)})
    contest.row("flat out, encrypted: host", "s/GB", loads, "encrypted", "TAPs and VXLAN", per_gb)
    contest.row("flat out, encrypted: host", "s/GB", loads, "encrypted", "OVS-DPDK", per_gb)
    for name in ("TAPs and VXLAN", "OVS-DPDK"):
        contest.row(f"flat out, {name}: rate", "Gb/s", loads, name, None, lambda load: load.gbps)


def paced(contest, gbps, most=None):
    pps = round(gbps * GBPS)
    case = f"{gbps} Gb/s"
    loads = contest.loads(case, {
        "integrity only": ours(pps), "OVS-DPDK": ovs(0, pps), "encrypted": ours(pps), "OVS-DPDK:500": ovs(500, pps),
        "TAPs and VXLAN": ours(pps), **paced_floors(pps),
    })
    for name in ("integrity only", "encrypted"):
        contest.row(f"{case}, {name}: host", "s/GB", loads, name, "OVS-DPDK", per_gb, most, floor=FLOOR[name])
    for peer in ("OVS-DPDK:500", "TAPs and VXLAN"):
        contest.row(f"{case}, encrypted: host", "s/GB", loads, "encrypted", peer, per_gb, floor=FLOOR["encrypted"])
    parts(contest, case, loads)


def main():
    report = Report("host-bulk", f"Host: CPU of both agents and ksoftirqd. {ROUNDS} rounds of {SECONDS:g} s in turns. "
                    "OVS-DPDK: one switch on one host; :500 with pmd-maxsleep=500. TAPs and VXLAN: the same ring guests. "
                    "Floor: UDP trains and one pass over the bytes on each side, nothing else; paced, by processes that are "
                    "woken for the same bursts.")
    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True, pair_words=((), ("packed",))))
        contest.enter("packed rings", lambda: Pair(contest.rigs["integrity only"], 1))
        contest.enter("encrypted", lambda: Outrigger("b"))
        contest.enter("kernel UDP", Udp)
        contest.enter("floor", Floor)
        contest.enter("veth and VXLAN", lambda: VethTcp("vxlan"))
        contest.enter("veth direct", lambda: VethTcp("direct"))
        contest.enter("TAPs and VXLAN", lambda: Bridge(True))
        contest.enter("OVS-DPDK", Ovs)
        flat_out(contest, "flat out, MTU 1500", {"integrity only": 1.35, "encrypted": 1.9, "packed rings": 1.35},
                 {"integrity only": 0.6, "encrypted": 1.0})
        others_flat_out(contest)
        paced(contest, 1, 0.2)
        paced(contest, 5, 1.0)
        paced(contest, 10)
    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True, fabric_mtu=9000))
        contest.enter("encrypted", lambda: Outrigger("b", fabric_mtu=9000))
        contest.enter("kernel UDP", lambda: Udp(9000))
        contest.enter("floor", lambda: Floor(9000))
        contest.enter("veth and VXLAN", lambda: VethTcp("vxlan", 9000))
        contest.enter("veth direct", lambda: VethTcp("direct"))
        flat_out(contest, "flat out, jumbo fabric", {"integrity only": 1.2, "encrypted": 1.9},
                 {"integrity only": 0.5, "encrypted": 1.0}, **JUMBO)
    return report
