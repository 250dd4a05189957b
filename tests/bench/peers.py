# SPDX-License-Identifier: Apache-2.0
"""Peers of the host benchmarks, from Debian's packages and the kernel. Each raises RigError when it cannot start.

    Ovs          OVS-DPDK, both guests on one switch of one host: less work than ours does, to the peer's advantage
    Bridge       Linux bridges, two hosts, guests on TAPs; over VXLAN, or one underlay bridge
    VethTcp      real Linux stacks (iperf3) in namespaces: straight, over a bridge, over bridges and VXLAN
    Udp          the kernel's UDP with GSO and GRO, the limit of every tunnel over it
    Floor        the same with one pass over the bytes on each side, and woken for bursts: the least that an agent can cost
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time

from bench import cpu_s, program, softirq_pids
from rig import SEGMENT, Guest, Rig, RigError, switches
import huge  # of tests/world, which rig has found

OVS_LIB = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
OVS_HUGEPAGES = 640
GUEST_MTU = 1450  # what VXLAN leaves of 1500
VXLAN_MSS = GUEST_MTU - 52
VXLAN_FRAME = 54 + 46 * VXLAN_MSS
# Debian loads it on demand; where the kernel has it built in, every bridge would pay for it.
NO_BRIDGE_FILTER = "sysctl -eqw " + " ".join(f"net.bridge.bridge-nf-call-{what}tables=0" for what in ("ip", "ip6", "arp"))


def sh(*command, check=True, timeout=30):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout)
    if check and done.returncode:
        raise RigError(f"{' '.join(command)}: {done.stdout.strip()}")
    return done.stdout


class Peer(Rig):
    """Namespaces and processes that go when the context ends."""

    def __init__(self, tag):
        self.prefix = f"ogp{os.getpid()}{tag}"
        self.undo = contextlib.ExitStack()
        self.processes = []

    def __enter__(self):
        try:
            self.directory = tempfile.mkdtemp(prefix="ogp-")
            self.undo.callback(shutil.rmtree, self.directory, True)
            self.build()
        except (OSError, subprocess.SubprocessError) as error:
            self.undo.close()
            raise RigError(f"{self.name}: {error}") from error
        except BaseException:
            self.undo.close()
            raise
        return self

    def __exit__(self, *unused):
        self.undo.close()

    def namespace(self, node):
        name = f"{self.prefix}-{node}"
        sh("ip", "netns", "add", name)
        self.undo.callback(sh, "ip", "netns", "del", name, check=False)
        self.run(node, "sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1")
        self.run(node, NO_BRIDGE_FILTER)
        self.run(node, "ip link set lo up")

    def inside(self, node):
        return ["ip", "netns", "exec", f"{self.prefix}-{node}"]

    def run(self, node, command):
        return sh(*self.inside(node), *command.split())

    def veth(self, node, link, other, other_link, mtu=1500):
        sh("ip", "link", "add", link, "netns", f"{self.prefix}-{node}", "mtu", str(mtu), "type", "veth", "peer", "name",
           other_link, "netns", f"{self.prefix}-{other}", "mtu", str(mtu))
        self.run(node, f"ip link set {link} up")
        self.run(other, f"ip link set {other_link} up")

    def spawn(self, command, ready=None, **options):
        process = subprocess.Popen(command, stdout=subprocess.PIPE if ready else subprocess.DEVNULL, text=True, **options)
        self.undo.callback(end, process)
        if ready and process.stdout.readline().strip() != ready:
            raise RigError(f"{self.name}: {command[0]} did not start")
        return process

    def add_guests(self, sockets, *words):
        self.guests = []
        for number, socket in enumerate(sockets):
            self.guests.append(Guest(socket, number, *words))
            self.undo.callback(self.guests[-1].close)

    def pids(self, part):
        return [process.pid for process in self.processes] if part == "host" else []


def end(process):
    process.send_signal(signal.SIGCONT)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Ovs(Peer):
    """Its poll-mode thread is stopped between turns, and told anew each turn how long it may sleep."""

    name = "OVS-DPDK"

    def __init__(self, words=()):
        Peer.__init__(self, "o")
        self.words = words

    def build(self):
        if not os.path.exists(OVS_LIB):
            raise RigError("OVS-DPDK: openvswitch-switch-dpdk is not installed (make bench-deps)")
        self.hugepages()
        database, self.socket = f"{self.directory}/conf.db", f"unix:{self.directory}/db.sock"
        env = {**os.environ, "OVS_RUNDIR": self.directory, "OVS_LOGDIR": self.directory, "OVS_DBDIR": self.directory}
        sh("ovsdb-tool", "create", database, "/usr/share/openvswitch/vswitch.ovsschema")
        self.spawn(["ovsdb-server", database, f"--remote=p{self.socket}", f"--pidfile={self.directory}/db.pid"], env=env,
                   stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while not os.path.exists(f"{self.directory}/db.sock") and time.monotonic() < deadline:
            time.sleep(0.05)
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   "other_config:pmd-cpu-mask=0x2", "other_config:dpdk-lcore-mask=0x1",
                   "other_config:dpdk-socket-mem=1024", "other_config:userspace-tso-enable=true",
                   "other_config:dpdk-extra=--no-pci --in-memory")
        log = f"{self.directory}/vswitchd.log"
        self.processes = [self.spawn([OVS_LIB, self.socket, f"--log-file={log}", "-vconsole:off"], env=env)]
        sockets = [f"{self.directory}/g{number}.sock" for number in (0, 1)]
        self.add_guests(sockets, *self.words)
        for guest in self.guests:
            os.sched_setaffinity(guest.process.pid, {0})  # the poll-mode thread has the other core
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev")
        for number, socket in enumerate(sockets):
            self.vsctl("add-port", "br0", f"g{number}", "--", "set", "Interface", f"g{number}",
                       "type=dpdkvhostuserclient", f"options:vhost-server-path={socket}")
        try:
            self.meet()
        except RigError as error:
            with open(log, errors="replace") as file:
                raise RigError(f"{error}; {file.read()[-400:]}") from error
        self.rest()

    def hugepages(self):
        with open("/proc/meminfo") as file:
            free = next(int(line.split()[1]) for line in file if line.startswith("HugePages_Free:"))
        came = huge.more(max(0, OVS_HUGEPAGES - free))
        self.undo.callback(lambda: huge.more(-came))

    def vsctl(self, *words):
        return sh("ovs-vsctl", f"--db={self.socket}", "--timeout=60", *words, timeout=70)

    def wake(self):
        for process in self.processes:
            process.send_signal(signal.SIGCONT)

    def rest(self):
        for process in self.processes:
            process.send_signal(signal.SIGSTOP)

    def sleepy(self, microseconds):
        """pmd-maxsleep: how long the poll-mode thread may sleep; 0: never, the default."""
        self.wake()
        self.vsctl("set", "Open_vSwitch", ".", f"other_config:pmd-maxsleep={microseconds}")
        time.sleep(0.2)


class Bridge(Peer):
    """Two hosts with a bridge each, joined by a link through a switch, in VXLAN or as they are."""

    def __init__(self, vxlan, words=(), pairs=1):
        Peer.__init__(self, "v" if vxlan else "b")
        self.pairs = pairs
        self.vxlan = vxlan
        self.words = words
        self.name = "bridge + VXLAN" if vxlan else "Linux bridge"
        if vxlan:
            self.full_frame = VXLAN_FRAME
            self.words = (*words, f"mss={VXLAN_MSS}")

    def build(self):
        join_hosts(self, self.vxlan)
        self.add_guests([f"{self.directory}/g{number}.sock" for number in range(2 * self.pairs)], *self.words)
        for number in range(2 * self.pairs):
            node, tap = f"h{number % 2}", f"tap{number}"
            self.processes.append(self.spawn([*self.inside(node), program("bench_tap"), self.directory, f"g{number}",
                                              tap], "ready"))
            self.run(node, f"ip link set {tap} up master br0")
            if self.vxlan:
                self.run(node, f"ip link set {tap} mtu {GUEST_MTU}")
        self.meet()


def join_hosts(peer, vxlan, mtu=1500):
    """h0 and h1 with br0, a switch between them."""
    for node in ("h0", "h1", "rack"):
        peer.namespace(node)
    peer.run("rack", "ip link add br0 type bridge mcast_snooping 0")
    peer.run("rack", "ip link set br0 up")
    for number in (0, 1):
        node = f"h{number}"
        peer.veth(node, "under", "rack", node, mtu)
        peer.run("rack", f"ip link set {node} master br0")
        peer.run(node, "ip link add br0 type bridge mcast_snooping 0")
        peer.run(node, "ip link set br0 up")
        if vxlan:
            peer.run(node, f"ip addr add 10.97.0.{number + 1}/24 dev under")
            peer.run(node, f"ip link add vx0 type vxlan id 7 local 10.97.0.{number + 1} remote 10.97.0.{2 - number} "
                     "dstport 4789")
            peer.run(node, "ip link set vx0 up master br0")
        else:
            peer.run(node, "ip link set under master br0")


class VethTcp(Peer):
    """iperf3 between two namespaces: kind is direct, bridge or vxlan. All CPU is the hosts' and the guests' together:
    what direct costs is the guests' own."""

    def __init__(self, kind, fabric_mtu=1500):
        Peer.__init__(self, kind[0] + "t")
        self.kind = kind
        self.fabric_mtu = fabric_mtu
        self.name = {"direct": "veth direct", "bridge": "Linux bridge", "vxlan": "bridge + VXLAN"}[kind]

    def build(self):
        for node in ("g0", "g1"):
            self.namespace(node)
        if self.kind == "direct":
            self.veth("g0", "eth0", "g1", "eth0", GUEST_MTU)
        else:
            join_hosts(self, self.kind == "vxlan", self.fabric_mtu)
            for number in (0, 1):
                self.veth(f"g{number}", "eth0", f"h{number}", "guest", GUEST_MTU)
                self.run(f"h{number}", "ip link set guest master br0")
        for number in (0, 1):
            self.run(f"g{number}", f"ip addr add 10.96.0.{number + 1}/24 dev eth0")
        self.server = self.spawn([*self.inside("g1"), "iperf3", "-s", "-p", "5301"], stderr=subprocess.DEVNULL)
        self.run("g0", "ping -c 3 -i 0.2 -w 10 10.96.0.2")

    def received(self):
        figures = json.loads(self.run("g1", "ip -s -j link show eth0"))
        return figures[0]["stats64"]["rx"]["bytes"]

    def measure(self, bits=0, seconds=1.5, warm=0.6):
        """{"per_gb", "gbps", "switches_per_m"} of a TCP stream; bits 0: flat out."""
        os.sched_setaffinity(self.server.pid, {1})
        client = subprocess.Popen([*self.inside("g0"), "iperf3", "-c", "10.96.0.2", "-p", "5301", "-t", "60", "-b",
                                   str(int(bits))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            os.sched_setaffinity(client.pid, {0})
            time.sleep(warm)
            pids = [client.pid, self.server.pid, *softirq_pids()]
            before, bytes_before, slept, start = cpu_s(pids), self.received(), switches(pids[:2]), time.monotonic()
            time.sleep(seconds)
            spent, came, slept = cpu_s(pids) - before, self.received() - bytes_before, switches(pids[:2]) - slept
            elapsed = time.monotonic() - start
        finally:
            client.kill()
            client.wait()
        if not came:
            raise RigError(f"{self.name}: iperf3 moved nothing")
        time.sleep(0.2)
        return {"per_gb": spent / came * 1e9, "gbps": came * 8e-9 / elapsed, "switches_per_m": slept / (came / SEGMENT) * 1e6}


class Udp(Peer):
    """bench_udp between two namespaces."""

    name = "kernel UDP"

    def __init__(self, mtu=1500):
        Peer.__init__(self, self.name[0])
        self.mtu = mtu

    def build(self):
        for node in ("g0", "g1"):
            self.namespace(node)
        self.veth("g0", "eth0", "g1", "eth0", self.mtu)
        for number in (0, 1):
            self.run(f"g{number}", f"ip addr add 10.96.0.{number + 1}/24 dev eth0")
        self.run("g0", "ping -c 3 -i 0.2 -w 10 10.96.0.2")

    def measure(self, bits=0, seconds=1.5, chunk=1376, train=47):
        done = subprocess.run([program("bench_udp"), f"{self.prefix}-g0", f"{self.prefix}-g1", "10.96.0.2",
                               f"rate={bits}", f"seconds={seconds}", f"chunk={chunk}", f"train={train}"],
                              stdout=subprocess.PIPE, text=True, timeout=60)
        if done.returncode:
            raise RigError(f"{self.name}: bench_udp failed")
        return json.loads(done.stdout)


class Outcome:
    """A line of JSON as attributes, so that a floor is picked from as a load is."""

    def __init__(self, figures):
        self.__dict__.update(figures)


class Floor(Udp):
    """bench_floor between two namespaces."""

    name = "floor"

    def start(self, mode, **options):
        return subprocess.Popen([program("bench_floor"), mode, f"{self.prefix}-g0", f"{self.prefix}-g1", "10.96.0.2",
                                 *(f"{name}={value}" for name, value in options.items())], stdout=subprocess.PIPE, text=True)

    def run_once(self, mode, **options):
        with self.start(mode, **options) as running:
            try:
                output = running.communicate(timeout=60)[0]
            except BaseException:
                running.kill()
                raise
        if running.returncode:
            raise RigError(f"{self.name}: bench_floor failed")
        return Outcome(json.loads(output))

    @contextlib.contextmanager
    def beside(self, pps):
        """Meanwhile so many super-frames a second go the way of bursts."""
        with self.start("bursts", **{"pass": "crc"}, pps=pps, seconds=60) as load:
            time.sleep(0.5)
            try:
                yield
            finally:
                load.terminate()

    def stream(self, seal, **options):
        """seal: copy, crc or aes. Attributes per_gb, per_mpkt, wakeups_per_m, gbps, mpps."""
        return self.run_once("stream", **{"pass": seal}, **options)

    def bursts(self, seal, **options):
        """Attributes as a Load's, of both agents: per_gb, per_mpkt, wakeups_per_m, gbps, mpps, train, p50, p99,
        appliance_per_gb, appliance_per_mpkt."""
        return self.run_once("bursts", **{"pass": seal, "warm": 0.15}, **options)

    def store(self, **options):
        """Attributes iops, host_us, gateway_us, p50_us, p99_us."""
        return self.run_once("store", **options)

    def relay(self, **options):
        """Attributes iops, host_us (of the first agent), p50_us, p99_us. spin_us, busy, poll: who does not sleep."""
        return self.run_once("relay", **options)

    @contextlib.contextmanager
    def idle(self, **options):
        """Meanwhile a process is woken now and then; a list that has its Outcome at the end: cpu (% of a core), wakeups (1/s)."""
        found = []
        with self.start("idle", **options) as running:
            try:
                yield found
                found.append(Outcome(json.loads(running.communicate(timeout=60)[0])))
            finally:
                running.kill()

    def doors(self, **options):
        """Attribute host_us."""
        return self.run_once("doors", **options)
