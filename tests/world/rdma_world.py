# SPDX-License-Identifier: Apache-2.0
"""The world of world.py over RDMA: the same hosts, appliance and station, as namespaces of two guests (rdma.py).

      guest "host"                                        guest "app"
      namespace h1: fab0 10.9.0.11 ┐                      (appliance)
      namespace h2: fab0 10.9.0.12 ┴ eth0 ── wire 0 ───── eth0 10.9.0.1     upl0 ══ trunk, namespace lan
                             rxe1 on eth1 ── wire 1 ───── rxe1 on eth1      (VLAN 100)
                             rxe2 on eth2 ── wire 2 ───── rxe2 on eth2

Path 0 is RDMA on wire 1, path 1 on wire 2; UDP on wire 0 is their backup, and the control channel is there. Both hosts
share the wires: what is done to a wire is done to both. `world` here offers what the cases of tests/func/cases use of
a World, with the same words.
"""

import os
import shlex
import shutil
import time

import net
import proc
import rdma
import vm
import world as w
from proc import WorldError, wait_for

RENAMED = {"ip": "i2", "ping": "ping2", "tc": "tc2", "/usr/bin/python3": "python3"}  # busybox has others of these names
STATE = "/run/world"
OWN = "/run/own"  # what this file keeps of programs
SLOWNESS = 3
WIRE_OF = {0: 1, 1: 2}  # by path
CONTROL_WIRE = 0


class GuestHelper:
    """proc.Helper, in a guest."""

    def __init__(self, guest, base, command):
        self.guest = guest
        self.base = base
        inside = f"echo $$ > {base}.pid; exec {command}"
        guest.must(f"(sh -c {shlex.quote(inside)} > {base}.out 2>&1; echo $? > {base}.rc) < /dev/null > /dev/null 2>&1 & "
                   f"while ! test -s {base}.pid; do usleep 10000; done")
        self.pid = int(guest.must(f"cat {base}.pid"))

    def output(self):
        return self.guest.must(f"cat {self.base}.out")

    def status(self):
        text = self.guest.must(f"cat {self.base}.rc 2>/dev/null || true").strip()
        return int(text) if text else None

    def running(self):
        return self.status() is None

    def signal(self, name):
        self.guest.run(f"kill -{name} {self.pid}")

    def wait(self, timeout=proc.PATIENCE):
        wait_for("the end of a program", lambda: not self.running(), timeout, step=0.2)
        return self.status(), self.guest.must(f"cat {self.base}.out", 60)

    def kill(self):
        self.signal("KILL")
        wait_for("the end of a killed program", lambda: not self.running())


class GuestDaemon:
    """proc.Daemon, in a guest."""

    def __init__(self, name, guest, prefix, command):
        self.name = name
        self.guest = guest
        self.prefix = prefix
        self.command = list(command)
        self.base = f"{OWN}/{name}"
        self.pid = None
        self.expected = True

    def start(self, timeout=proc.PATIENCE):
        base, run = self.base, " ".join([*self.prefix, *self.command, "--ready-fd 9"])
        inside = f"echo $$ > {base}.pid; exec {run} 9> {base}.ready"
        self.guest.must(f"rm -f {base}.ready {base}.rc {base}.pid; mkfifo {base}.ready; (sh -c {shlex.quote(inside)} >> "
                        f"{base}.log 2>&1; echo $? > {base}.rc) < /dev/null > /dev/null 2>&1 &")
        limit = int(timeout * proc.slowness)
        result = self.guest.run(f"timeout {limit} head -c 1 < {base}.ready | wc -c", limit + 5)
        if result.output.strip() != "1":
            raise WorldError(f"{self.name} does not serve\n{self.log()}")
        self.pid = int(self.guest.must(f"cat {base}.pid"))
        self.expected = False
        return self

    def log(self, lines=30):
        return self.guest.run(f"tail -n {lines} {self.base}.log").output

    def status(self):
        """Of its end; None while it runs."""
        text = self.guest.must(f"cat {self.base}.rc 2>/dev/null || true").strip()
        return int(text) if text else None

    def running(self):
        return self.pid is not None and self.status() is None

    def check(self):
        if not self.expected and not self.running():
            self.expected = True
            raise WorldError(f"{self.name} died with {self.status()}\n{self.log(40)}")

    def end(self, signal):
        self.expected = True
        if self.pid is None:
            return None
        self.guest.run(f"kill -{signal} {self.pid}")
        wait_for(f"the end of {self.name}", lambda: self.status() is not None)
        return self.status()

    def kill(self):
        self.end("KILL")

    def stop(self):
        """SIGTERM; the exit must be clean."""
        was = self.status() if self.pid else None
        status = self.end("TERM") if was is None else was
        if status not in (0, None, 137):
            raise WorldError(f"{self.name} ended with {status}\n{self.log(40)}")


