#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""`make run`: builds the small world, boots two guests, shows checks a to f, and takes everything down again.

    tests/world/run.py [DIR]

Environment: LINK=udp|dpdk, PATHS=2 gives each session two fabrics, KEEP=1 leaves the world up. Exits 0 only if every
check held. DIR (build/run) gets the logs, DIR.json the table.
"""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checks
import vm
import world as w
from proc import WorldError
from report import Report


def show(report, world):
    report.say(f"appliance and two agents start (fabric link: {world.link}, paths: {world.paths})")
    world.start()
    report.say("provisioning through the API with outriggerctl")
    world.provision()
    report.say("booting vm1 on h1 and vm2 on h2")
    world.boot("vm1", "vm2")
    one, two = world.guests["vm1"], world.guests["vm2"]
    report.say(f"guests are up ({world.accel}): {one.boot_seconds:.1f} s and {two.boot_seconds:.1f} s")
    report.say("a: ping and TCP between the guests, and with the station on the outside LAN")
    checks.reachability(report, world, one, two)
    report.say("b: throughput with offloads")
    checks.throughput(report, world, one, two)
    report.say(f"c: {checks.WRITE_MIB} MiB to the disk of vm1 while appliance and agent are killed")
    checks.disk(report, world, one)
    report.say("d: vm2 moves to h1")
    two = checks.move(report, world, two, "h1")
    report.say("e: vm1 pretends to be vm2")
    checks.spoofing(report, world, one, two)
    report.say("f: idle")
    checks.idle(report, world)


def main():
    report = Report()
    keep = os.environ.get("KEEP", "") not in ("", "0")
    broken = None
    directory = sys.argv[1] if len(sys.argv) > 1 else "build/run"
    paths = int(w.setting("PATHS", "1"))
    if paths not in (1, 2):
        raise WorldError("PATHS is 1 or 2")
    with w.World(directory, keep=keep, say=report.say, paths=paths) as world:
        try:
            show(report, world)
            world.check()
        except (WorldError, w.ControlError, vm.GuestError) as error:
            broken = error
            report.row("the run came to its end", False, None, "", f"\n{error}")
            if not keep:
                world.close(quiet=True)
        report.write(f"{world.directory}.json", link=world.link, accel=world.accel)
        print(f"\n{report.table()}\n")
        if keep:
            print(world.describe())
    seconds = int(report.now())
    failed = sum(not row["ok"] for row in report.rows)
    print(f"run: {len(report.rows) - failed} of {len(report.rows)} checks held, {seconds} s" +
          (f"; logs in {world.directory}/logs" if failed or broken else ""))
    return 0 if report.ok and not broken else 1


if __name__ == "__main__":
    w.main_guard(main)
