# SPDX-License-Identifier: Apache-2.0
"""Every wire loses 1 %, then 5 % of its packets: streams are whole, what a VM writes is what it reads, paths stay up."""

import tapworld
from case import wait_for
from diskguest import DiskGuest
from flow import flow
from paths import session, wait_states

OPTIONS = {"paths": 2, "relays": True}


def setup(world):
    tapworld.setup(world)
    world.disk = DiskGuest(world, world.pool_directory())


def lossy(world, percent):
    wait_states(world, "h1", True, True)
    before = session(world, "h1")
    world.lose(percent)
    lost = world.lost()
    try:
        with flow(world) as seen:
            world.disk.goes_on(200)
            wait_for("packets to be lost", lambda: world.lost() - lost >= 20, check=world.disk.check)
        print(f"  the wires dropped {world.lost() - lost} packets", flush=True)
    finally:
        world.lose(0)
    seen.went_on(before, session(world, "h1"))


def test_1_percent_is_lost(world):
    lossy(world, 1)


def test_5_percent_is_lost(world):
    lossy(world, 5)


def test_a_cable_is_pulled_while_the_other_loses_1_percent(world):
    world.lose(1)
    try:
        with flow(world):
            world.net.cut("h1")
            wait_states(world, "h1", False, True)
            world.disk.goes_on(100)
    finally:
        world.net.mend("h1")
        world.lose(0)
    wait_states(world, "h1", True, True)
    world.disk.goes_on(100)
