# SPDX-License-Identifier: Apache-2.0
"""A world without guests: each host has a vNIC as a TAP interface, moved into a namespace of its own.

      h1 tap0 ──agent──┐                        ┌── uplink, VLAN 100 ── lan
                       ├── fabric ── appliance ─┤
      h2 tap0 ──agent──┘                        └── (network blue)

The real Linux stack of the hosts is the guest here: fast, and with every offload.
"""

import checks
import net
from case import wait_for

ADDRESSES = {"h1": ("10.20.0.21", "fd20::21"), "h2": ("10.20.0.22", "fd20::22")}
MACS = {"h1": "02:00:5e:00:01:01", "h2": "02:00:5e:00:01:02"}


def uplink(world):
    world.ctl("port", "create", "upl0", "--device", "af_packet:upl0")
    world.ctl("uplink", "create", "lan", "--ports", "upl0")
    world.ctl("network", "create", "blue", "--uplink", "lan", "--vlan", str(net.VLAN))


def add_tap(world, host):
    """A profile with one TAP vNIC at a host, addressed and up."""
    ip4, ip6 = ADDRESSES[host]
    world.ctl("profile", "create", f"p-{host}", "--host", host)
    world.ctl("vnic", "create", f"tap-{host}", "--profile", f"p-{host}", "--network", "blue", "--mac", MACS[host],
              "--ip", f"{ip4},{ip6}", "--frontend", "tap", "--tap-name", "tap0")
    set_up_tap(world, host)


def set_up_tap(world, host):
    ip4, ip6 = ADDRESSES[host]
    wait_for(f"tap0 on {host}", lambda: "tap0" in world.net.sh(host, "ip -br link", check=False),
             check=world.check)
    # The host's own routes must not short-cut the way: 10.20.0.0/24 is on tap0 alone.
    world.net.sh(host, "sysctl -qw net.ipv6.conf.tap0.accept_dad=0")
    world.net.sh(host, "ip link set tap0 up")
    world.net.sh(host, f"ip addr replace {ip4}/24 dev tap0")
    world.net.sh(host, f"ip addr replace {ip6}/64 dev tap0 nodad")


def setup(world):
    world.start()
    uplink(world)
    for host in world.host_names:
        add_tap(world, host)


def ping(world, node, target, count=1, size=56):
    """Waits for the first answer, then for `count` in a row."""
    for number in (1, count):
        checks.all_answered(f"{number} answers in a row from {target} to {node}",
                            f"ping -c {number} -i 0.02 -W 5 -s {size} {target}",
                            lambda command: world.net.sh(node, command, check=False), world.check)
