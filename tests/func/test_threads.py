# SPDX-License-Identifier: Apache-2.0
"""Agents with two I/O threads: devices spread over them, moved under load, found again after each daemon's death.

h1 has a TAP and two disks. Each disk has a disk_guest (tests/func/disk_guest) in QEMU's place, which writes and reads
without pause and knows what each block must hold; it ends at the first byte, error or completion that is wrong.
"""

import contextlib
import os
import shlex

import case
import tapworld
from case import expect, wait_for
from diskguest import DiskGuest

DEVICES = (("vdisk", "d0"), ("vdisk", "d1"), ("vnic", "tap-h1"))


def setup(world):
    tapworld.setup(world)
    world.disks = [DiskGuest(world, world.pool_directory(), "d0"), DiskGuest(world, name="d1")]
    go_on(world)


def go_on(world):
    for disk in world.disks:
        disk.goes_on()


def connects(world):
    return [disk.told()["connects"] for disk in world.disks]


def threads(world, host="h1"):
    """Devices by the number of their I/O thread."""
    found = world.show("host", host)["status"].get("ioThreads", [])
    return {one["number"]: set(one.get("devices", [])) for one in found if one.get("connected")}


def on_thread(world, device, number):
    wait_for(f"{device} on I/O thread {number}", lambda: device in threads(world).get(number, ()), check=world.check)


def interface(world):
    return world.net.sh("h1", "cat /sys/class/net/tap0/ifindex").strip()


def test_devices_are_spread(world):
    wait_for("both threads of both hosts", lambda: all(len(threads(world, host)) == 2 for host in ("h1", "h2")),
             check=world.check)
    found = threads(world)
    expect(set.union(*found.values()) == {name for _, name in DEVICES}, f"devices of h1: {found}")
    expect(sorted(len(devices) for devices in found.values()) == [1, 2], f"not spread: {found}")
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 5)


def test_devices_move_under_load(world):
    before = connects(world)
    index = interface(world)
    ping = world.helper("h1", "ping", "-q", "-i", "0.002", tapworld.ADDRESSES["h2"][0])
    for turn in range(6):
        number = 1 + turn % 2
        for noun, name, at in (("vdisk", "d0", number), ("vdisk", "d1", 3 - number), ("vnic", "tap-h1", number)):
            world.ctl(noun, "set", name, "--io-thread", str(at))
            on_thread(world, name, at)
        go_on(world)
        frames = world.counters("vnic", "tap-h2")["rx_frames"]
        wait_for("frames to go on", lambda frames=frames: world.counters("vnic", "tap-h2")["rx_frames"] > frames + 20,
                 check=world.check)
    expect(ping.running(), f"the ping goes on: {ping.output()[-500:]}")
    ping.kill()
    expect(interface(world) == index, "the TAP is another one")
    expect(connects(world) == before, "a guest had to connect again")


def test_requests_in_flight_move_too(world):
    """Sent to the appliance by one thread, not answered, sent again by the other: the guest's own check says the rest. The
    fabric's delay (see below) keeps some under way.
    """
    def told():
        """By the thread that has it now, some time after it came."""
        return world.counters("vdisk", "d0").get("host_requests_resent")

    def moved():
        for number in (1, 2, 1, 2):
            world.ctl("vdisk", "set", "d0", "--io-thread", str(number))
        wait_for("the counters of d0", lambda: told() is not None, check=world.check)
        return told()

    wait_for("a request that moved", moved, check=world.disks[0].check)
    go_on(world)


def test_what_is_pinned_nowhere_stays(world):
    before = threads(world)
    for noun, name in DEVICES:
        world.ctl(noun, "set", name, "--io-thread", "0")
    go_on(world)
    expect(threads(world) == before, f"{before} became {threads(world)}")


@contextlib.contextmanager
def moving(world):
    """The devices go from one thread to the other all the while."""
    ctl = shlex.join(world.ctl_command()[len(world.net.inside("app")):])
    steps = "; ".join(f"{ctl} {noun} set {name} --io-thread {number}" for number in (1, 2) for noun, name in DEVICES)
    mover = world.helper("app", "sh", "-c", f"while :; do {steps}; done")
    try:
        yield
        expect(mover.running(), mover.output()[-500:])
    finally:
        mover.kill()


def settle_down(world):
    """Where each is told to be, and all that they do goes on."""
    for noun, name in DEVICES:
        world.ctl(noun, "set", name, "--io-thread", "1")
        on_thread(world, name, 1)
        world.ctl(noun, "set", name, "--io-thread", "0")
    go_on(world)
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 5)


def test_appliance_killed(world):
    before = connects(world)
    where = threads(world)
    world.appliance.kill()
    world.start_appliance()
    wait_for("all devices where they were", lambda: threads(world) == where, check=world.check)
    go_on(world)
    for _ in range(2):
        with moving(world):
            go_on(world)
            world.appliance.kill()
            world.start_appliance()
            go_on(world)
    settle_down(world)
    expect(connects(world) == before, "a guest had to connect again")


def test_agent_killed(world):
    for _ in range(2):
        with moving(world):
            go_on(world)
            world.agents["h1"].kill()
            world.start_agent("h1")
            go_on(world)
    wait_for("both threads", lambda: len(threads(world)) == 2, check=world.check)
    tapworld.set_up_tap(world, "h1")
    settle_down(world)


def test_devices_go_from_either_thread(world):
    path = world.attached("vdisk", "d1", "h1")
    for number in (1, 2):
        world.ctl("vdisk", "set", "d1", "--state", "up", "--io-thread", str(number))
        on_thread(world, "d1", number)
        go_on(world)
        world.ctl("vdisk", "set", "d1", "--state", "down")
        wait_for("d1's socket to go", lambda: not os.path.exists(path), check=world.check)
    world.ctl("vdisk", "set", "d1", "--state", "up")
    go_on(world)


if __name__ == "__main__":
    case.main(globals(), case.world_of("threads", agent_options=("--io-threads", "2", "--impair", "delay=1ms")), setup)
