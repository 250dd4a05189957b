# SPDX-License-Identifier: Apache-2.0
"""What `make run LINK=dpdk` shows, each check a case."""

import demo

if __name__ == "__main__":
    demo.main("dpdk")
