# SPDX-License-Identifier: Apache-2.0
"""Contestants that take turns at the same offered load, and what became of those that could not start.

    with Contest(report) as contest:
        contest.enter("ours", lambda: Outrigger("a"))
        loads = contest.loads("1 Gb/s", {"ours": lambda rig: measure(rig, FULL_FRAME, 1916)})
        contest.row("host CPU", "s/GB", loads, "ours", "bridge", lambda load: load.per_gb, 0.6)
"""

import contextlib
import os
import subprocess

from bench import Figure, progress, short
from rig import RigError, WorldError, w

STRIKES = 2  # failed measurements after which a contestant is out: each may take as long as a guest is waited for
ROUNDS = int(os.environ.get("ROUNDS", "3"))
SECONDS = float(os.environ.get("SECONDS", "0.6"))
BROKEN = (RigError, WorldError, w.ControlError, OSError, subprocess.SubprocessError)


class Contest:
    def __init__(self, report):
        self.report = report
        self.rigs = {}
        self.broken = {}
        self.strikes = {}
        self.rounds = ROUNDS
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)

    def enter(self, name, make):
        """Starts a contestant; rows that need one which does not start fail by its name."""
        try:
            self.rigs[name] = self.stack.enter_context(make())
        except BROKEN as error:
            self.broken[name] = error

    def loads(self, case, measures):
        """{name: [a result per round]}, A B A B; `measures` takes the rig of its name."""
        progress(f"{case}: {', '.join(measures)}")
        results = {name: [] for name in measures}
        for _ in range(self.rounds):
            for name, once in measures.items():
                rig = self.rigs.get(name.split(":")[0])
                if rig is None or self.strikes.get(name, 0) == STRIKES:
                    continue
                try:
                    results[name].append(once(rig))
                except BROKEN as error:
                    progress(f"{case}: {name}: {error}")
                    self.broken[name] = RigError(f"{case}: {error}")
                    self.strikes[name] = self.strikes.get(name, 0) + 1
        return results

    def figure(self, loads, name, pick):
        """The median of a contestant's rounds; an error text when it has none."""
        if not loads.get(name):
            return None, f"{name}: {self.broken.get(name) or self.broken.get(name.split(':')[0]) or 'not measured'}"
        return Figure([pick(load) for load in loads[name]]), None

    def row(self, case, unit, loads, ours, peer, pick, most=None, absolute=None, floor=None):
        """A row. most: the ratio to the peer that is to be reached; absolute: what ours itself is to reach; floor: the
        contestant that is one."""
        mine, why = self.figure(loads, ours, pick)
        theirs, why_peer = self.figure(loads, peer, pick) if peer else (None, None)
        if why or why_peer:
            self.report.fail(case, why or why_peer)
            return
        goal, met = "", None
        if most is not None:
            goal, met = f"<= {most:g} x peer", theirs.median > 0 and mine.median <= most * theirs.median
        if absolute is not None:
            goal, met = f"<= {short(absolute)}", mine.median <= absolute
        self.report.add(case, mine, unit, peer=theirs, peer_name=peer or "", goal=goal, met=met,
                        floor=self.figure(loads, floor, pick)[0] if floor else None)


__all__ = ["BROKEN", "ROUNDS", "SECONDS", "Contest"]
