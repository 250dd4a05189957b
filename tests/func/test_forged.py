# SPDX-License-Identifier: Apache-2.0
"""Hostile datagrams on the fabric: garbage, truncated, changed and replayed ones are dropped and counted; the session
stays, and the appliance grows no memory for them.
"""

import os
import random
import struct
import subprocess

import case
import tapworld
import world as w
from case import expect, wait_for
from proc import PATIENCE, child, own_memory

FLOOD = 20000

# Copies the fabric's datagrams that leave h1 (not larger than the MTU) to a file: u16 length, UDP payload.
CAPTURE = """
import socket, struct, sys
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
port.bind(("fab0", 0))
print("ready", flush=True)
with open(sys.argv[1], "wb") as out:
    while True:
        frame, where = port.recvfrom(65536)
        if where[2] != socket.PACKET_OUTGOING or frame[12:14] != b"\\x08\\x00" or frame[23] != 17:
            continue
        if struct.unpack("!H", frame[36:38])[0] != 4793 or len(frame) > 1500:
            continue
        payload = frame[42:]
        out.write(struct.pack("<HH", struct.unpack("!H", frame[34:36])[0], len(payload)) + payload)
        out.flush()
"""

# Sends the payloads of a file, from a UDP port that is the agent's own by way of a raw socket.
SEND = """
import socket, struct, sys
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP)
data = open(sys.argv[1], "rb").read()
at = 0
while at < len(data):
    port, length = struct.unpack_from("<HH", data, at)
    payload = data[at + 4:at + 4 + length]
    at += 4 + length
    try:
        raw.sendto(struct.pack("!HHHH", port, 4793, 8 + length, 0) + payload, (sys.argv[2], 0))
    except OSError:
        pass
"""


def python(world, node, program, *arguments, **options):
    return child(world.net.inside(node) + ["/usr/bin/python3", "-c", program, *arguments], **options)


def capture(world):
    """[(source port, payload)] of what h1 sent during some pings."""
    path = f"{world.directory}/captured"
    watcher = python(world, "h1", CAPTURE, path, stdout=subprocess.PIPE, text=True)
    try:
        watcher.stdout.readline()
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 30)
        wait_for("captured datagrams", lambda: os.path.getsize(path) > 2000)
    finally:
        watcher.kill()
        watcher.wait()
    with open(path, "rb") as file:
        data = file.read()
    found, at = [], 0
    while at + 4 <= len(data):
        port, length = struct.unpack_from("<HH", data, at)
        if at + 4 + length > len(data):
            break
        found.append((port, data[at + 4:at + 4 + length]))
        at += 4 + length
    return found


def send(world, node, datagrams):
    path = f"{world.directory}/to-send"
    with open(path, "wb") as file:
        for port, payload in datagrams:
            file.write(struct.pack("<HH", port, len(payload)) + payload)
    sender = python(world, node, SEND, path, world.addresses["app"])
    expect(sender.wait(3 * PATIENCE) == 0, "the sender failed")


def drops(world):
    return {name: value for name, value in world.all_counters().items() if "/drop_" in name}


def grown(world, before, wanted, count):
    """Waits until the drops whose names end in one of `wanted` have grown by `count`."""
    def enough():
        now = drops(world)
        delta = sum(now[name] - before.get(name, 0) for name in now if name.rpartition("/")[2] in wanted)
        return delta >= count

    wait_for(f"{count} drops counted as {' or '.join(wanted)}", enough, check=world.check)


def alive(world):
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 5)


def test_replayed(world):
    recorded = capture(world)
    before = drops(world)
    send(world, "h1", recorded * 3)
    grown(world, before, ("drop_replay", "drop_duplicate", "drop_window"), 2 * len(recorded))
    alive(world)


def test_replayed_from_another_host(world):
    recorded = capture(world)
    before = drops(world)
    send(world, "h2", recorded)
    grown(world, before, ("drop_replay", "drop_duplicate", "drop_window", "drop_auth"), len(recorded) // 2)
    alive(world)


def test_changed(world):
    chance = random.Random(1)
    changed = []
    for port, payload in capture(world)[:200]:
        damaged = bytearray(payload)
        damaged[chance.randrange(8, len(damaged))] ^= 1 << chance.randrange(8)  # behind type and SPI
        changed.append((port, bytes(damaged)))
    before = drops(world)
    send(world, "h1", changed)
    grown(world, before, ("drop_auth", "drop_replay", "drop_window", "drop_short"), len(changed) * 9 // 10)
    alive(world)


def test_truncated(world):
    recorded = capture(world)[:100]
    cut = [(port, payload[:length]) for port, payload in recorded for length in (0, 1, 7, 31, len(payload) - 1)]
    before = drops(world)
    send(world, "h1", cut)
    grown(world, before, ("drop_short", "drop_auth", "drop_unknown_spi", "drop_spi", "drop_replay",
                          "drop_rx_malformed"), len(cut) * 3 // 4)
    alive(world)


def test_garbage_from_a_stranger_takes_no_memory(world):
    chance = random.Random(2)
    strangers = [(chance.randrange(1024, 65536), chance.randbytes(chance.choice((8, 40, 64, 600, 1300))))
                 for _ in range(FLOOD)]
    send(world, "h2", strangers[:1000])
    before, memory = drops(world), own_memory(world.appliance.pid)
    send(world, "h2", strangers)
    grown(world, before, ("drop_unknown_spi", "drop_short", "drop_spi", "drop_version"), FLOOD // 4)
    growth = own_memory(world.appliance.pid) - memory
    expect(growth < 2 << 20, f"the appliance grew by {growth} bytes for garbage")
    alive(world)


def test_half_open_tls_does_not_stop_hosts(world):
    """Two hundred silent TCP connections to the control port: hosts stay, a restarted agent gets in."""
    hold = ("import socket, sys, time\nheld = []\n"
            f"for _ in range(200):\n    s = socket.socket(); s.settimeout(2)\n"
            f"    try: s.connect(('{world.addresses['app']}', {w.FABRIC_PORT})); held.append(s)\n"
            "    except OSError: break\n"
            "print(len(held), flush=True)\nsys.stdin.read()")
    holder = python(world, "h2", hold, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        holder.stdout.readline()
        alive(world)
        world.agents["h1"].stop()
        world.start_agent("h1")
        tapworld.set_up_tap(world, "h1")
        alive(world)
    finally:
        holder.kill()
        holder.wait()


if __name__ == "__main__":
    case.main(globals(), case.world_of("forged"), tapworld.setup)
