# SPDX-License-Identifier: Apache-2.0
"""Traffic between two hosts' TAPs that runs while something is done to the fabric, and tells how it fared."""

import contextlib
import re

import proc
import tapworld
from case import expect, wait_for

# Counts and sums up what comes; says how long the longest pause was, before the end was told.
RECEIVE = """
import hashlib, socket, time
connection, _ = socket.create_server(("", 7001)).accept()
digest, length, gap, last = hashlib.sha256(), 0, 0.0, None
while data := connection.recv(1 << 20):
    now = time.monotonic()
    gap = max(gap, now - (last or now))
    last = now
    digest.update(data)
    length += len(data)
print(digest.hexdigest(), length, gap)
"""
# A block after each pause, until SIGTERM.
SEND = """
import hashlib, os, signal, socket, sys, time
ended = []
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
connection = socket.create_connection((sys.argv[1], 7001), 60)
connection.settimeout(300)
digest, length, block, pause = hashlib.sha256(), 0, bytearray(os.urandom(int(sys.argv[2]))), float(sys.argv[3])
while not ended:
    block[:8] = length.to_bytes(8, "big")
    connection.sendall(block)
    digest.update(block)
    length += len(block)
    time.sleep(pause)
connection.close()
print(digest.hexdigest(), length)
"""


STALL_S = 30  # a pause that no busy machine explains


class Flow:
    """What a flow came to: .bytes; .gap, the longest pause of the TCP stream in seconds; .lost of .pings, the slowest of
    which took .slowest seconds. How long and how many depends on who else wants a processor.
    """

    def __init__(self, world, target):
        self.world = world
        self.target = target

    def went_on(self, session_before, session_after):
        """Nothing that the traffic could not bear: it only paused, and the session is the same."""
        expect(self.gap < STALL_S * proc.slowness, f"TCP paused for {self.gap:.1f} s")
        expect(session_after == session_before, "the session is another one")

    def moves(self, what, times=1):
        """Waits until more has come to the target, from now on: the traffic goes on."""
        def came():
            return int(self.world.net.sh(self.target, "cat /sys/class/net/tap0/statistics/rx_bytes"))

        goal = came() + times * self.world.MOVES
        wait_for(f"traffic while {what}", lambda: came() >= goal, check=self.world.check)


@contextlib.contextmanager
def flow(world, source="h1", target="h2", slower=1):
    """A paced TCP stream and pings in the block; every byte must arrive. The figures are there after the block."""
    address = tapworld.ADDRESSES[target][0]
    figures = Flow(world, target)
    size, pause = world.PACE
    interval = world.PING * slower

    def python(node, program, *arguments):
        return world.helper(node, "/usr/bin/python3", "-S", "-c", program, *arguments)

    tapworld.ping(world, source, address)
    receiver = python(target, RECEIVE)
    running = [receiver]
    try:
        wait_for("the receiver to listen", lambda: ":7001" in world.net.sh(target, "ss -ltn"))
        sender = python(source, SEND, address, str(size), str(pause))
        pings = world.helper(source, "ping", "-q", "-i", f"{interval:g}", address)
        running += [sender, pings]
        wait_for("the stream", lambda: "ESTAB" in world.net.sh(source, "ss -tn dport = :7001"))
        yield figures
        expect(sender.running(), f"the sender has ended: its connection broke: {sender.output()[-300:]}")
        sender.signal("TERM")
        status, told = sender.wait(2 * proc.PATIENCE)
        expect(status == 0, f"the sender failed: {told[-300:]}")
        sent = told.split()
        came = receiver.wait(2 * proc.PATIENCE)[1].split()
        pings.signal("INT")
        told = pings.wait()[1]
    finally:
        for helper in running:
            helper.kill()
    expect(sent == came[:2], f"{sent[1]} bytes were sent, {came[1]} came, or others")
    figures.slowest = float(re.search(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/([\d.]+)/|$", told).group(1) or "inf") / 1e3
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    figures.bytes, figures.gap = int(came[1]), float(came[2])
    figures.pings = int(found.group(1))
    figures.lost = figures.pings - int(found.group(2))
    print(f"  {figures.bytes / 1e6:.1f} MB over TCP, longest pause {figures.gap * 1e3:.0f} ms; "
          f"{figures.lost} of {figures.pings} pings lost, "
          f"the slowest {figures.slowest * 1e3:.0f} ms", flush=True)
