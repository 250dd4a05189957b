# SPDX-License-Identifier: Apache-2.0
"""Guests on two paths, each through a relay: it drops 1 %, then 5 %, a path is cut, both are, UDP is blocked. Guests'
TCP keeps going, what they write is what they read, and they see no I/O error.
"""

import re

import case
import checks
import net
from case import expect, wait_for
from paths import backup, states, wait_states
from world import GUESTS

SECONDS = 3  # of iperf3, each way
WRITE_MIB = 24


def setup(world):
    world.start()
    world.provision()
    world.boot("vm1", "vm2")
    checks.serve_iperf(world)
    checks.make_disk(world.guests["vm1"])


def relays(world, *words):
    for relay in world.relays:
        relay.set(*words)


def lost_frames(world):
    return sum(direction["lost"] for relay in world.relays for direction in relay.stats())


def given_up(world):
    """Packets of NET that were lost and not sent again, both ways."""
    found = 0
    for host in ("h1", "h2"):
        counters = world.counters("host", host)
        found += counters.get("rx_skipped", 0) + counters.get("host_rx_skipped", 0)
    return found


def rates(world, what, least=1):
    """Mbit/s from vm1 to vm2 and back."""
    found = []
    for way in ((), ("-R",)):
        found.append(checks.iperf(world.guests["vm1"], GUESTS["vm2"]["ip4"], "-t", str(SECONDS), *way, check=world.check))
    print(f"  {what}: vm1 > vm2 {found[0]:.0f} Mbit/s, vm2 > vm1 {found[1]:.0f} Mbit/s", flush=True)
    expect(min(found) > least, f"{what}: only {min(found):.1f} Mbit/s")


def pings(world, what, most, count=200, size=56):
    """Some time no more than `most` are lost: where a processor is not given in time, a frame may be."""
    def few():
        output = world.guests["vm1"].run(f"ping -c {count} -i 0.02 -W 5 -s {size} {GUESTS['vm2']['ip4']}").output
        lost = count - int(re.search(r"(\d+) packets received", output).group(1))
        print(f"  {what}: {lost} of {count} pings of {size} bytes lost, {output.strip().splitlines()[-1]}", flush=True)
        return lost <= most

    wait_for(f"{most} of {count} pings lost at most", few, check=world.check)


class Writing:
    """A guest writes while something happens in the block; afterwards what is on the disk must be what it wrote."""

    def __init__(self, world, what):
        self.world = world
        self.guest = world.guests["vm1"]
        self.what = what

    def __enter__(self):
        self.guest.must("grep -q ' /mnt ' /proc/mounts || mount /dev/vda /mnt")
        self.writer = checks.Writer(self.guest, self.world.check, WRITE_MIB)
        self.writer.reach(4)
        return self.writer

    def __exit__(self, kind, error, trace):
        if kind:
            return
        self.writer.done()
        rate = checks.verify(self.guest, self.writer.sum, WRITE_MIB)
        checks.no_io_errors(self.guest)
        print(f"  {self.what}: {WRITE_MIB} MiB written with fsync and read back at {rate:.0f} MiB/s", flush=True)


def lossy(world, percent):
    relays(world, f"drop={percent}%,seed=11")
    try:
        before, skipped = lost_frames(world), given_up(world)
        rates(world, f"{percent} % loss")
        for size in (56, 1400):
            # Four passes through a relay: were it not sent again, four times this would be lost.
            pings(world, f"{percent} % loss", 2 * percent, size=size)
        with Writing(world, f"{percent} % loss"):
            pass
        print(f"  the relays dropped {lost_frames(world) - before} frames, {given_up(world) - skipped} were given up",
              flush=True)
        expect(lost_frames(world) - before > 100, "the relays dropped next to nothing")
    finally:
        relays(world, "drop=0%")


def test_without_loss(world):
    wait_states(world, "h1", True, True)
    rates(world, "no loss")
    pings(world, "no loss", 0)


def test_1_percent_is_lost(world):
    lossy(world, 1)


def test_5_percent_is_lost(world):
    lossy(world, 5)


def test_a_path_is_cut_while_the_other_loses_1_percent(world):
    relays(world, "drop=1%,seed=12")
    try:
        with Writing(world, "1 % loss, a path cut"):
            world.net.cut("h1")
            rates(world, "1 % loss, a path cut")
            world.net.mend("h1")
            world.net.black_hole("h1", 1)
            rates(world, "1 % loss, the other path swallows everything")
            world.net.allow()
    finally:
        world.net.allow()
        world.net.mend("h1")
        relays(world, "drop=0%")
    wait_states(world, "h1", True, True)


def test_both_paths_are_cut_for_five_seconds(world):
    with Writing(world, "both paths cut") as writer:
        for relay in world.relays:
            relay.set("cut")
        started = writer.progress()
        world.wait(5)
        expect(writer.progress() <= started + 2, "the guest wrote though all paths were cut")
        for relay in world.relays:
            relay.set("heal")
        writer.reach(started + 4)
    wait_states(world, "h1", True, True)


def test_udp_is_blocked(world):
    with Writing(world, "UDP blocked") as writer:
        world.block_link()
        wait_for("the UDP paths to be down", lambda: not any(states(world, "h1")), check=world.check)
        writer.reach(writer.progress() + 6)
        rates(world, "UDP blocked")
        expect(backup(world, "h1").sent > 100, "the control channel carries nothing")
        world.net.allow()
    wait_states(world, "h1", True, True)
    checks.reach(world.guests["vm1"], net.STATION4, world.check)


if __name__ == "__main__":
    case.main(globals(), case.world_of("loss", paths=2, relays=True), setup)
