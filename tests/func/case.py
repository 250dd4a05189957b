# SPDX-License-Identifier: Apache-2.0
"""What every functional test program shares: running its cases in one world, and small helpers.

A program defines functions test_*(world) and ends with

    if __name__ == "__main__":
        case.main(globals(), case.world_of("api", hosts=()), setup)

setup(world) starts what the cases need. A case raises to fail, or Skip("why"). Words on the command line pick cases.
"""

import contextlib
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../world"))
import vm
import world as w
from proc import WorldError, wait_for
from report import CheckFailed, expect

__all__ = ["Skip", "WorldError", "expect", "logged", "main", "refused", "run", "wait_for", "world_of"]


WORLD_ERRORS = (WorldError, w.ControlError, vm.GuestError)


class Skip(Exception):
    """The case cannot run here; the text says why."""


def world_of(name, **options):
    return w.World(f"build/func/{name}", **options)


def one_line(error):
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def run_cases(cases, world, label):
    failed = 0
    for name, function in cases:
        started = time.monotonic()
        try:
            function(world)
            if world:
                world.check()
            print(f"  {time.monotonic() - started:.1f} s\nok {label}{name}", flush=True)
        except Skip as reason:
            print(f"skip {label}{name}: {reason}", flush=True)
        except (CheckFailed, *WORLD_ERRORS, OSError) as error:
            failed += 1
            print(f"FAIL {label}{name}: {one_line(error)}", flush=True)
            print(error, flush=True)
        except Exception as error:
            failed += 1
            print(f"FAIL {label}{name}: {one_line(error)}", flush=True)
            traceback.print_exc()
    return failed


def run(names, world=None, setup=None, label=""):
    """Runs the cases among `names` in a world; gives how many failed, its making and its end among them."""
    cases = [(name[5:].replace("_", " "), value) for name, value in names.items() if name.startswith("test_")
             and (not sys.argv[1:] or any(part in name for part in sys.argv[1:]))]
    failed, what = 0, "setup"
    try:
        with world or contextlib.nullcontext() as inside:
            if setup:
                setup(inside)
            failed = run_cases(cases, inside, label)
            what = "end"
    except WORLD_ERRORS as error:
        print(f"FAIL {label}{what}: {one_line(error)}\n{error}", flush=True)
        failed += 1
    return failed


def main(names, world=None, setup=None):
    w.main_guard(lambda: 1 if run(names, world, setup) else 0)


def refused(world, *arguments, words=()):
    """outriggerctl must refuse, with every one of `words` in what it says, and without a change."""
    try:
        world.ctl(*arguments)
    except w.ControlError as error:
        for word in words:
            expect(word.lower() in error.text.lower(), f"`{' '.join(arguments)}`: no '{word}' in: {error.text.strip()}")
        return error.text
    raise CheckFailed(f"outriggerctl {' '.join(arguments)} was not refused")


def logged(daemon, pattern, offset=0):
    """Lines of a daemon's log, from a byte offset on, that contain a pattern in any case."""
    with open(daemon.log_path, errors="replace") as file:
        file.seek(offset)
        return [line for line in file if pattern.lower() in line.lower()]
