# SPDX-License-Identifier: Apache-2.0
"""The wires of the test world: network namespaces joined by veth pairs.

      h1 fab0 ──h1p ┐                                    VLAN 100
                    ├ rack (bridge rack0) ─appp── fab0 app upl0 ══════ uplp lan
      h2 fab0 ──h2p ┘                              (appliance)      (station outside)

Fabric: 10.99.0.0/24 and fd99::/64. Guests and the station: 10.20.0.0/24 and fd20::/64.
The station's interface tags by BPF (vlan.bpf.c), since not every kernel has 802.1Q devices.

With two paths there is a second switch, rack1, with fab1 in each node and the ports h1q, h2q and appq: 10.99.1.0/24 and
fd99:0:0:1::/64. With relays, the appliance's port of each switch is behind tests/tools/relay, which loses and delays.
"""

import contextlib
import glob
import os
import re
import signal
import subprocess

from proc import PATIENCE, WorldError

NODES = ("h1", "h2", "rack", "app", "lan")
PORTS = ("p", "q")  # what the switch of a path calls a node's port: NODE and this
STATION4, STATION6 = "10.20.0.100", "fd20::100"
VLAN = 100

# The uplink's PMD taps upl0 before netfilter: dropping here hides the frames from the kernel, not from the appliance.
UPLINK_DROP = """table netdev uplink {
	chain in {
		type filter hook ingress device upl0 priority -500; policy drop;
	}
}
"""


# What a wire never sees whole: packets that are to be segmented, or were merged.
TRAINS = "tcp-segmentation-offload tx-udp-segmentation generic-segmentation-offload generic-receive-offload"


def fabric(family, node, path=0):
    """A node's address in the fabric of a path."""
    number = {"app": "1", "h1": "11", "h2": "12"}[node]
    if family == "ipv4":
        return f"10.99.{path}.{number}"
    return f"fd99:0:0:{path}::{number}" if path else f"fd99::{number}"


def sh(*command, check=True, feed=None, timeout=PATIENCE):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, input=feed, text=True,
                          timeout=timeout)
    if check and done.returncode:
        raise WorldError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Net:
    """The namespaces PREFIX-h1, PREFIX-h2, ... and what joins them."""

    def __init__(self, prefix, vlan_object, fabric_mtu=1500, dpdk_fabric=False, paths=1, relays=False):
        self.prefix = prefix
        self.paths = paths
        self.relays = relays
        self.vlan_object = os.path.abspath(vlan_object)
        self.mtu = fabric_mtu
        self.dpdk_fabric = dpdk_fabric

    def name(self, node):
        return f"{self.prefix}-{node}"

    def inside(self, node):
        """Command prefix that runs something in a node's namespace; the process keeps its pid."""
        return ["ip", "netns", "exec", self.name(node)]

    def sh(self, node, command, check=True, feed=None, timeout=PATIENCE):
        return sh(*self.inside(node), *command.split(), check=check, feed=feed, timeout=timeout)

    def create(self):
        for node in NODES:
            sh("ip", "netns", "add", self.name(node))
            self.sh(node, "ip link set lo up")
            self.sh(node, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0")
        for path in range(self.paths):
            self.create_fabric(path)
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

    def create_fabric(self, path):
        """The switch of a path, and a link to it from each host and the appliance."""
        rack, link = f"rack{path}", f"fab{path}"
        self.sh("rack", f"ip link add {rack} type bridge stp_state 0 mcast_snooping 0")
        self.sh("rack", f"ip link set {rack} up")
        # A kernel that has bridge netfilter built in would run every datagram through it.
        self.sh("rack", "sysctl -eqw " + " ".join(f"net.bridge.bridge-nf-call-{what}tables=0" for what in ("ip", "ip6", "arp")))
        for node in ("h1", "h2", "app"):
            port = node + PORTS[path]
            self.veth(node, link, "rack", port, self.mtu)
            self.sh(node, f"ip addr add {fabric('ipv4', node, path)}/24 dev {link}")
            self.sh(node, f"ip addr add {fabric('ipv6', node, path)}/64 dev {link} nodad")
            if self.relays:
                self.no_trains(node, path)
            if self.relays and node == "app":
                self.veth("rack", f"relay{path}", "rack", f"relayed{path}", self.mtu)
                port = f"relayed{path}"
            self.sh("rack", f"ip link set {port} master {rack}")

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

    def no_trains(self, node, path=0):
        """What a node sends on a path is cut into datagrams before the cable: trains pass any MTU in the kernel."""
        self.offload(node, f"fab{path}", " ".join(f"{feature} off" for feature in TRAINS.split()))

    # ---- faults ----

    def port(self, node, path=0):
        """What the rack calls a node's port of a path."""
        return node + PORTS[path]

    def cut(self, node, path=0):
        """Pulls the cable: the node sees its link go down."""
        self.sh("rack", f"ip link set {self.port(node, path)} down")

    def mend(self, node, path=0):
        self.sh("rack", f"ip link set {self.port(node, path)} up")

    def cut_all(self, node):
        """Every cable of a node; mend_all() puts them in again."""
        for path in range(self.paths):
            self.cut(node, path)

    def mend_all(self, node):
        for path in range(self.paths):
            self.mend(node, path)

    def narrow(self, node, path=0, mtu=1500):
        """The switch swallows what is larger on the way from and to a node, without a word."""
        self.sh("rack", f"ip link set {self.port(node, path)} mtu {mtu}")

    def forbid(self, *rules):
        """The switches drop what one of these nft rules matches, and nothing else any more: links stay up."""
        chain = "".join(f"\t\t{rule} drop\n" for rule in rules)
        self.sh("rack", "nft -f -", feed=f"table bridge faults\ndelete table bridge faults\n"
                f"table bridge faults {{\n\tchain pass {{\n\t\ttype filter hook forward priority 0;\n{chain}\t}}\n}}\n")

    def black_hole(self, node, path=0):
        """Nothing passes the node's port, though its link is up. allow() ends it."""
        self.forbid(f"iifname {self.port(node, path)}", f"oifname {self.port(node, path)}")

    def block_control(self, node):
        """Nothing passes the cable that the control channel of a node takes. allow() ends it."""
        self.black_hole(node, 0)

    def allow(self):
        self.sh("rack", "nft flush ruleset")

    def delete(self):
        delete_namespaces(self.prefix)


def delete_namespaces(prefix):
    """What still runs inside is killed first: it would keep the namespace and its links alive without a name."""
    for path in glob.glob(f"/run/netns/{prefix}-*"):
        name = os.path.basename(path)
        for pid in re.findall(r"^\d+$", sh("ip", "netns", "pids", name, check=False), re.M):
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        sh("ip", "netns", "del", name, check=False)


def prefixes():
    """Prefixes of all worlds that have namespaces on this machine."""
    found = {re.match(r"(ogw\d+[a-z]?)-", os.path.basename(path)) for path in glob.glob("/run/netns/ogw*-*")}
    return {match.group(1) for match in found if match}


def owner(prefix):
    """The pid of the program whose world has this prefix."""
    return int(re.match(r"ogw(\d+)", prefix).group(1))
