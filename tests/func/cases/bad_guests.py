# SPDX-License-Identifier: Apache-2.0
"""Guests that behave badly at vNICs of h1: whom else they cost anything, and what is shown of it.

      h1 tap0, and bad-0, bad-1, bad-2 ──agent──── appliance ──── h2 tap0

tests/func/bad_guest stands in for their VMs. While they do their worst, tap0 of the same agent goes on as before.
"""

import checks
import tapworld
from case import expect, wait_for
from proc import PATIENCE

KINDS = ("kicks", "idle", "silent")


def setup(world):
    tapworld.setup(world)
    world.ctl("profile", "create", "bad", "--host", "h1")
    for number, kind in enumerate(KINDS):
        world.ctl("vnic", "create", f"bad-{kind}", "--profile", "bad", "--network", "blue",
                  "--mac", f"02:00:5e:00:02:0{number}")
    for kind in KINDS:
        path = wait_for(f"bad-{kind} at h1", lambda kind=kind: world.attached("vnic", f"bad-{kind}", "h1"), check=world.check)
        guest = world.helper("h1", world.program("bad_guest"), path, kind)
        wait_for(f"bad_guest {kind} to begin", lambda guest=guest: guest.output().strip() == "ready", check=world.check)


def counter(world, kind, name):
    return sum(value for key, value in world.counters("vnic", f"bad-{kind}").items() if key.endswith(name))


def test_kicks_without_work_are_muted_and_shown(world):
    for name in ("kicks_useless", "kicks_muted"):
        wait_for(f"{name} to be shown", lambda name=name: counter(world, "kicks", name) > 0, check=world.check)
        expect(counter(world, "idle", name) == 0, f"{name} of a guest that kicks nothing")


def test_others_go_on(world):
    """Small and large frames both ways; a broadcast reaches the one that posts no buffers, too, and is dropped there."""
    for node, target in (("h1", "h2"), ("h2", "h1")):
        tapworld.ping(world, node, tapworld.ADDRESSES[target][0], 20)
        tapworld.ping(world, node, tapworld.ADDRESSES[target][1], 5)
    checks.station_serves_iperf(world, "h2")
    world.net.sh("h1", f"iperf3 -i 0 -c {tapworld.ADDRESSES['h2'][0]} -n {max(1, world.BULK_MIB // 5)}M", timeout=3 * PATIENCE)


def test_a_later_guest_is_served(world):
    """The agent still takes up devices, and answers control, while they are at it."""
    world.ctl("vnic", "create", "late", "--profile", "bad", "--network", "blue", "--mac", "02:00:5e:00:02:09")
    wait_for("late at h1", lambda: world.attached("vnic", "late", "h1"), check=world.check)
