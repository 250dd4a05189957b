# SPDX-License-Identifier: Apache-2.0
"""Traffic between two hosts' TAPs that runs while something is done to the fabric, and tells how it fared."""

import contextlib
import re
import signal
import subprocess

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
# 64 KiB every two milliseconds, until standard input ends.
SEND = """
import hashlib, os, select, socket, sys
connection = socket.create_connection((sys.argv[1], 7001), 10)
connection.settimeout(120)
digest, length, block = hashlib.sha256(), 0, bytearray(os.urandom(65536))
while not select.select([sys.stdin], [], [], 0.002)[0]:
    block[:8] = length.to_bytes(8, "big")
    connection.sendall(block)
    digest.update(block)
    length += len(block)
connection.close()
print(digest.hexdigest(), length)
"""


class Flow:
    """What a flow came to: .gap, the longest pause of the TCP stream in seconds; .bytes; .lost of .pings, the slowest of
    which took .slowest seconds.
    """


@contextlib.contextmanager
def flow(world, source="h1", target="h2", interval=0.01):
    """A paced TCP stream and pings in the block; every byte must arrive. The figures are there after the block."""
    address = tapworld.ADDRESSES[target][0]
    figures = Flow()

    def python(node, program, *arguments, **pipes):
        return subprocess.Popen([*world.net.inside(node), "/usr/bin/python3", "-c", program, *arguments],
                                stdout=subprocess.PIPE, text=True, **pipes)

    tapworld.ping(world, source, address)
    receiver = python(target, RECEIVE)
    running = [receiver]
    try:
        wait_for("the receiver to listen", lambda: ":7001" in world.net.sh(target, "ss -ltn"))
        sender = python(source, SEND, address, stdin=subprocess.PIPE)
        pings = subprocess.Popen([*world.net.inside(source), "ping", "-i", str(interval), address],
                                 stdout=subprocess.PIPE, text=True)
        running += [sender, pings]
        wait_for("the stream", lambda: "ESTAB" in world.net.sh(source, "ss -tn dport = :7001"))
        yield figures
        expect(sender.poll() is None, "the sender has ended: its connection broke")
        sender.stdin.close()
        sent = sender.stdout.read().split()
        expect(sender.wait(130) == 0, "the sender failed")
        came = receiver.communicate(timeout=60)[0].split()
        pings.send_signal(signal.SIGINT)
        told = pings.communicate(timeout=20)[0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    expect(sent == came[:2], f"{sent[1]} bytes were sent, {came[1]} came, or others")
    figures.slowest = max(float(time) for time in re.findall(r" time=([\d.]+) ms", told)) / 1e3
    found = re.search(r"(\d+) packets transmitted, (\d+) received", told)
    figures.bytes, figures.gap = int(came[1]), float(came[2])
    figures.pings = int(found.group(1))
    figures.lost = figures.pings - int(found.group(2))
    print(f"  {figures.bytes / 1e6:.0f} MB over TCP, longest pause {figures.gap * 1e3:.0f} ms; "
          f"{figures.lost} of {figures.pings} pings lost, "
          f"the slowest {figures.slowest * 1e3:.0f} ms", flush=True)
