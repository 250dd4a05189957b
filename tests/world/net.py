# SPDX-License-Identifier: Apache-2.0
"""The wires of the test world: network namespaces joined by veth pairs.

      h1 fab0 ──h1p ┐                                    VLAN 100
                    ├ rack (bridge rack0) ─appp── fab0 app upl0 ══════ uplp lan
      h2 fab0 ──h2p ┘                              (appliance)      (station outside)

Fabric: 10.99.0.0/24 and fd99::/64. Guests and the station: 10.20.0.0/24 and fd20::/64.
The station's interface tags by BPF (vlan.bpf.c), since not every kernel has 802.1Q devices.
"""

import glob
import os
import re
import subprocess

from proc import WorldError

NODES = ("h1", "h2", "rack", "app", "lan")
FABRIC4 = {"app": "10.99.0.1", "h1": "10.99.0.11", "h2": "10.99.0.12"}
FABRIC6 = {"app": "fd99::1", "h1": "fd99::11", "h2": "fd99::12"}
STATION4, STATION6 = "10.20.0.100", "fd20::100"
VLAN = 100

# The uplink's PMD taps upl0 before netfilter: dropping here hides the frames from the kernel, not from the appliance.
UPLINK_DROP = """table netdev uplink {
	chain in {
		type filter hook ingress device upl0 priority -500; policy drop;
	}
}
"""


def sh(*command, check=True, feed=None, timeout=30):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=feed, text=True,
                          timeout=timeout)
    if check and done.returncode:
        raise WorldError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Net:
    """The namespaces PREFIX-h1, PREFIX-h2, ... and what joins them."""

    def __init__(self, prefix, vlan_object, fabric_mtu=1500, dpdk_fabric=False):
        self.prefix = prefix
        self.vlan_object = os.path.abspath(vlan_object)
        self.mtu = fabric_mtu
        self.dpdk_fabric = dpdk_fabric

    def name(self, node):
        return f"{self.prefix}-{node}"

    def inside(self, node):
        """Command prefix that runs something in a node's namespace; the process keeps its pid."""
        return ["ip", "netns", "exec", self.name(node)]

    def sh(self, node, command, check=True, feed=None, timeout=30):
        return sh(*self.inside(node), *command.split(), check=check, feed=feed, timeout=timeout)

    def create(self):
        for node in NODES:
            sh("ip", "netns", "add", self.name(node))
            self.sh(node, "ip link set lo up")
            self.sh(node, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0")
        self.sh("rack", "ip link add rack0 type bridge stp_state 0 mcast_snooping 0")
        self.sh("rack", "ip link set rack0 up")
        for node in ("h1", "h2", "app"):
            self.veth(node, "fab0", "rack", f"{node}p", self.mtu)
            self.sh("rack", f"ip link set {node}p master rack0")
            self.sh(node, f"ip addr add {FABRIC4[node]}/24 dev fab0")
            self.sh(node, f"ip addr add {FABRIC6[node]}/64 dev fab0 nodad")
        if self.dpdk_fabric:
            # A DPDK port on veth gets no checksums that the sender left to its device, and loses offloaded tags.
            self.offload("rack", "appp", "tx off txvlan off")
        self.veth("app", "upl0", "lan", "uplp", 1500)
        self.sh("app", "sysctl -qw net.ipv6.conf.upl0.disable_ipv6=1")
        self.sh("app", "nft -f -", feed=UPLINK_DROP)
        self.offload("lan", "uplp", "tx off tso off gso off txvlan off rxvlan off")
        self.sh("lan", "tc qdisc add dev uplp clsact")
        for hook, section in (("egress", "tc/push"), ("ingress", "tc/pop")):
            self.sh("lan", f"tc filter add dev uplp {hook} bpf da obj {self.vlan_object} sec {section}")
        self.sh("lan", f"ip addr add {STATION4}/24 dev uplp")
        self.sh("lan", f"ip addr add {STATION6}/64 dev uplp nodad")

    def veth(self, a, a_link, b, b_link, mtu):
        sh("ip", "link", "add", a_link, "netns", self.name(a), "mtu", str(mtu), "type", "veth",
           "peer", "name", b_link, "netns", self.name(b), "mtu", str(mtu))
        self.sh(a, f"ip link set {a_link} up")
        self.sh(b, f"ip link set {b_link} up")

    def offload(self, node, link, settings):
        """ethtool -K, one setting at a time: what a driver has not cannot be switched off."""
        words = settings.split()
        for feature, value in zip(words[::2], words[1::2]):
            self.sh(node, f"ethtool -K {link} {feature} {value}", check=False)

    def delete(self):
        delete_namespaces(self.prefix)


def delete_namespaces(prefix):
    for path in glob.glob(f"/run/netns/{prefix}-*"):
        sh("ip", "netns", "del", os.path.basename(path), check=False)


def prefixes():
    """Prefixes of all worlds that have namespaces on this machine."""
    found = {re.match(r"(ogw\d+)-", os.path.basename(path)) for path in glob.glob("/run/netns/ogw*-*")}
    return {match.group(1) for match in found if match}
