# SPDX-License-Identifier: Apache-2.0
"""The fabric over IPv6: sessions, pings and TCP between TAP vNICs."""

import case
import tapworld
from cases.tap import test_ping_both_families, test_tcp_both_ways_with_super_frames  # noqa: F401

if __name__ == "__main__":
    case.main(globals(), case.world_of("fabric6", fabric="ipv6"), tapworld.setup)
