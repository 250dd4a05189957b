#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make test-kill N=20`: N rounds, each writes 64 MiB in a guest while appliance and agent are killed -9 and started again.

    tests/world/kill.py [N] [DIR]

The moments of the kills are random; SEED= repeats a run's. The checksum must hold every time.
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checks
import vm
import world as w
from proc import WorldError
from report import CheckFailed, Report


def one_round(world, guest, chance):
    writer = checks.Writer(guest, world.check)
    times = []
    moments = sorted(chance.sample(range(2, checks.WRITE_MIB - 4), 2))
    killers = [checks.appliance_killer(world), checks.agent_killer(world, "h1")]
    chance.shuffle(killers)
    for moment, killer in zip(moments, killers):
        writer.reach(moment)
        times.append(checks.kill_and_restart(world, writer, *killer))
    writer.done()
    checks.verify(guest, writer.sum)
    checks.no_io_errors(guest)
    return f"kills at {moments[0]} and {moments[1]} MiB, stalls {times[0]:.1f} and {times[1]:.1f} s"


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    seed = int(os.environ.get("SEED") or time.time())
    chance = random.Random(seed)
    directory = sys.argv[2] if len(sys.argv) > 2 else "build/kill"
    report = Report()
    passed = 0
    with w.World(directory, hosts=("h1",)) as world:
        report.say(f"seed {seed}, fabric link {world.link}")
        world.start()
        world.provision()
        guest = world.boot("vm1")
        checks.make_disk(guest)
        try:
            for number in range(1, rounds + 1):
                report.say(f"round {number} of {rounds}: {one_round(world, guest, chance)}")
                passed += 1
        except (CheckFailed, WorldError, w.ControlError, vm.GuestError) as error:
            report.say(f"round {passed + 1}: FAILED: {error}\n{guest.tail()}  logs in {world.directory}/logs")
    print(f"test-kill: {passed} passed, {rounds - passed} failed")
    return 0 if passed == rounds else 1


if __name__ == "__main__":
    w.main_guard(main)
