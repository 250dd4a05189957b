# SPDX-License-Identifier: Apache-2.0
"""What `make run LINK=udp` shows, each check a case."""

import demo

if __name__ == "__main__":
    demo.main("udp")
