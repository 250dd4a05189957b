#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A VM's frames over RDMA, from one guest's memory to another's: two guests with rdma_rxe (tests/world/rdma.py), in the
host's two VMs that are a vhost-user front-end and a virtio-net driver each (tests/func/nic_guest), which know what each byte
of the other must be.

    make test-rdma
"""

import collections
import json
import os
import time

import case
import rdma
import test_rdma as base
from case import expect
from guarded import Guarded

MACS = {"v": "02:00:5e:00:03:01", "w": "02:00:5e:00:03:02"}


class Stand(base.Stand, Guarded):
    """The pair with the daemons and two VMs' adapters."""

    def vm(self, name):
        """What a VM says of itself."""
        expect(self.host.run(f"pidof nic_guest | wc -w | grep -q {len(MACS)}").ok,
               f"both VMs run\n{self.host.run('cat /run/nic_*.log').output}")
        return self.numbers(name)

    def received(self):
        return [self.vm(name).get("received", 0) for name in MACS]

    def goes_on(self, number=10):
        """So many frames more at each VM, every byte looked at."""
        before = self.received()
        self.wait(f"{number} frames more at each VM", lambda: all(now >= was + number for was, now in
                                                                 zip(before, self.received())))

    def standing(self):
        """Twice, a while apart: what counts on and what stands."""
        told = ""
        for _ in range(2):
            told += "".join(f"{name}: {self.vm(name)} {json.dumps(self.vnic(name))}\n" for name in MACS)
            time.sleep(3)
        return told

    def counted(self):
        """Both vNICs' counters, summed; those of an agent that has not told any yet are 0."""
        return sum((collections.Counter(self.vnic(name)) for name in MACS), collections.Counter())

    def by_key(self):
        """Frames are fetched from a VM's memory and placed in the other's (again)."""
        before = self.counted()
        self.wait("frames by key", lambda: all(self.counted()[name] >= before[name] + 5 for name in
                                               ("tunnel_rx_fetched", "host_rx_posted")))


def setup(stand):
    stand.guard_agent()
    base.setup(stand)
    stand.wait("both RDMA paths up", stand.rdma_up)
    stand.ctl("network", "create", "blue")
    stand.ctl("profile", "create", "p", "--host", "host")
    for name, mac in MACS.items():
        stand.ctl("vnic", "create", name, "--profile", "p", "--network", "blue", "--mac", mac)
    for name, other in (("v", "w"), ("w", "v")):
        stand.host.must(f"nic_guest /run/og/{name}.sock {MACS[name]} {MACS[other]} /run/{name}.status "
                        f"> /run/nic_{name}.log 2>&1 & touch /run/{name}.started")


def test_frames_pass_whole(stand):
    stand.goes_on(50)
    stand.by_key()


def untouched(stand):
    """What agent and appliance copied while 100 frames and more went, all of them by key: names and bytes."""
    before = stand.counted()
    goal = {name: before[name] + 100 for name in ("tunnel_rx_fetched", "host_rx_posted")}
    stand.goes_on(100)
    stand.wait("counters", lambda: all(stand.counted()[name] >= value for name, value in goal.items()))
    now = stand.counted()
    frames = now["tunnel_rx_frames"] - before["tunnel_rx_frames"]
    headers = 128 * (frames + 10)  # the head of a frame goes in its message; counters are not of one moment
    copied = {name: now[name] - before[name] for name in
              ("host_tx_copied_bytes", "tunnel_rx_copied_bytes", "tunnel_tx_copied_bytes", "host_rx_copied_bytes")}
    return {name: value for name, value in copied.items() if value > (headers if name.endswith("tx_copied_bytes") or
                                                                     name == "tunnel_rx_copied_bytes" else 0)}


def test_no_processor_copies_payload(stand):
    stand.no_copies(lambda: untouched(stand))
    print(stand.counted())


def test_the_agent_may_not_touch_payload(stand):
    stand.no_access(stand.by_key, lambda: sum(stand.received()))


def test_new_memory_under_way(stand):
    """A VM tells a new memory table of the same memory: keys go and others come."""
    stand.goes_on()
    tables = stand.vm("v")["tables"]
    stand.host.must("killall -USR1 nic_guest")
    stand.wait("a new table", lambda: stand.vm("v")["tables"] > tables)
    stand.goes_on()
    stand.by_key()


def test_a_paused_guest(stand):
    """Its receive queue is stopped and started under traffic: nothing is written meanwhile, no buffer is lost."""
    stand.goes_on()
    for _ in range(2):
        stops = stand.vm("w")["stops"]
        stand.host.must("killall -USR2 nic_guest")
        stand.wait("both stopped and went on", lambda: stand.vm("w")["stops"] > stops)
        stand.goes_on()
    stand.by_key()


def test_a_cut_wire(stand):
    stand.a_cut_wire()


def test_no_wire_but_udp(stand):
    stand.no_wire_but_udp(stand.goes_on)


def test_a_killed_agent(stand):
    stand.goes_on()
    stand.a_killed_agent(lambda: stand.vm("v")["connects"])


def test_a_killed_appliance(stand):
    stand.a_killed_appliance()
    print({name: stand.vm(name) for name in MACS})


def world():
    image = rdma.build_image(base.GUEST)
    return Stand(f"{os.path.dirname(os.path.abspath(__file__))}/../../build/func/rdma_net", image)


if __name__ == "__main__":
    case.main(globals(), world(), setup)
