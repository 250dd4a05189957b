# SPDX-License-Identifier: Apache-2.0
"""Offloads of a host's NIC that the fabric over UDP lives by: an agent names those that are missing."""

import os

import case
import tapworld
from case import expect


def test_missing_offloads_of_the_nic_are_named(world):
    agent = world.agents["h1"]
    for feature, word in (("tx-udp-segmentation", "does not segment UDP"), ("gro", "does not gather")):
        agent.stop()
        start = os.path.getsize(agent.log_path)
        world.net.sh("h1", f"ethtool -K fab0 {feature} off")
        world.start_agent("h1")
        expect(case.logged(agent, word, start), f"nothing was said of {feature}")
        world.net.sh("h1", f"ethtool -K fab0 {feature} on")
    agent.stop()
    start = os.path.getsize(agent.log_path)
    world.start_agent("h1")
    expect(not case.logged(agent, "ethtool -K", start), "offloads that are there were named as missing")
    tapworld.set_up_tap(world, "h1")
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0])


if __name__ == "__main__":
    case.main(globals(), case.world_of("offloads"), tapworld.setup)
