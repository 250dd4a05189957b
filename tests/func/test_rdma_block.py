#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM's disk over RDMA: payload goes between its memory and the appliance by READ and WRITE.

The stand is test_rdma.py's. disk_guest (tests/func/disk_guest) is the VM in the host guest: it writes and reads without
pause, knows what each block must hold, and sees every byte that comes into its memory where or when none should.

    make test-rdma
"""

import os

import case
import rdma
import test_rdma as base
from case import expect
from guarded import Guarded

COPIED = ("host_request_copied_bytes", "host_completion_copied_bytes", "tunnel_request_copied_bytes",
          "tunnel_completion_copied_bytes")
KEYED = ("host_requests_keyed", "tunnel_requests_keyed")


class Stand(base.Stand, Guarded):
    def check(self):
        super().check()
        expect(self.host.run("pidof disk_guest || ! test -e /run/disk.started").ok,
               f"the VM goes on\n{self.log(self.host, 'disk_guest')}")

    def counters(self):
        """Of the disk: the appliance's as tunnel_*, and the agent's as host_*, which are about a second old."""
        out = self.ctl("vdisk", "show", "d", "--counters", "-o", "json")
        counters = {name: int(value) for name, value in base.json.loads(out)["status"]["counters"].items()}
        return {name: counters.get(name, 0) for name in (*COPIED, *KEYED, *counters)}

    def vm(self):
        return self.numbers("disk")

    def done(self):
        now = self.vm()
        return now.get("reads", 0) + now.get("writes", 0)

    def goes_on(self, number=30):
        """So many requests more, each looked at by the VM."""
        before = self.done()
        self.wait(f"{number} requests more", lambda: self.done() >= before + number)

    def by_key(self):
        """Requests go by key (again)."""
        before = self.counters()["tunnel_requests_keyed"]
        self.wait("requests by key", lambda: self.counters()["tunnel_requests_keyed"] >= before + 20)


def setup(stand):
    stand.guard_agent()
    base.setup(stand)
    stand.wait("both RDMA paths up", stand.rdma_up)
    stand.app.must("mkdir -p /run/vol")
    stand.ctl("pool", "create", "pool0", "--directory", "/run/vol")
    stand.ctl("profile", "create", "p", "--host", "host")
    stand.ctl("volume", "create", "v", "--pool", "pool0", "--size", "4M")
    stand.ctl("vdisk", "create", "d", "--profile", "p", "--volume", "v")
    stand.wait("the disk's socket", lambda: stand.host.run("test -S /run/og/d.sock").ok)
    stand.host.must("disk_guest /run/og/d.sock /run/disk.status > /run/disk_guest.log 2>&1 & touch /run/disk.started")


def untouched(stand):
    """100 requests by key while nothing was copied by agent or appliance; else what was."""
    before = stand.counters()
    stand.goes_on(100)
    stand.wait("counters", lambda: all(stand.counters()[name] >= before[name] + 100 for name in KEYED))
    now = stand.counters()
    return {name: now[name] - before[name] for name in COPIED if now[name] != before[name]}


def test_no_processor_touches_payload(stand):
    """Once the memory is announced."""
    stand.goes_on()
    stand.no_copies(lambda: untouched(stand))
    print(stand.counters())


def test_the_agent_may_not_touch_payload(stand):
    stand.no_access(stand.by_key, stand.done)


def test_new_memory_under_way(stand):
    """The VM tells a new memory table of the same memory: keys go and others come."""
    for _ in range(2):
        tables = stand.vm()["tables"]
        stand.host.must("kill -USR1 $(pidof disk_guest)")
        stand.wait("a new table", lambda: stand.vm()["tables"] > tables)
        stand.goes_on()
    stand.by_key()


def test_a_cut_wire(stand):
    """What was under way on it is asked for or sent again."""
    stand.a_cut_wire()


def test_no_wire_but_udp(stand):
    def copied():
        before = stand.counters()
        stand.goes_on()
        name = "tunnel_completion_copied_bytes"
        stand.wait("copied bytes", lambda: stand.counters()[name] > before[name])

    stand.no_wire_but_udp(copied)


def test_broken_queue_pairs(stand):
    with stand.half_cut(2):
        stand.goes_on()
    stand.by_key()


def test_a_killed_agent(stand):
    stand.a_killed_agent(lambda: stand.vm()["connects"])


def test_a_killed_appliance(stand):
    stand.a_killed_appliance()
    print(stand.vm(), stand.rdma_counters())


def world():
    image = rdma.build_image(base.GUEST)
    return Stand(f"{os.path.dirname(os.path.abspath(__file__))}/../../build/func/rdma_block", image)


if __name__ == "__main__":
    case.main(globals(), world(), setup)
