# SPDX-License-Identifier: Apache-2.0
"""A fabric of MTU 9000 before a DPDK port that carries 3282 of them: the chunk that fits is found."""

import case
import test_jumbo as jumbo
from test_jumbo import (setup, test_jumbo_frames_are_found_and_used, test_a_host_takes_less,  # noqa: F401, I001
                        test_a_switch_that_passes_1500_only)  # narrow from there on: the last

jumbo.WIDE = 3282 - 28 - 48  # IPv4 and UDP; base header and tag

if __name__ == "__main__":
    case.main(globals(), case.world_of("jumbo_dpdk", link="dpdk", mtu=9000), setup)
