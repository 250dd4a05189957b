#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A peer with a queue pair that does what it must not: keys that were withdrawn, places beyond a region, lengths and
immediates that nothing of ours sends.

The appliance is made to do it by tests/func/hostile, on the real device of test_rdma's stand. The VM (disk_guest) looks at
every byte around its buffers and ends if one of them changed. Each time the connection must break, and that be all.
"""

import os
import time

import case
import rdma
import test_rdma as base
import test_rdma_block as block
from case import expect

LIMIT = 8448  # bytes of the largest message


def setup(stand):
    stand.app.must("mkdir -p /usr/libexec && mv /usr/bin/outriggerd /usr/libexec/ && "
                   "printf '#!/bin/sh\nexport LD_PRELOAD=/usr/bin/hostile.so\nexec /usr/libexec/outriggerd \"$@\"\n'"
                   " > /usr/bin/outriggerd && chmod +x /usr/bin/outriggerd")
    block.setup(stand)
    stand.by_key()


def breach(stand, order):
    """One operation; both ends lose that connection, make another, and the VM has noticed nothing."""
    stand.wait("both RDMA paths up", stand.rdma_up)
    before = stand.broken()
    started = time.monotonic()
    stand.app.must(f"echo {order} > /run/order && mv /run/order /run/hostile")
    stand.wait(f"{order}: done", lambda: not stand.app.run("test -e /run/hostile").ok)
    stand.wait(f"{order}: a broken connection", lambda: stand.broken() > before)
    print(f"  {order}: broken after {time.monotonic() - started:.1f} s", flush=True)
    stand.wait("both up again", stand.rdma_up)
    stand.goes_on()
    print(f"  {order}: up after {time.monotonic() - started:.1f} s", flush=True)


def test_a_read_where_it_may_breaks_nothing(stand):
    """So what breaks the others is what is wrong with them."""
    before = stand.broken()
    stand.app.must("echo read last 8 > /run/order && mv /run/order /run/hostile")
    stand.wait("a read done", lambda: not stand.app.run("test -e /run/hostile").ok)
    stand.goes_on()
    expect(stand.broken() == before, "a connection broke by what is allowed")


def test_beyond_a_region(stand):
    for operation in ("write", "read"):
        breach(stand, f"{operation} beyond 4096")


def test_more_than_a_region_holds(stand):
    """From inside it to behind its end: the VM has 4 MiB."""
    breach(stand, f"write last {4 << 20}")


def test_a_key_that_was_withdrawn(stand):
    """The VM's memory is told anew: the first key went with the first table."""
    tables = stand.vm()["tables"]
    stand.host.must("kill -USR1 $(pidof disk_guest)")
    stand.wait("a new table", lambda: stand.vm()["tables"] > tables)
    stand.by_key()
    for operation in ("write", "read"):
        breach(stand, f"{operation} first 4096")


def test_an_immediate(stand):
    breach(stand, "send-imm last 64")
    breach(stand, "write-imm last 0")


def test_a_wrong_length(stand):
    breach(stand, "send last 0")
    breach(stand, f"send last {LIMIT + 1}")


def test_after_detach(stand):
    """The keys went with the disk. The VM comes back to another of the same volume, and looks at all of its memory."""
    connects = stand.vm()["connects"]
    stand.ctl("vdisk", "delete", "d")
    stand.wait("the socket to go", lambda: not stand.host.run("test -S /run/og/d.sock").ok)
    before = stand.broken()
    stand.app.must("echo write last 4096 > /run/order && mv /run/order /run/hostile")
    stand.wait("a write done", lambda: not stand.app.run("test -e /run/hostile").ok)
    stand.wait("a broken connection", lambda: stand.broken() > before)
    stand.wait("both up again", stand.rdma_up)
    stand.ctl("vdisk", "create", "d", "--profile", "p", "--volume", "v")
    stand.wait("the VM is connected", lambda: stand.vm()["connects"] > connects)
    stand.goes_on()


def world():
    image = rdma.build_image(base.GUEST)
    return block.Stand(f"{os.path.dirname(os.path.abspath(__file__))}/../../build/func/rdma_hostile", image)


if __name__ == "__main__":
    case.main(globals(), world(), setup)
