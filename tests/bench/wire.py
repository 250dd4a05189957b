# SPDX-License-Identifier: Apache-2.0
"""Two hosts on a wire with faults, for benchmarks: namespaces of their own, and the relay between them.

      a0 10.98.0.1 a ──────── am  m  bm ──────── b b0 10.98.0.2
                                 relay

Nothing is segmented or merged after the hosts' stacks, so that what the relay loses is one packet of the MTU.
"""

import json
import os
import subprocess

ADDRESS = {"a": "10.98.0.1", "b": "10.98.0.2"}
MAC = {"a": "02:00:00:00:98:01", "b": "02:00:00:00:98:02"}
OFFLOADS = ("tcp-segmentation-offload", "tx-udp-segmentation", "generic-segmentation-offload",
            "generic-receive-offload")


class WireError(Exception):
    pass


def sh(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    if done.returncode:
        raise WireError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Wire:
    """with Wire(build) as wire: wire.set("drop=1%,delay=100us"); wire.start("a", [...])"""

    def __init__(self, build):
        self.build = build
        self.prefix = f"ogb{os.getpid()}"
        self.relay = None
        self.processes = []

    def inside(self, node):
        return ["ip", "netns", "exec", f"{self.prefix}-{node}"]

    def __enter__(self):
        try:
            self.create()
        except BaseException:
            self.__exit__()
            raise
        return self

    def create(self):
        for node in "amb":
            sh("ip", "netns", "add", f"{self.prefix}-{node}")
            sh(*self.inside(node), "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1",
               "net.ipv6.conf.all.disable_ipv6=1")
            sh(*self.inside(node), "ip", "link", "set", "lo", "up")
        for node, other in (("a", "b"), ("b", "a")):
            sh("ip", "link", "add", f"{node}0", "netns", f"{self.prefix}-{node}", "address", MAC[node],
               "type", "veth", "peer", "name", f"{node}m", "netns", f"{self.prefix}-m")
            sh(*self.inside("m"), "ip", "link", "set", f"{node}m", "up")
            for offload in OFFLOADS:
                sh(*self.inside(node), "ethtool", "-K", f"{node}0", offload, "off")
            sh(*self.inside(node), "ip", "addr", "add", f"{ADDRESS[node]}/24", "dev", f"{node}0")
            sh(*self.inside(node), "ip", "link", "set", f"{node}0", "up")
            sh(*self.inside(node), "ip", "neigh", "add", ADDRESS[other], "lladdr", MAC[other], "dev", f"{node}0",
               "nud", "permanent")
        self.relay = subprocess.Popen([*self.inside("m"), f"{self.build}/bin/relay", "am", "bm"],
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.answer("relay")

    def answer(self, word):
        line = self.relay.stdout.readline().strip()
        if line != "ok":
            raise WireError(f"{word}: {line or 'the relay has ended'}")

    def set(self, *words):
        """What the relay understands: "drop=1%,delay=100us", "rate=1000000000", "queue=65536", "cut", "heal"."""
        for word in words:
            self.relay.stdin.write(word + "\n")
            self.answer(word)

    def stats(self):
        """Counters since the relay was started, of the direction from a to b and of the other."""
        self.relay.stdin.write("stats\n")
        return json.loads(self.relay.stdout.readline())

    def start(self, node, command, **options):
        process = subprocess.Popen([*self.inside(node), *command], stdout=subprocess.PIPE, text=True, **options)
        self.processes.append(process)
        return process

    def __exit__(self, *unused):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        if self.relay:
            self.relay.stdin.close()
            self.relay.wait(10)
        for node in "amb":
            subprocess.run(["ip", "netns", "del", f"{self.prefix}-{node}"], stderr=subprocess.DEVNULL, check=False)