class GuestNet:
    """net.Net's words for the wires of the pair."""

    def __init__(self, world):
        self.world = world

    def place(self, node):
        """The guest a node is in, and what brings a command to the node there."""
        pair = self.world.pair
        if node == "app":
            return pair.app, []
        return (pair.app if node == "lan" else pair.host), ["i2", "netns", "exec", node]

    def command(self, node, words):
        guest, prefix = self.place(node)
        # A command is looked up by name outside of the shell, which has an `ip` of its own.
        return guest, shlex.join([*prefix, RENAMED.get(words[0], words[0]), *words[1:]])

    def sh(self, node, command, check=True, feed=None, timeout=proc.PATIENCE):
        guest, line = self.command(node, command.split())
        result = guest.run(line, int(timeout * proc.slowness))
        if check and not result.ok:
            raise WorldError(f"{node}: {command}: {result.output.strip()}")
        return result.output

    def ends(self, node):
        return (self.world.pair.app,) if node == "app" else (self.world.pair.host,)

    def cut(self, node, path=0):
        self.world.pair.cut(WIRE_OF[path], *self.ends(node))

    def mend(self, node, path=0):
        self.world.pair.cut(WIRE_OF[path], *self.ends(node), up=True)

    def cut_all(self, node):
        for wire in range(rdma.WIRES):
            self.world.pair.cut(wire, *self.ends(node))

    def mend_all(self, node):
        for wire in range(rdma.WIRES):
            self.world.pair.cut(wire, *self.ends(node), up=True)

    def netem(self, wire, what):
        for guest in (self.world.pair.app, self.world.pair.host):
            guest.must(f"tc2 qdisc replace dev eth{wire} root {what}")

    def black_hole(self, node, path=0):
        """Nothing passes, though links are up."""
        self.netem(WIRE_OF[path], "netem loss 100%")

    def block_control(self, node):
        self.netem(CONTROL_WIRE, "netem loss 100%")

    def allow(self):
        for wire in range(rdma.WIRES):
            self.netem(wire, "pfifo_fast")


class Guests:
    """The pair that worlds are laid out in, one after the other: it takes longer to boot than to tidy up."""

    def __init__(self, directory):
        self.directory = os.path.join(w.TOP, directory)
        self.pair = None

    def __enter__(self):
        proc.slowness = SLOWNESS
        self.image = rdma.build_image(os.path.join(w.TOP, w.setting("GUEST", "build/cache/guest")))
        return self

    def take(self):
        if not self.pair:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.pair = rdma.Pair(self.directory, self.image)
            self.pair.__enter__()
            print(f"  guests booted in {self.pair.app.boot_seconds:.0f} s", flush=True)
        return self.pair

    def drop(self):
        """The next world is to have others."""
        if self.pair:
            self.pair.close()
        self.pair = None

    def __exit__(self, *_):
        self.drop()


