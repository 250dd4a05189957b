# SPDX-License-Identifier: Apache-2.0
"""A VM's disk through kills of either daemon, paths that go and come, a new memory table: every block is looked at."""

from case import expect, wait_for
from diskguest import DiskGuest
from paths import states, wait_states

OPTIONS = {"paths": 2, "hosts": ("h1",)}


def setup(world):
    world.start()
    world.disk = DiskGuest(world, world.pool_directory())


def both_up(world):
    world.net.allow()
    for node in ("app", "h1"):
        world.net.mend_all(node)
    wait_states(world, "h1", True, True)


def test_what_is_written_is_read(world):
    both_up(world)
    world.disk.goes_on(200)
    counters = world.counters("vdisk", "d")
    expect(counters["reads"] > 20 and counters["writes"] > 20, counters)
    expect(not any(value for name, value in counters.items() if name.startswith(("errors_", "refused_"))), counters)
    tunnel = {name: value for name, value in world.all_counters().items() if name.startswith("host/h1/tunnel_")}
    expect(tunnel["host/h1/tunnel_records"] > 40 and not tunnel["host/h1/tunnel_drop_kind"], tunnel)


def test_a_new_memory_table_under_way(world):
    """Of the same memory: what was announced of it is withdrawn, and announced again."""
    for _ in range(2):
        before = world.disk.told()["tables"]
        world.disk.program.signal("USR1")
        world.disk.wait("a new table", lambda before=before: world.disk.told()["tables"] > before)
        world.disk.goes_on()


def test_a_killed_agent(world):
    before = world.disk.told()["connects"]
    world.agents["h1"].kill()
    world.start_agent("h1")
    world.disk.wait("the VM is connected", lambda: world.disk.told()["connects"] > before)
    world.disk.goes_on()
    both_up(world)


def test_a_killed_appliance(world):
    world.appliance.kill()
    world.start_appliance()
    world.disk.goes_on()
    both_up(world)


def test_a_cable_is_pulled(world):
    """What was under way on that path is sent, or moved, again."""
    both_up(world)
    for path in (0, 1):
        world.net.cut("h1", path)
        wait_states(world, "h1", path != 0, path != 1)
        world.disk.goes_on()
        world.net.mend("h1", path)
        both_up(world)


def test_the_appliance_loses_a_port(world):
    both_up(world)
    world.net.cut("app", 1)
    wait_states(world, "h1", True, False)
    world.disk.goes_on()
    both_up(world)
    world.disk.goes_on()


def test_the_link_is_blocked(world):
    """The backup serves."""
    both_up(world)
    world.block_link()
    wait_states(world, "h1", False, False)
    world.disk.goes_on()
    both_up(world)
    world.disk.goes_on()


def test_all_cables_are_cut_and_come_back(world):
    """The VM waits meanwhile, and has no error."""
    both_up(world)
    world.net.cut_all("h1")
    # The session may end of it.
    wait_for("no path to be up", lambda: not any(states(world, "h1")), check=world.disk.check)
    before = world.disk.done()
    world.wait(2)
    expect(world.disk.done() <= before + 8, "requests were served though all cables are out")  # so many are under way
    both_up(world)
    world.disk.goes_on()


def test_the_agent_and_then_the_appliance_die_while_a_cable_is_out(world):
    both_up(world)
    world.net.cut("h1")
    wait_states(world, "h1", False, True)
    world.agents["h1"].kill()
    world.start_agent("h1")
    world.disk.goes_on()
    world.appliance.kill()
    world.start_appliance()
    world.disk.goes_on()
    both_up(world)
    world.disk.goes_on()
