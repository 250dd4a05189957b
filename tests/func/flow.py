# SPDX-License-Identifier: Apache-2.0
"""Traffic between two hosts' TAPs that runs while something is done to the fabric, and tells how it fared."""

import contextlib
import re
import signal
import subprocess

import tapworld
from case import expect, wait_for
from proc import PATIENCE, child

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
# 64 KiB every two milliseconds, until standard input ends.
SEND = """
import hashlib, os, select, socket, sys
connection = socket.create_connection((sys.argv[1], 7001), 60)
connection.settimeout(180)
digest, length, block = hashlib.sha256(), 0, bytearray(os.urandom(65536))
while not select.select([sys.stdin], [], [], 0.002)[0]:
    block[:8] = length.to_bytes(8, "big")
    connection.sendall(block)
    digest.update(block)
    length += len(block)
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
        expect(self.gap < STALL_S, f"TCP paused for {self.gap:.1f} s")
        expect(session_after == session_before, "the session is another one")

    def moves(self, what, bytes=2 << 20):
        """Waits until so many bytes more have come to the target, from now on: the traffic goes on."""
        def came():
            return int(self.world.net.sh(self.target, "cat /sys/class/net/tap0/statistics/rx_bytes"))

        goal = came() + bytes
        wait_for(f"traffic while {what}", lambda: came() >= goal, check=self.world.check)


@contextlib.contextmanager
def flow(world, source="h1", target="h2", interval=0.01):
    """A paced TCP stream and pings in the block; every byte must arrive. The figures are there after the block."""
    address = tapworld.ADDRESSES[target][0]
    figures = Flow(world, target)

    def python(node, program, *arguments, **pipes):
        return child([*world.net.inside(node), "/usr/bin/python3", "-c", program, *arguments],
                     stdout=subprocess.PIPE, text=True, **pipes)

    tapworld.ping(world, source, address)
    receiver = python(target, RECEIVE)
    running = [receiver]
    try:
        wait_for("the receiver to listen", lambda: ":7001" in world.net.sh(target, "ss -ltn"))
        sender = python(source, SEND, address, stdin=subprocess.PIPE)
        pings = child([*world.net.inside(source), "ping", "-q", "-i", str(interval), address], stdout=subprocess.PIPE, text=True)
        running += [sender, pings]
        wait_for("the stream", lambda: "ESTAB" in world.net.sh(source, "ss -tn dport = :7001"))
        yield figures
        expect(sender.poll() is None, "the sender has ended: its connection broke")
        sender.stdin.close()
        sent = sender.stdout.read().split()
        expect(sender.wait(2 * PATIENCE) == 0, "the sender failed")
        came = receiver.communicate(timeout=2 * PATIENCE)[0].split()
        pings.send_signal(signal.SIGINT)
        told = pings.communicate(timeout=PATIENCE)[0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    expect(sent == came[:2], f"{sent[1]} bytes were sent, {came[1]} came, or others")
    figures.slowest = float(re.search(r"rtt min/avg/max/mdev = [\d.]+/[\d.]+/([\d.]+)/|$", told).group(1) or "inf") / 1e3
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    figures.bytes, figures.gap = int(came[1]), float(came[2])
    figures.pings = int(found.group(1))
    figures.lost = figures.pings - int(found.group(2))
    print(f"  {figures.bytes / 1e6:.0f} MB over TCP, longest pause {figures.gap * 1e3:.0f} ms; "
          f"{figures.lost} of {figures.pings} pings lost, "
          f"the slowest {figures.slowest * 1e3:.0f} ms", flush=True)
