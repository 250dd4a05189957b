# SPDX-License-Identifier: Apache-2.0
"""A bad fabric: both ends drop, duplicate, reorder and corrupt. Guests' data must be whole, and the damage be counted."""

import hashlib
import os
import subprocess

import case
import tapworld
import world as w
from case import expect, wait_for

SPEC = "drop=1%,dup=0.5%,reorder=1%,corrupt=0.1%,seed=7"


class BadFabric(w.World):
    def appliance_command(self):
        return super().appliance_command() + ["--impair", SPEC]

    def agent_command(self, host, state=None):
        return super().agent_command(host, state) + ["--impair", SPEC]


def transfer(world, source, target, data):
    """Sends bytes over TCP from one host's stack to the other's; gives what arrived."""
    address = tapworld.ADDRESSES[target][0]
    receive = ("import socket, sys; s = socket.create_server(('', 7000)); c, _ = s.accept()\n"
               "while d := c.recv(65536): sys.stdout.buffer.write(d)")
    send = f"import socket, sys; s = socket.create_connection(('{address}', 7000), 10); s.sendall(sys.stdin.buffer.read())"
    receiver = subprocess.Popen(world.net.inside(target) + ["/usr/bin/python3", "-c", receive], stdout=subprocess.PIPE)
    try:
        wait_for("the receiver to listen", lambda: ":7000" in world.net.sh(target, "ss -ltn"))
        subprocess.run(world.net.inside(source) + ["/usr/bin/python3", "-c", send], input=data, check=True, timeout=120)
        return receiver.communicate(timeout=60)[0]
    finally:
        receiver.kill()


def test_bytes_are_whole_over_a_bad_fabric(world):
    data = os.urandom(16 << 20)
    for source, target in (("h1", "h2"), ("h2", "h1")):
        arrived = transfer(world, source, target, data)
        expect(hashlib.sha256(arrived).digest() == hashlib.sha256(data).digest(),
               f"{source} to {target}: {len(arrived)} of {len(data)} bytes, or others")


def test_corrupted_datagrams_were_refused_by_name(world):
    counters = world.all_counters()
    refused = {name: value for name, value in counters.items() if name.endswith("/drop_auth") and value}
    expect(refused, f"no drop_auth was counted among {len(counters)} counters")


def test_retransmissions_were_counted(world):
    expect(any(name.endswith("tx_retransmits") and value for name, value in world.all_counters().items()),
           "no retransmission was counted")


if __name__ == "__main__":
    case.main(globals(), BadFabric("build/func/impair"), tapworld.setup)