class RdmaWorld(w.Common):
    LINK = "rdma"
    CONTROL_PATH = None
    BULK_MIB = 2
    PACE = (16384, 0.1)
    PING = 0.2
    MOVES = 128 << 10
    BACKUP_PACKETS = 200
    BACKUP = f"10.9.0.1:{w.FABRIC_PORT}"

    def __init__(self, directory, guests, hosts=("h1", "h2"), paths=2, relays=False, appliance_options=(), agent_options=()):
        """As World's; there are two paths always, and wires that can lose."""
        self.directory = os.path.join(w.TOP, directory)
        self.guests = guests
        self.host_names = hosts
        self.paths = 2
        self.appliance_options, self.agent_options = list(appliance_options), list(agent_options)
        self.net = GuestNet(self)
        self.appliance = None
        self.console = None
        self.agents = {}
        self.helpers = []
        self.checked = 0.0  # when check() last looked

    # ---- life ----

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(f"{self.directory}/logs")
        self.pair = self.guests.take()
        try:
            self.lay_out()
        except BaseException:
            self.guests.drop()
            raise
        return self

    def lay_out(self):
        self.pair.app.must("; ".join((
            "i2 netns add lan", "i2 link add upl0 type veth peer name uplp netns lan", "i2 link set upl0 up",
            "echo 1 > /proc/sys/net/ipv6/conf/upl0/disable_ipv6",
            "i2 -n lan link set lo up", "i2 -n lan link set uplp up",
            # What the appliance reads has its tags and checksums in it, as on a cable.
            *(f"i2 netns exec lan ethtool -K uplp {feature} off" for feature in ("tx", "tso", "gso", "txvlan", "rxvlan")),
            f"i2 -n lan link add link uplp name trunk type vlan id {net.VLAN}", "i2 -n lan link set trunk up",
            f"i2 -n lan addr add {net.STATION4}/24 dev trunk",
            f"i2 -n lan addr add {net.STATION6}/64 dev trunk nodad")) + f" && mkdir -p {STATE}/app {OWN}")
        for number, host in enumerate(self.host_names, 11):
            self.pair.host.must(" && ".join((
                f"i2 netns add {host}", f"i2 link add fab0 link eth0 netns {host} type macvlan mode bridge",
                f"i2 -n {host} link set lo up", f"i2 -n {host} link set fab0 mtu 1500 up",
                f"i2 -n {host} addr add 10.9.0.{number}/24 dev fab0", f"mkdir -p {self.run_dir(host)} {OWN}")))

    def tidy_up(self):
        """What the next world finds is as after the boot."""
        for helper in self.helpers:
            helper.kill()
        self.net.allow()
        for node in ("app", "h1"):
            self.net.mend_all(node)
        self.pair.app.must(f"i2 link del upl0 && i2 netns del lan && rm -rf {STATE} {OWN} /run/og")
        self.pair.host.must(" && ".join((*(f"i2 -n {host} link del fab0 && i2 netns del {host}" for host in self.host_names),
                                         f"rm -rf {STATE} {OWN}")))

    def __exit__(self, kind, error, trace):
        """A daemon that does not end cleanly is an error unless one is on its way."""
        try:
            for daemon in reversed(self.daemons()):
                if kind is None:
                    daemon.stop()
            self.keep_logs()
            if kind is None:
                self.tidy_up()
        except BaseException:
            self.guests.drop()
            if kind is None:
                raise
        if kind is not None:
            self.guests.drop()

    def keep_logs(self):
        for daemon in self.daemons():
            with open(f"{self.directory}/logs/{daemon.name}.log", "w") as log:
                log.write(daemon.log(2000))

    # ---- daemons ----

    def start_appliance(self):
        if not self.appliance:
            command = ["outriggerd", "--fabric", "10.9.0.1", "--fabric", "verbs:rxe1", "--fabric", "verbs:rxe2", "--state",
                       f"{STATE}/app", "--run-dir", "/run/og", "--listen-api", f"10.9.0.1:{rdma.API_PORT}", "--no-hugepages",
                       "--sleep-idle", *self.appliance_options]
            self.appliance = GuestDaemon("outriggerd", self.pair.app, [], command)
        self.appliance.start()
        if not self.console:
            self.console = rdma.Console(self.pair, f"{self.directory}/admin", f"{STATE}/app")
        return self.appliance

    def agent_enroll(self, host, token):
        self.net.sh(host, f"outrigger-agent enroll --appliance 10.9.0.1:{rdma.API_PORT} --token {token} --state {STATE}/{host}")

    def run_dir(self, host):
        return f"{STATE}/{host}.run"

    def start_agent(self, host):
        if host not in self.agents:
            guest, prefix = self.net.place(host)
            command = ["outrigger-agent", "--appliance", f"10.9.0.1:{w.FABRIC_PORT}", "--fabric", "verbs:rxe1", "--fabric",
                       "verbs:rxe2", "--state", f"{STATE}/{host}", "--run-dir", self.run_dir(host), *self.agent_options]
            self.agents[host] = GuestDaemon(f"agent-{host}", guest, prefix, command)
        self.agents[host].start()
        wait_for(f"{host} connected", lambda: self.host_connected(host), check=self.check)
        return self.agents[host]

    def check(self, again_after=2):
        """Asked for more often it is not looked at each time: who waits for something polls this, too."""
        if time.monotonic() - self.checked < again_after:
            return
        for guest in (self.pair.app, self.pair.host):
            if not guest.running():
                raise WorldError(f"{guest.name} is gone\n{guest.tail()}")
        for daemon in self.daemons():
            daemon.check()
        self.checked = time.monotonic()

    def ctl(self, *arguments):
        status, output = self.console.run(*arguments)
        if status:
            raise w.ControlError(arguments, status, output)
        return output

    # ---- programs of the tests ----

    def helper(self, node, *command):
        guest, line = self.net.command(node, command)
        self.helpers.append(GuestHelper(guest, f"{OWN}/helper{len(self.helpers)}", line))
        return self.helpers[-1]

    def spawn(self, node, *command):
        return self.helper(node, *command)

    def program(self, name):
        return name

    def pool_directory(self):
        return f"{STATE}/pool"

    def read(self, node, path):
        result = self.net.place(node)[0].run(f"cat {path}")
        return result.output if result.ok else ""

    # ---- the paths of a session ----

    def primary(self, shown):
        return shown["local"].startswith("RDMA")

    def backup(self, shown):
        return shown["local"] == self.BACKUP

    def path_ends(self, host):
        return [("RDMA rxe1", "RDMA port"), ("RDMA rxe2", "RDMA port")]

    def block_link(self):
        for path in WIRE_OF:
            self.net.black_hole("app", path)

    def lose(self, percent):
        for wire in range(rdma.WIRES):
            self.net.netem(wire, f"netem loss {percent}%")

    def lost(self):
        """netem forgets what it dropped when it is told something else: ask before that."""
        return sum(int(words[words.index("(dropped") + 1].rstrip(",")) for guest in (self.pair.app, self.pair.host)
                   for wire in range(rdma.WIRES)
                   for words in [guest.must(f"tc2 -s qdisc show dev eth{wire}").split()] if "(dropped" in words)
