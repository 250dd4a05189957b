# SPDX-License-Identifier: Apache-2.0
"""A bad fabric: both ends drop, duplicate, reorder and corrupt. Guests' data must be whole, and the damage be counted."""

import hashlib
import os
import subprocess
import time

import case
import tapworld
import world as w
from case import expect, wait_for
from proc import PATIENCE, child

SPEC = "drop=1%,dup=0.5%,reorder=1%,corrupt=0.1%,seed=7"


class BadFabric(w.World):
    def appliance_command(self):
        return super().appliance_command() + ["--impair", SPEC]

    def agent_command(self, host, state=None):
        return super().agent_command(host, state) + ["--impair", SPEC]


# The receiver tells the checksum of what came, the sender only sends.
RECEIVE = """
import hashlib, socket
connection, _ = socket.create_server(("", 7000)).accept()
digest, length = hashlib.sha256(), 0
while data := connection.recv(65536):
    digest.update(data)
    length += len(data)
print(digest.hexdigest(), length)
"""
SEND = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 7000), 60)
connection.settimeout(None)
connection.sendall(sys.stdin.buffer.read())
"""


def transfer(world, source, target, data):
    """Sends bytes over TCP from one host's stack to the other's; gives checksum and length of what arrived."""
    receiver = child(world.net.inside(target) + ["/usr/bin/python3", "-c", RECEIVE], stdout=subprocess.PIPE, text=True)
    try:
        wait_for("the receiver to listen", lambda: ":7000" in world.net.sh(target, "ss -ltn"))
        subprocess.run(world.net.inside(source) + ["/usr/bin/python3", "-c", SEND, tapworld.ADDRESSES[target][0]],
                       input=data, check=True, timeout=3 * PATIENCE)
        digest, length = receiver.communicate(timeout=3 * PATIENCE)[0].split()
        return digest, int(length)
    finally:
        receiver.kill()
        receiver.wait()


def test_bytes_are_whole_over_a_bad_fabric(world):
    data = os.urandom(16 << 20)
    for source, target in (("h1", "h2"), ("h2", "h1")):
        started = time.monotonic()
        digest, length = transfer(world, source, target, data)
        print(f"  {source} to {target}: {len(data) / (time.monotonic() - started) / 1e6:.1f} MB/s")
        expect(length == len(data) and digest == hashlib.sha256(data).hexdigest(),
               f"{source} to {target}: {length} of {len(data)} bytes, or others")


def test_corrupted_datagrams_were_refused_by_name(world):
    counters = world.all_counters()
    refused = {name: value for name, value in counters.items() if name.endswith("/drop_auth") and value}
    expect(refused, f"no drop_auth was counted among {len(counters)} counters")


def test_retransmissions_were_counted(world):
    expect(any(name.endswith("tx_retransmits") and value for name, value in world.all_counters().items()),
           "no retransmission was counted")


if __name__ == "__main__":
    case.main(globals(), BadFabric("build/func/impair"), tapworld.setup)
