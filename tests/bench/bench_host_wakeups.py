# SPDX-License-Identifier: Apache-2.0
"""How often a host's processes are woken per million packets of 1500 bytes; and how long a frame is under way for it.

Voluntary context switches of the agents, or of the processes that feed a bridge's TAPs for the same guests.
"""

from bench import Report
from contest import ROUNDS, SECONDS, Contest
from peers import Bridge
from rig import FULL_FRAME, Outrigger, measure

GBPS = 1e9 / 8 / FULL_FRAME
FLAT_OUT_MOST = 4000


def main():
    report = Report("host-wakeups", f"Per million 1500-byte packets' worth of 64 KiB super-frames; {ROUNDS} rounds of "
                    f"{SECONDS:g} s in turns; the bridge has the same ring guests on TAPs.")
    with Contest(report) as contest:
        contest.enter("integrity only", lambda: Outrigger("a", clear=True))
        contest.enter("encrypted", lambda: Outrigger("b"))
        contest.enter("Linux bridge", lambda: Bridge(False))
        for case, gbps in (("flat out", 0), ("1 Gb/s", 1), ("5 Gb/s", 5)):
            def once(rig, pps=round(gbps * GBPS)):
                return measure(rig, 0, pps, seconds=SECONDS)

            loads = contest.loads(case, dict.fromkeys(("integrity only", "Linux bridge", "encrypted"), once))
            for name in ("integrity only", "encrypted"):
                contest.row(f"{case}, {name}: wake-ups", "per M", loads, name, "Linux bridge",
                            lambda load: load.wakeups_per_m, most=1.0 if gbps else None,
                            absolute=None if gbps else FLAT_OUT_MOST)
                contest.row(f"{case}, {name}: guest interrupts", "per M", loads, name, "Linux bridge",
                            lambda load: load.calls / load.bytes * 1500e6)
                if gbps:
                    contest.row(f"{case}, {name}: one way, p50", "us", loads, name, "Linux bridge", lambda load: load.p50)
                    contest.row(f"{case}, {name}: one way, p99", "us", loads, name, "Linux bridge", lambda load: load.p99)
    return report
