#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Removes the worlds that `make run KEEP=1` left, and those of killed runs."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import world


def main():
    world.need_root()
    count = world.clean_stale(kept_too=True)
    print(f"down: {count} world{'' if count == 1 else 's'} removed")
    return 0


if __name__ == "__main__":
    world.main_guard(main)
