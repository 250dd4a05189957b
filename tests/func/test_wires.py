# SPDX-License-Identifier: Apache-2.0
"""The world's own wires, without any daemon: the fabric joins all, and the VLAN trunk tags and untags.

      h1 ── rack ── app ═══ VLAN 100 ═══ lan
"""

import socket
import struct
import subprocess

import case
import net
from case import expect, wait_for
from proc import PATIENCE, child

# Runs in the appliance's namespace: shows the tag of the first frame from the station, answers its ARP request
# for 10.20.0.9 in VLAN 100 and for 10.20.0.10 in VLAN 101.
TRUNK_END = """
import socket, struct
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
port.bind(("upl0", 0))
port.setsockopt(263, 8, 1)
port.settimeout(60)
print("ready", flush=True)
asked = set()
while len(asked) < 2:
    frame, extra, _, _ = port.recvmsg(2048, 256)
    status, _, _, _, _, tci, _ = struct.unpack("IIIHHHH", extra[0][2][:20])
    if frame[12:14] != b"\\x08\\x06" or frame[38:42] in asked:
        continue
    wanted = frame[38:42]
    asked.add(wanted)
    print("tag", tci & 0xfff if status & 0x10 else 0, flush=True)
    mac = bytes([2, 0, 0, 0, 0, wanted[3]])
    reply = struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + mac + wanted + frame[6:12] + frame[28:32]
    vlan = 100 if wanted[3] == 9 else 101
    port.send(frame[6:12] + mac + struct.pack("!HHH", 0x8100, vlan, 0x806) + reply + bytes(18))
"""


def test_fabric_joins_hosts_and_appliance(world):
    for node, target in (("h1", "10.99.0.12"), ("h2", "10.99.0.1"), ("h1", "fd99::1"), ("app", "fd99::12")):
        world.net.sh(node, f"ping -c 5 -i 0.2 -W 5 {target}")


def test_trunk_tags_and_untags(world):
    end = child(world.net.inside("app") + ["/usr/bin/python3", "-c", TRUNK_END], stdout=subprocess.PIPE, text=True)
    expect(end.stdout.readline() == "ready\n", "the trunk's end did not start")
    world.net.sh("lan", "ping -c 1 -W 1 10.20.0.9", check=False)
    world.net.sh("lan", "ping -c 1 -W 1 10.20.0.10", check=False)
    seen = end.communicate(timeout=PATIENCE)[0].split("\n")[:2]
    expect(seen == [f"tag {net.VLAN}"] * 2, f"tags on the trunk: {seen}")

    def neighbours():
        return world.net.sh("lan", "ip neigh show dev uplp")

    wait_for("VLAN 100 to be let in", lambda: "10.20.0.9 lladdr 02:00:00:00:00:09" in neighbours())
    expect("02:00:00:00:00:0a" not in neighbours(), f"VLAN 101 was let in: {neighbours()}")


def unanswered_datagrams(world):
    """How many datagrams the appliance's kernel got for ports that nobody listens on."""
    names, values = [line.split() for line in world.net.sh("app", "cat /proc/net/snmp").splitlines()
                     if line.startswith("Udp:")]
    return int(values[names.index("NoPorts")])


def test_kernel_sees_nothing_on_the_uplink(world):
    mac = bytes.fromhex(world.net.sh("app", "cat /sys/class/net/upl0/address").strip().replace(":", ""))
    source, target = socket.inet_aton("10.99.0.77"), socket.inet_aton(net.fabric("ipv4", "app"))
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 46, 1, 0, 64, 17, 0, source, target)
    total = sum(struct.unpack("!10H", header))
    total = (total & 0xffff) + (total >> 16)
    header = header[:10] + struct.pack("!H", ~total & 0xffff) + header[12:]
    frame = mac + bytes.fromhex("0200000000090800") + header + struct.pack("!HHHH", 7, 4999, 26, 0) + bytes(18)
    send = ("import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('uplp', 0)); "
            f"s.send(bytes.fromhex('{frame.hex()}'))")
    # The station's own egress would tag it, which the kernel would not take either.
    world.net.sh("lan", "tc filter del dev uplp egress")
    before = unanswered_datagrams(world)
    subprocess.run(world.net.inside("lan") + ["/usr/bin/python3", "-c", send], check=True)
    expect(unanswered_datagrams(world) == before, "the kernel took a frame from the uplink")
    world.net.sh("app", "nft flush ruleset")
    subprocess.run(world.net.inside("lan") + ["/usr/bin/python3", "-c", send], check=True)
    wait_for("the kernel to take the frame", lambda: unanswered_datagrams(world) == before + 1)


if __name__ == "__main__":
    case.main(globals(), case.world_of("wires"))
