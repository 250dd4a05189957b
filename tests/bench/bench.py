# SPDX-License-Identifier: Apache-2.0
"""What benchmarks share: taking turns, medians, CPU time, the table and the line of JSON.

A benchmark is tests/bench/bench_NAME.py with a function main() that returns a Report. Only ratios from one run count:
machines differ, and what else they do changes within a minute, so ours and the peer take turns (A B A B).
"""

import glob
import json
import os
import statistics
import subprocess
import sys
import time

BUILD = os.environ.get("BUILD", "build/gcc")
BEGAN = time.monotonic()


def progress(text):
    """What is under way, for who waits: not part of the table."""
    print(f"  {time.monotonic() - BEGAN:5.0f} s  {text}", file=sys.stderr, flush=True)


def program(name):
    return f"{BUILD}/bin/{name}"


def json_lines(command, timeout=600):
    """Runs it; its lines of JSON as dictionaries."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=timeout, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def cpu_s(pids):
    """CPU seconds of processes with all their threads, by the scheduler's own count (/proc/PID/schedstat). Ticks, as in
    /proc/PID/stat, are wrong by up to a hundred times below saturation."""
    total = 0
    for pid in pids:
        for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
            try:
                with open(path) as file:
                    total += int(file.read().split()[0])
            except OSError:
                pass  # it has ended
    return total / 1e9


def softirq_pids():
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path) as file:
                if file.read().startswith("ksoftirqd/"):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def take_turns(contestants, rounds, case=""):
    """contestants: {name: function that measures once}. {name: [what it gave in each round]}"""
    progress(f"{case}: {', '.join(contestants)}" if case else ", ".join(contestants))
    results = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, measure in contestants.items():
            results[name].append(measure())
    return results


class Figure:
    """A median with its spread."""

    def __init__(self, values):
        self.values = sorted(values)
        self.median = statistics.median(values)

    def __str__(self):
        text = short(self.median)
        if len(self.values) > 1:
            text += f" [{short(self.values[0])}..{short(self.values[-1])}]"
        return text


def short(value):
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


class Report:
    """Rows of case, ours, peer, unit; a goal is text for the reader and whether it was met. The floor is what the least
    program that does the same costs on this machine in the same run: what no peer and no goal can be below."""

    last = None  # the one that was made last: what it has is shown although its benchmark breaks off

    def __init__(self, name, note=""):
        self.name = name
        self.note = note
        self.rows = []
        self.failed = []
        Report.last = self

    def add(self, case, ours, unit, peer=None, peer_name="", goal="", met=None, floor=None):
        ours, peer, floor = (value if value is None or isinstance(value, Figure) else Figure([value])
                             for value in (ours, peer, floor))
        self.rows.append((case, ours, peer, peer_name, unit, goal, met, floor))

    def fail(self, case, why):
        """A row that could not be measured, and why."""
        self.failed.append((case, " ".join(str(why).split())[:300]))

    def ratio(self, ours, peer):
        return ours.median / peer.median if peer is not None and peer.median else None

    def show(self):
        head = ("case", "ours", "peer", "ours/peer", "floor", "ours/floor", "unit", "goal")
        lines = [head]
        for case, ours, peer, peer_name, unit, goal, met, floor in self.rows:
            ratio, of_floor = self.ratio(ours, peer), self.ratio(ours, floor)
            mark = "" if met is None else "  met" if met else "  MISSED"
            lines.append((case, str(ours), f"{peer} {peer_name}" if peer is not None else "",
                          "" if ratio is None else f"{ratio:.2f}", "" if floor is None else str(floor),
                          "" if of_floor is None else f"{of_floor:.2f}", unit, goal + mark))
        empty = [i for i in range(len(head)) if not any(line[i] for line in lines[1:])]
        lines = [[cell for i, cell in enumerate(line) if i not in empty] for line in lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        for line in lines:
            print("  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())
        for case, why in self.failed:
            print(f"FAILED {case}: {why}")
        if self.note:
            print(self.note)
        print(self.json(), flush=True)

    def json(self):
        rows = []
        for case, ours, peer, peer_name, unit, goal, met, floor in self.rows:
            ratio = self.ratio(ours, peer)
            row = {"case": case, "ours": rounded(ours.median), "peer": rounded(peer.median) if peer is not None else None,
                   "unit": unit, "ratio": None if ratio is None else round(ratio, 3)}
            if len(ours.values) > 1:
                row["ours_spread"] = [rounded(ours.values[0]), rounded(ours.values[-1])]
            if peer is not None:
                row["peer_name"] = peer_name
                if len(peer.values) > 1:
                    row["peer_spread"] = [rounded(peer.values[0]), rounded(peer.values[-1])]
            if floor is not None:
                of_floor = self.ratio(ours, floor)
                row["floor"] = rounded(floor.median)
                row["of_floor"] = None if of_floor is None else round(of_floor, 3)
            if goal:
                row["goal"] = goal
            if met is not None:
                row["met"] = bool(met)
            rows.append(row)
        rows += [{"case": case, "ours": None, "peer": None, "error": why, "met": False} for case, why in self.failed]
        return json.dumps({"bench": self.name, "rows": rows})


def rounded(value):
    return float(f"{value:.5g}")


def missed_lines(rows):
    """The goals of rows as Report.json() gives them, "BENCH: CASE" each, that were missed: in columns, below the name of
    their benchmark; then what could not be measured."""
    goals = [row for row in rows if "met" in row]
    missed = [row for row in goals if not row["met"] and "error" not in row]
    errors = [row for row in rows if "error" in row]
    table, bench = [], None
    for row in missed:
        name, case = row["case"].split(": ", 1)
        if name != bench:
            table.append((f"   {name}",))
            bench = name
        ratio = f"{row['ratio']:.2f} x {row['peer_name']}" if row.get("ratio") is not None and "peer_name" in row else ""
        floor = f"floor {short(row['floor'])}: {row['of_floor']:.2f} x" if row.get("floor") and row.get("of_floor") else ""
        table.append((f"     {case}", f"{short(row['ours'])} {row['unit']}", ratio, f"goal {row['goal']}", floor))
    widths = [max((len(line[i]) for line in table if len(line) > 1), default=0) for i in range(5)]
    lines = [f"== {len(rows)} rows, {len(goals) - len(errors)} goals measured: "
             f"{len(goals) - len(errors) - len(missed)} met, {len(missed)} missed; {len(errors)} rows not measured"]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip() for line in table]
    reasons = {}
    for row in errors:
        reasons.setdefault((row["case"].split(": ", 1)[0], row["error"]), []).append(row)
    for (name, why), of in reasons.items():
        cases = f"{of[0]['case'].split(': ', 1)[1]}" + (f", and {len(of) - 1} more" if len(of) > 1 else "")
        lines.append(f"   not measured: {name}: {cases}: {why}")
    return lines
