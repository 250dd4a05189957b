# SPDX-License-Identifier: Apache-2.0
"""A bad fabric: both ends drop, duplicate, reorder and corrupt. Guests' data must be whole, and the damage be counted."""

import hashlib
import time

import tapworld
from case import expect, wait_for
from proc import PATIENCE

SPEC = "drop=1%,dup=0.5%,reorder=1%,corrupt=0.1%,seed=7"
OPTIONS = {"appliance_options": ("--impair", SPEC), "agent_options": ("--impair", SPEC)}
setup = tapworld.setup

# Random bytes of a seed: both ends know them.
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
import hashlib, socket, sys
connection = socket.create_connection((sys.argv[1], 7000), 100)
connection.settimeout(None)
connection.sendall(hashlib.shake_128(sys.argv[2].encode()).digest(int(sys.argv[3])))
"""


def transfer(world, source, target, length):
    """Sends bytes over TCP from one host's stack to the other's; gives checksum and length of what arrived."""
    receiver = world.helper(target, "/usr/bin/python3", "-S", "-c", RECEIVE)
    try:
        wait_for("the receiver to listen", lambda: ":7000" in world.net.sh(target, "ss -ltn"))
        sender = world.helper(source, "/usr/bin/python3", "-S", "-c", SEND, tapworld.ADDRESSES[target][0], source, str(length))
        status, told = sender.wait(3 * PATIENCE)
        expect(status == 0, f"the sender failed: {told[-300:]}")
        digest, came = receiver.wait(3 * PATIENCE)[1].split()
        return digest, int(came)
    finally:
        receiver.kill()


def test_bytes_are_whole_over_a_bad_fabric(world):
    wanted = (16 << 20) * world.BULK_MIB // 100
    for source, target in (("h1", "h2"), ("h2", "h1")):
        started = time.monotonic()
        digest, length = transfer(world, source, target, wanted)
        print(f"  {source} to {target}: {wanted / (time.monotonic() - started) / 1e6:.1f} MB/s")
        sent = hashlib.sha256(hashlib.shake_128(source.encode()).digest(wanted)).hexdigest()
        expect(length == wanted and digest == sent,
               f"{source} to {target}: {length} of {wanted} bytes, or others")


def test_corrupted_packets_were_refused_by_name(world):
    def refused():
        return any(name.endswith("/drop_auth") and value for name, value in world.all_counters().items())

    trouble(world, "a drop_auth", refused)


def test_retransmissions_were_counted(world):
    trouble(world, "a retransmission", lambda: any(name.endswith("tx_retransmits") and value
                                                   for name, value in world.all_counters().items()))


def trouble(world, what, counted):
    """Waits for it with a ping at a time: how many packets there were to harm is the link's."""
    def one_more():
        world.net.sh("h1", f"ping -c 20 -i 0.02 -W 1 {tapworld.ADDRESSES['h2'][0]}", check=False)
        return counted()

    wait_for(what, one_more, check=world.check)
