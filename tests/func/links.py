#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The functional tests of transport, network and block path, each over both links: tests/func/cases.

    tests/func/links.py LINK CASES[,CASES]... [PART OF A NAME]...     LINK is udp or rdma, CASES a module of tests/func/cases

A module there has OPTIONS (of the world), setup(world) and cases; it knows the world, not the link. tests/func/run runs every
module over every link, some of it ON_DEMAND alone. A program test_*.py is for what is meaningful over one link only, or over none, and must be in
ONE_LINK with the reason.
"""

import contextlib
import importlib
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(HERE, "../world")]
LINKS = ("udp", "rdma")

QEMU = "its guests are QEMU's, with a driver of their own; QEMU would run under QEMU to have RDMA"
ONE_LINK = {
    "test_api": "the management API, no fabric",
    "test_enrol": "certificates and tokens; the control channel is TLS over TCP whatever carries the data",
    "test_errors": "command lines; those of RDMA are in test_rdma",
    "test_fabric6": "addresses of UDP; an RDMA port has GIDs",
    "test_fabric_dpdk": "DPDK as a carrier of UDP",
    "test_forged": "datagrams from strangers: RDMA takes nothing from one without a queue pair. Hostile peers that have one "
                   "are in test_rdma_hostile",
    "test_jumbo": "MTU found by probing; a queue pair's MTU is agreed on when it is made, one that is too large for the way "
                  "is in test_rdma",
    "test_jumbo_dpdk": "as test_jumbo",
    "test_kill_dpdk": QEMU,
    "test_kill_udp": QEMU + "; cases/disk kills the same daemons",
    "test_loss": QEMU + "; cases/loss loses as much",
    "test_offloads": "offloads that UDP lives by",
    "test_rdma": "what only RDMA has: by key, queue pairs made anew, UDP as a backup",
    "test_rdma_block": "what only RDMA has: payload that no processor may touch",
    "test_rdma_net": "likewise, of frames",
    "test_rdma_hostile": "peers with a queue pair that break its rules",
    "test_rings": QEMU,
    "test_run_dpdk": QEMU,
    "test_run_udp": QEMU + "; cases/tap checks the same network",
    "test_store": "the store of the configuration, no fabric",
    "test_threads": "how an agent spreads devices over its threads, whatever carries their data",
    "test_tools": "checks of the tree",
    "test_vhost": "the vhost-user front-end without tunnel and appliance",
    "test_wires": "the namespaces of the test world",
}

# Run by `make test-rdma` alone until they have run often enough on busy machines to stand in everybody's way.
ON_DEMAND = ("bad_guests-rdma", "impair-rdma", "loss-rdma", "paths-rdma")


def modules():
    return sorted(name[:-3] for name in os.listdir(f"{HERE}/cases") if name.endswith(".py"))


def programs():
    return sorted(name[:-3] for name in os.listdir(HERE) if name.startswith("test_") and name.endswith(".py"))


def unnamed():
    """Programs without a reason."""
    return [name for name in programs() if name not in ONE_LINK]


def main(link, names):
    """Worlds over RDMA stand in the same guests, one after the other."""
    import case
    import rdma_world
    import world

    def work():
        failed = 0
        with rdma_world.Guests("build/func/rdma-guests") if link == "rdma" else contextlib.nullcontext() as guests:
            for name in names:
                module = importlib.import_module(f"cases.{name}")
                directory, options = f"build/func/{name}-{link}", getattr(module, "OPTIONS", {})
                stage = rdma_world.RdmaWorld(directory, guests, **options) if guests else world.World(directory, **options)
                started = time.monotonic()
                wrong = case.run(vars(module), stage, module.setup, f"{name}: " if len(names) > 1 else "")
                print(f"  {name} over {link} took {time.monotonic() - started:.0f} s", flush=True)
                if wrong and guests:
                    guests.drop()
                failed += wrong
        return 1 if failed else 0

    world.main_guard(work)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] not in LINKS or not set(sys.argv[2].split(",")) <= set(modules()):
        sys.exit(__doc__.strip())
    link, names = sys.argv[1:3]
    del sys.argv[1:3]
    main(link, names.split(","))
