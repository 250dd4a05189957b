# SPDX-License-Identifier: Apache-2.0
"""A guest writes while each daemon is killed, with LINK=dpdk: a short form of `make test-kill`."""

import demo

if __name__ == "__main__":
    demo.kill("dpdk", rounds=2)
