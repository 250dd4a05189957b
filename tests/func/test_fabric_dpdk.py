# SPDX-License-Identifier: Apache-2.0
"""The fabric on a DPDK port of the appliance: the kernel keeps the port's address, only the fabric's datagrams are DPDK's."""

import case
import net
import tapworld
from cases.tap import (test_ping_both_families, test_restart_of_each_daemon_keeps_the_connection,  # noqa: F401
                      test_tcp_both_ways_with_super_frames)


def test_kernel_still_answers_on_the_fabric_port(world):
    for address in (net.fabric("ipv4", "app"), net.fabric("ipv6", "app")):
        world.net.sh("h1", f"ping -c 2 -i 0.1 -W 2 {address}")


if __name__ == "__main__":
    case.main(globals(), case.world_of("fabric_dpdk", link="dpdk"), tapworld.setup)
