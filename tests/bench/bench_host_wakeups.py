# SPDX-License-Identifier: Apache-2.0
"""How often a host's processes are woken per million packets of 1500 bytes; and how long a frame is under way for it.

Voluntary context switches of the agents, or of the processes that feed a bridge's TAPs for the same guests. What polling
(`--poll-us 50`) and SCHED_BATCH, under which who wakes up does not interrupt who runs, give and cost stands in rows of
their own.
"""

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge, Floor
from rig import FULL_FRAME, POLL, Outrigger, measure

GBPS = 1e9 / 8 / FULL_FRAME
FLAT_OUT_MOST = 4000
FLOOR = {"integrity only": "floor:crc", "encrypted": "floor:aes", "agents poll": "floor:crc", "agents in batch": "floor:crc"}


def rows(contest, case, gbps):
    pps = round(gbps * GBPS)

    def once(rig):
        return measure(rig, 0, pps, seconds=SECONDS)

    def floor(seal):
        if gbps:
            return lambda rig: rig.bursts(seal, pps=pps, seconds=SECONDS / 2)
        return lambda rig: rig.stream(seal, seconds=SECONDS / 2)

    floors = {"floor:crc": floor("crc"), "floor:aes": floor("aes")}
    if not gbps:
        floors["floor:woken"] = lambda rig: rig.bursts("crc", seconds=SECONDS / 2)
    loads = contest.loads(case, {**dict.fromkeys(("integrity only", "Linux bridge", *list(FLOOR)[1:]), once),
                                 **floors})
    for name in FLOOR:
        contest.row(f"{case}, {name}: wake-ups", "per M", loads, name, "Linux bridge", lambda load: load.wakeups_per_m,
                    most=1.0 if gbps else None, absolute=None if gbps else FLAT_OUT_MOST, floor=FLOOR[name])
        contest.row(f"{case}, {name}: guest interrupts", "per M", loads, name, "Linux bridge",
                    lambda load: load.calls / load.bytes * 1500e6)
        if gbps:
            contest.row(f"{case}, {name}: one way, p50", "us", loads, name, "Linux bridge", lambda load: load.p50,
                        floor=FLOOR[name])
            contest.row(f"{case}, {name}: one way, p99", "us", loads, name, "Linux bridge", lambda load: load.p99,
                        floor=FLOOR[name])
    if not gbps:
        contest.row(f"{case}, the floor when it is woken for what a window of 1 MiB lets go: wake-ups", "per M", loads,
                    "floor:woken", "Linux bridge", lambda load: load.wakeups_per_m)
    # Against its like that sleeps.
    loads["asleep"] = loads["integrity only"]
    for name in ("agents poll", "agents in batch"):
        contest.row(f"{case}, {name}: host", "s/GB", loads, name, "asleep", lambda load: load.per_gb)
        contest.row(f"{case}, {name}: rate", "Gb/s", loads, name, "asleep", lambda load: load.gbps)


def main():
    report = Report("host-wakeups", f"Per million 1500-byte packets' worth of 64 KiB super-frames; {ROUNDS} rounds of "
                    f"{SECONDS:g} s in turns; the bridge has the same ring guests on TAPs. Agents that poll or run in batch "
                    "are integrity only, the former bound to processors that the others use too. Floor: UDP trains and one "
                    "pass over the bytes on each side, nothing else; paced, by processes that are woken for the same bursts.")
    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True))
        contest.enter("encrypted", lambda: Outrigger("b"))
        contest.enter("agents poll", lambda: Outrigger("c", clear=True, agent_words=POLL))
        contest.enter("agents in batch", lambda: Outrigger("d", clear=True, batch=True))
        contest.enter("Linux bridge", lambda: Bridge(False))
        contest.enter("floor", Floor)
        for case, gbps in (("flat out", 0), ("1 Gb/s", 1), ("5 Gb/s", 5)):
            rows(contest, case, gbps)
    return report
