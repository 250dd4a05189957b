# SPDX-License-Identifier: Apache-2.0
"""Packed and split rings, one and four queues, MTU 1500 and 9000: real guests through the real daemons.

      round 1   vm1: packed, 4 queues      vm2: split, 1 queue       MTU 9000
      round 2   vm1: split, 4 queues       vm2: packed, 1 queue      MTU 1500
      round 3   vm1: packed, 4 queues      vm2: split, 1 queue       MTU 1500
      round 4   vm1: split, 4 queues       vm2: packed, 1 queue      MTU 9000

Rounds 3 and 4 make it all eight combinations; they run if RINGS=all (make func-rings), without kills.

In rounds 1 and 2: the driver got what was meant, ping at the full MTU, TCP both ways in as many streams as there are queues, and then
both daemons of vm1 are killed -9 while TCP and a disk write run.
"""

import os
import re

import case
import checks
from case import Skip, expect
from world import GUESTS

RING_PACKED = 34
ROUNDS = (((4, True), (1, False), 9000), ((4, False), (1, True), 1500),
          ((4, True), (1, False), 1500), ((4, False), (1, True), 9000))


def relaunch(world, one, two, mtu):
    for name, (queues, packed) in (("vm1", one), ("vm2", two)):
        if name in world.guests:
            world.guests[name].kill()
        world.ctl("vnic", "set", f"{name}-net", "--queues", str(queues), "--mtu", str(mtu))
        world.ctl("vdisk", "set", f"{name}-disk", "--queues", str(queues))
        world.wait_stable()
        world.launch(name, queues=queues, packed=packed, mtu=mtu)
    for name in ("vm1", "vm2"):
        world.guests[name].wait_ready(check=world.check)
        checks.guest_serves_iperf(world.guests[name])


def negotiated(guest, queues, packed, mtu):
    for device in ("net/eth0", "block/vda"):
        bits = guest.must(f"cat /sys/class/{device}/device/features").strip()
        expect(bits[RING_PACKED] == str(int(packed)), f"{guest.name} {device}: packed is {bits[RING_PACKED]}")
    found = len(guest.must("ls -d /sys/class/net/eth0/queues/rx-*").split())
    expect(found == queues, f"{guest.name}: {found} receive queues, not {queues}")
    enabled = guest.must("ethtool -l eth0").split("Current")[1]
    expect(re.search(rf"Combined:\s+{queues}\b", enabled), f"{guest.name}: {enabled}")
    found = len(guest.must("ls /sys/class/block/vda/mq").split())
    expect(found == queues, f"{guest.name}: {found} disk queues, not {queues}")
    found = int(guest.must("cat /sys/class/net/eth0/mtu"))
    expect(found == mtu, f"{guest.name}: MTU {found}, not {mtu}")


def tcp(world, one, two, streams):
    for options in ((), ("-R",)):
        checks.iperf(one, GUESTS[two.name]["ip4"], "-t", "2", "-P", str(streams), *options, check=world.check)


def spread(guest):
    """More than one receive queue got frames."""
    counts = re.findall(r"rx_queue_\d+_packets: (\d+)|rx\d+_packets: (\d+)", guest.must("ethtool -S eth0"))
    used = sum(int(a or b) > 20 for a, b in counts)
    expect(used > 1, f"{guest.name} received in {used} of {len(counts)} queues")


def kills(world, one, two):
    """Both daemons of vm1 die while it sends and writes."""
    checks.make_disk(one)
    writer = checks.Writer(one, world.check)
    flow = one.start(f"iperf3 -J -i 0 -c {GUESTS[two.name]['ip4']} -t 16 -P 2 --connect-timeout 5000")
    for moment, killer in ((6, checks.agent_killer(world, "h1")), (24, checks.appliance_killer(world)),
                           (40, checks.agent_killer(world, "h1"))):
        writer.reach(moment)
        checks.kill_and_restart(world, writer, *killer)
        checks.reach(one, GUESTS[two.name]["ip4"], world.check)
    writer.done()
    checks.verify(one, writer.sum)
    checks.no_io_errors(one)
    result = flow.wait(check=world.check)
    expect(result.ok and '"error"' not in result.output, f"TCP over the kills: {result.output[-300:]}")


def one_round(world, number):
    (first, second, mtu) = ROUNDS[number]
    relaunch(world, first, second, mtu)
    one, two = world.guests["vm1"], world.guests["vm2"]
    negotiated(one, *first, mtu)
    negotiated(two, *second, mtu)
    for source, target in ((one, two), (two, one)):
        checks.ping(source, GUESTS[target.name]["ip4"], 5, mtu - 28, world.check)
    return one, two


def test_packed_with_4_queues_and_split_with_1_at_MTU_9000(world):
    one, two = one_round(world, 0)
    tcp(world, one, two, 4)
    spread(one)


def test_kills_of_a_packed_guest_with_4_queues(world):
    kills(world, world.guests["vm1"], world.guests["vm2"])
    tcp(world, world.guests["vm1"], world.guests["vm2"], 4)


def test_split_with_4_queues_and_packed_with_1_at_MTU_1500(world):
    one, two = one_round(world, 1)
    tcp(world, one, two, 4)
    spread(one)


def test_kills_of_a_packed_guest_with_1_queue(world):
    two = world.guests["vm2"]
    agent = world.agents["h2"]
    flow = two.start(f"iperf3 -J -i 0 -c {GUESTS['vm1']['ip4']} -t 8 --connect-timeout 5000")
    for _ in range(2):
        agent.kill()
        world.start_agent("h2")
        checks.reach(two, GUESTS["vm1"]["ip4"], world.check)
    result = flow.wait(check=world.check)
    expect(result.ok and '"error"' not in result.output, f"TCP over the kills: {result.output[-300:]}")
    checks.no_io_errors(two)


def one_more_round(world, number):
    if os.environ.get("RINGS") != "all":
        raise Skip("RINGS=all (make func-rings) runs all combinations")
    one, two = one_round(world, number)
    tcp(world, one, two, 4)
    spread(one)


def test_packed_with_4_queues_and_split_with_1_at_MTU_1500(world):
    one_more_round(world, 2)


def test_split_with_4_queues_and_packed_with_1_at_MTU_9000(world):
    one_more_round(world, 3)


def setup(world):
    world.start()
    world.provision()


if __name__ == "__main__":
    case.main(globals(), case.world_of("rings"), setup)
