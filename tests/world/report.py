# SPDX-License-Identifier: Apache-2.0
"""Collects what checks found: a line each as they go, one aligned table at the end, and the same as JSON."""

import json
import os
import sys
import time

import vm
from proc import WorldError
from world import ControlError


class CheckFailed(Exception):
    """A check did not hold; the text says what was seen instead."""


def expect(condition, text):
    if not condition:
        raise CheckFailed(text)


class Report:
    def __init__(self, out=sys.stdout):
        self.rows = []
        self.out = out
        self.started = time.monotonic()

    def say(self, text):
        print(f"[{self.now():5.1f} s] {text}", file=self.out, flush=True)

    def now(self):
        """Seconds since the report began."""
        return time.monotonic() - self.started

    def row(self, name, ok, figure, unit, why=""):
        self.rows.append({"name": name, "ok": bool(ok), "figure": figure, "unit": unit})
        self.say(f"  {'ok  ' if ok else 'FAIL'} {name}: {self.text(figure)} {unit}{'  ' + why if why else ''}")
        return ok

    def limit(self, name, figure, unit, most):
        """A row that holds when the figure is at most `most`."""
        return self.row(name, figure <= most, figure, unit, "" if figure <= most else f"(at most {most} {unit})")

    def check(self, name, unit, function, *arguments):
        """A row whose figure is what function gives; it fails when the function raises."""
        try:
            return self.row(name, True, function(*arguments), unit)
        except (CheckFailed, WorldError, ControlError, vm.GuestError) as error:
            return self.row(name, False, None, unit, f"\n{error}" if "\n" in str(error) else f"({error})")

    @staticmethod
    def text(figure):
        if figure is None:
            return "-"
        if isinstance(figure, float):
            return f"{figure:.0f}" if figure >= 100 else f"{figure:.2f}"
        return str(figure)

    @property
    def ok(self):
        return bool(self.rows) and all(row["ok"] for row in self.rows)

    def table(self):
        width = max(len(row["name"]) for row in self.rows)
        wide = max(9, *(len(self.text(row["figure"])) for row in self.rows))
        lines = [f"  {'check':<{width}}  {'figure':>{wide}}  {'unit':<12}  result"]
        lines.append("  " + "-" * (len(lines[0]) - 2))
        for row in self.rows:
            lines.append(f"  {row['name']:<{width}}  {self.text(row['figure']):>{wide}}  {row['unit']:<12}  "
                         f"{'ok' if row['ok'] else 'FAILED'}")
        return "\n".join(lines)

    def write(self, path, **more):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            json.dump({"checks": self.rows, **more}, file, indent=1)
            file.write("\n")
