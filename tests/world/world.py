# SPDX-License-Identifier: Apache-2.0
"""One small world: two hosts, a rack switch, an appliance, a station outside, real daemons and real guests.

    with World("build/run") as world:
        world.start()                      # daemons run, hosts are enrolled
        world.provision()                  # networks, profiles vm1 (on h1) and vm2 (on h2) with a vNIC and a disk each
        guest = world.boot("vm1")
        guest.must("ping -c 1 10.20.0.2")

Several worlds may exist side by side. What a world owns is written down below /run/outrigger-world/PREFIX before it is
made, so that a later run can remove what a killed one left behind. Environment: LINK=udp|dpdk, BUILD, GUEST.
"""

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import net
import vm
from proc import PATIENCE, Daemon, Helper, WorldError, child, start_time, wait_for

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
RECORDS = "/run/outrigger-world"
HUGEPAGES = "/proc/sys/vm/nr_hugepages"
HUGEPAGES_WANTED = 128
API_PORT = 8443
FABRIC_PORT = 4793

GUESTS = {
    "vm1": {"host": "h1", "mac": "02:00:5e:00:00:01", "ip4": "10.20.0.1", "ip6": "fd20::1"},
    "vm2": {"host": "h2", "mac": "02:00:5e:00:00:02", "ip4": "10.20.0.2", "ip6": "fd20::2"},
}
VOLUME_BYTES = 256 << 20


def setting(name, default):
    return os.environ.get(name) or default


class ControlError(Exception):
    """outriggerctl refused: .status is its exit code, .text what it said."""

    def __init__(self, arguments, status, text):
        super().__init__(f"outriggerctl {' '.join(arguments)}: status {status}: {text.strip()}")
        self.status = status
        self.text = text


class Common:
    """What worlds of both kinds have (rdma_world.py has the other): their daemons' begin, and what they learn from
    outriggerctl. They have ctl(), check(), start_appliance(), start_agent() and agent_enroll() themselves.
    """

    def show(self, noun, name):
        return json.loads(self.ctl(noun, "show", name, "-o", "json"))

    def counters(self, noun, name):
        """Counters of an object as {name: int}."""
        return {key: int(value) for key, value in self.show(noun, name).get("status", {}).get("counters", {}).items()}

    def all_counters(self):
        """Every counter of the appliance as {"scope/name": int}."""
        answer = json.loads(self.ctl("counters", "-o", "json"))
        return {f"{one.get('scope', '')}/{one['name']}": int(one.get("value", 0)) for one in answer.get("counters", [])}

    def attached(self, noun, name, host):
        """Socket path of a device if it is attached at a host now, else None."""
        status = self.show(noun, name).get("status", {})
        path = status.get("socketPath")
        return path if status.get("host") == host and path else None

    def host_connected(self, host):
        return "CONNECTED" in self.show("host", host).get("status", {}).get("state", "")

    def wait_stable(self):
        """Waits until every host has its session again."""
        for host in self.agents:
            wait_for(f"{host} connected", lambda host=host: self.host_connected(host), check=self.check)

    def start(self):
        """Starts the appliance, then enrols and starts the agent of each host."""
        self.start_appliance()
        for host in self.host_names:
            self.enrol(host)
            self.start_agent(host)

    def enrol(self, host):
        self.ctl("host", "create", host)
        token = self.ctl("host", "enroll-token", host).strip()
        self.agent_enroll(host, token)

    def daemons(self):
        return [self.appliance, *self.agents.values()] if self.appliance else list(self.agents.values())

    def wait(self, seconds):
        """Lets time pass that is itself what counts; a daemon that dies meanwhile ends it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            time.sleep(0.2)


class World(Common):
    # What the cases of tests/func/cases may know of a world beside its methods; rdma_world.py is the other one.
    LINK = "udp"
    CONTROL_PATH = 0  # the path whose cable the control channel takes too; None: it has one of its own
    BULK_MIB = 100  # what a TCP stream is to move
    PACE = (65536, 0.002)  # bytes and seconds between them of a stream that is only to go on
    PING = 0.01  # seconds between pings
    MOVES = 2 << 20  # bytes of it that show that it goes on
    BACKUP_PACKETS = 1000  # of such a stream, to one host

    def __init__(self, directory, link=None, fabric="ipv4", say=None, hosts=("h1", "h2"), keep=False,
                 paths=1, relays=False, mtu=1500, tag="", appliance_options=(), agent_options=()):
        """tag: a letter that tells this world from others of the same process."""
        self.directory = os.path.join(TOP, directory)
        self.build = os.path.join(TOP, setting("BUILD", "build/gcc"))
        self.image = os.path.join(TOP, setting("GUEST", "build/cache/guest"))
        self.link = link or setting("LINK", "udp")
        self.prefix = f"ogw{os.getpid()}{tag}"
        self.appliance_options = list(appliance_options)
        self.agent_options = list(agent_options)
        self.record = f"{RECORDS}/{self.prefix}"
        self.say = say or (lambda text: None)
        self.keep = keep
        self.host_names = hosts
        self.fabric = fabric
        self.addresses = {node: net.fabric(fabric, node) for node in ("app", "h1", "h2")}  # of the first path
        self.paths = paths
        self.net = net.Net(self.prefix, f"{self.build}/tests/world/vlan.bpf.o", dpdk_fabric=self.link == "dpdk",
                           paths=paths, relays=relays, fabric_mtu=mtu)
        self.relays = []
        self.helpers = 0
        self.agent_options = list(agent_options)
        self.appliance = None
        self.agents = {}
        self.guests = {}
        self.place = {}  # guest: the host it runs on
        self.accel = None
        self.undo = []

    # ---- life ----

    def __enter__(self):
        need_root()
        clean_stale()
        for program in ("outriggerd", "outrigger-agent", "outriggerctl"):
            if not os.path.exists(self.binary(program)):
                raise WorldError(f"{self.binary(program)} is missing: run make all")
        self.take_directory()
        os.makedirs(self.record)
        self.note({"pid": os.getpid(), "start": start_time(os.getpid()), "keep": False, "processes": [],
                   "directory": self.directory})
        self.undo.append(self.forget)
        try:
            self.undo.append(self.net.delete)
            self.net.create()
            if self.net.relays:
                self.relays = [Relay(self, path) for path in range(self.paths)]
        except BaseException:
            self.close()
            raise
        return self

    def take_directory(self):
        """Starts with an empty directory; a world that was kept in it goes first."""
        for prefix, state in records().items():
            if state["directory"] == self.directory:
                if not state["keep"]:
                    raise WorldError(f"another run (pid {state['pid']}) works in {self.directory}")
                self.say("removing the world that was kept")
                remove(prefix, state)
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(f"{self.directory}/logs")

    def __exit__(self, kind, error, trace):
        if self.keep and kind is None:
            self.note({"keep": True})
            return
        self.close(quiet=kind is not None)

    def close(self, quiet=False):
        """Undoes everything, last first. A daemon that does not end cleanly is an error unless one is on its way."""
        problems = []
        while self.undo:
            step = self.undo.pop()
            try:
                step()
            except Exception as problem:  # the rest must be undone all the same
                problems.append(str(problem))
        if problems and not quiet:
            raise WorldError("\n".join(problems))

    def note(self, changes):
        """Updates what is on record about this world."""
        path = f"{self.record}/world.json"
        state = {}
        if os.path.exists(path):
            with open(path) as file:
                state = json.load(file)
        state.update(changes)
        with open(path + ".new", "w") as file:
            json.dump(state, file)
        os.rename(path + ".new", path)
        self.state = state

    def adopt(self, pid):
        """Puts a process on record, so that it can be ended even if this program is killed."""
        self.note({"processes": self.state["processes"] + [[pid, start_time(pid)]]})

    def forget(self):
        shutil.rmtree(self.record, ignore_errors=True)
        release_hugepages()

    # ---- daemons ----

    def binary(self, name):
        return f"{self.build}/bin/{name}"

    def appliance_command(self):
        command = [self.binary("outriggerd"), "--state", f"{self.directory}/app", "--run-dir", f"{self.record}/app",
                   "--listen-api", f"{self.bracket('app')}:{API_PORT}", "--sleep-idle", *self.appliance_options]
        for path in range(self.paths):
            command += ["--fabric", self.bracket("app", path)]
        if self.link == "dpdk":
            command += ["--fabric-port", "af_xdp:fab0", "--xdp-prog", f"{self.build}/fabric/link/dpdk/fabric.bpf.o"]
        command.append("--hugepages" if self.claim_hugepages() else "--no-hugepages")
        return command

    def claim_hugepages(self):
        """True if there are hugepages for this world beside the others: they stay claimed until it ends."""
        with records_locked():
            self.note({"hugepages": HUGEPAGES_WANTED})
            return reserve_hugepages(sum(state.get("hugepages", 0) for state in records().values()))

    def bracket(self, node, path=0):
        """A node's fabric address as a part of ADDRESS:PORT."""
        address = self.net_address(node, path)
        return f"[{address}]" if ":" in address else address

    def net_address(self, node, path):
        """A node's fabric address of a path."""
        return net.fabric(self.fabric, node, path)

    def start_appliance(self):
        if not self.appliance:
            os.makedirs(f"{self.record}/app", exist_ok=True)
            self.appliance = Daemon("outriggerd", self.appliance_command(), f"{self.directory}/logs/outriggerd.log",
                                    self.net.inside("app"))
            self.undo.append(self.appliance.stop)
        self.appliance.start()
        self.adopt(self.appliance.pid)
        return self.appliance

    def agent_enroll(self, host, token, state=None, check=True):
        """outrigger-agent enroll on a host; gives (status, output)."""
        command = [self.binary("outrigger-agent"), "enroll", "--appliance", f"{self.bracket('app')}:{API_PORT}",
                   "--token", token, "--state", state or f"{self.directory}/{host}"]
        done = subprocess.run(self.net.inside(host) + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE)
        if check and done.returncode:
            raise WorldError(f"outrigger-agent enroll on {host}: status {done.returncode}: {done.stdout.strip()}")
        return done.returncode, done.stdout

    def agent_command(self, host, state=None):
        command = [self.binary("outrigger-agent"), "--state", state or f"{self.directory}/{host}",
                   "--run-dir", self.run_dir(host)]
        for path in range(self.paths):
            command += ["--appliance", f"{self.bracket('app', path)}:{FABRIC_PORT}"]
        return command + self.agent_options

    def run_dir(self, host):
        return f"{self.record}/{host}"

    def start_agent(self, host):
        agent = self.agents.get(host)
        if not agent:
            os.makedirs(self.run_dir(host), exist_ok=True)
            agent = Daemon(f"outrigger-agent on {host}", self.agent_command(host),
                           f"{self.directory}/logs/agent-{host}.log", self.net.inside(host))
            self.agents[host] = agent
            self.undo.append(agent.stop)
        agent.start()
        self.adopt(agent.pid)
        wait_for(f"{host} connected", lambda: self.host_connected(host), check=self.check)
        return agent

    def check(self):
        """Raises when a daemon is gone unasked."""
        for daemon in self.daemons():
            daemon.check()

    # ---- the CLI ----

    def ctl_command(self, *arguments):
        return self.net.inside("app") + [self.binary("outriggerctl"), "--context", f"{self.directory}/app/admin",
                                         *arguments]

    def ctl(self, *arguments):
        done = subprocess.run(self.ctl_command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=PATIENCE)
        with open(f"{self.directory}/logs/outriggerctl.log", "a") as log:
            log.write(f"$ outriggerctl {' '.join(arguments)}  [{done.returncode}]\n{done.stderr}")
        if done.returncode:
            raise ControlError(arguments, done.returncode, done.stderr + done.stdout)
        return done.stdout

    def provision(self):
        """The network behind the VLAN trunk, a pool, and a profile with a vNIC and a disk for each guest."""
        self.ctl("port", "create", "upl0", "--device", "af_packet:upl0")
        self.ctl("uplink", "create", "lan", "--ports", "upl0")
        self.ctl("network", "create", "blue", "--uplink-group", "lan", "--vlan", str(net.VLAN))
        self.ctl("pool", "create", "main", "--directory", f"{self.directory}/volumes")
        for name, guest in GUESTS.items():
            if guest["host"] in self.host_names:
                self.add_guest(name, guest)

    def add_guest(self, name, guest):
        self.ctl("profile", "create", name, "--host", guest["host"])
        self.ctl("vnic", "create", f"{name}-net", "--profile", name, "--network", "blue", "--mac", guest["mac"],
                 "--ip-addresses", f"{guest['ip4']},{guest['ip6']}", "--spoof-check", "on")
        self.ctl("volume", "create", f"{name}-vol", "--pool", "main", "--size", str(VOLUME_BYTES))
        self.ctl("vdisk", "create", f"{name}-disk", "--profile", name, "--volume", f"{name}-vol")

    # ---- guests ----

    def launch(self, name, host=None, queues=1, packed=False, mtu=None):
        """Starts QEMU for a guest at a host and returns at once; wait_ready() follows. The guest has a processor for
        each of its `queues`; an `mtu` is what the NIC tells it."""
        if self.accel is None:
            self.accel = probe_accel(self.image, f"{self.record}/probe")
        place = host or GUESTS[name]["host"]
        nic = wait_for(f"{name}-net at {place}", lambda: self.attached("vnic", f"{name}-net", place), check=self.check)
        disk = wait_for(f"{name}-disk at {place}", lambda: self.attached("vdisk", f"{name}-disk", place), check=self.check)
        spec = GUESTS[name]
        guest = vm.Guest(name, self.image, f"{self.record}/vm", self.accel,
                         vm.net_vhost(nic, spec["mac"], self.accel == "tcg", queues, packed, mtu)
                         + vm.disk_vhost(disk, queues, packed),
                         f"{spec['ip4']}/24,{spec['ip6']}/64", prefix=self.net.inside(place), cpus=queues)
        guest.log_path = f"{self.directory}/logs/{name}.qemu.log"
        guest.console_log = f"{self.directory}/logs/{name}.console.log"
        self.guests[name] = guest
        self.place[name] = place
        guest.start_qemu()
        self.adopt(guest.process.pid)
        self.undo.append(guest.kill)
        return guest

    def boot(self, *names, host=None, timeout=vm.PATIENCE):
        """Boots guests side by side; gives the last one."""
        guests = [self.launch(name, host) for name in names]
        for guest in guests:
            guest.wait_ready(timeout, self.check)
        return guests[-1]

    def spawn(self, node, *command):
        """Runs a helper program in a node's namespace until the world ends."""
        with open(f"{self.directory}/logs/{node}.log", "ab") as log:
            process = child(self.net.inside(node) + list(command), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                            start_new_session=True)
        self.adopt(process.pid)

        def end():
            process.kill()
            process.wait()

        self.undo.append(end)
        return process

    def helper(self, node, *command):
        """Runs a program of a test in a node: proc.Helper."""
        self.helpers += 1
        one = Helper(self.net.inside(node) + list(command), f"{self.directory}/logs/{node}.helper{self.helpers}.log")
        self.adopt(one.pid)
        self.undo.append(one.kill)
        return one

    def program(self, name):
        """A program of the build, as a node can run it."""
        return self.binary(name)

    def pool_directory(self):
        """Where the appliance may have a pool."""
        return f"{self.directory}/pool"

    def read(self, node, path):
        """What a file of a node holds; nothing, if it is not there."""
        if not os.path.exists(path):
            return ""
        with open(path) as file:
            return file.read()

    # ---- the paths of a session ----

    def primary(self, shown):
        """Whether a path, as `host show` tells it, is one of the link under test: what comes before the backup."""
        return shown["local"] != "control channel"

    def backup(self, shown):
        return not self.primary(shown)

    def path_ends(self, host):
        """What `host show` calls the appliance's end of each path, and how the host's begins."""
        return [(f"{self.bracket('app', path)}:{FABRIC_PORT}", f"{self.net_address(host, path)}:")
                for path in range(self.paths)]

    def block_link(self):
        """The fabric carries nothing of the link under test any more, from and to anybody; net.allow() ends it."""
        self.net.forbid(f"udp dport {FABRIC_PORT}", f"udp sport {FABRIC_PORT}")

    def lose(self, percent):
        """The fabric loses so much of all that crosses it, by chance."""
        for relay in self.relays:
            relay.set(f"drop={percent}%,seed=11")

    def lost(self):
        """Frames that the fabric lost so far."""
        return sum(direction["lost"] for relay in self.relays for direction in relay.stats())

    def describe(self):
        """How to reach everything, for a person, when the world stays up."""
        lines = ["The world stays up. To reach it (as root):"]
        context = f"ip netns exec {self.net.name('app')} {self.binary('outriggerctl')} --context {self.directory}/app/admin"
        lines.append(f"  CLI       {context} vnic list")
        lines.append(f"  API       https://{self.bracket('app')}:{API_PORT} inside namespace {self.net.name('app')};"
                     f" certificates in {self.directory}/app/admin")
        for name, guest in self.guests.items():
            lines.append(f"  {name}       tests/world/console {guest.path('console')}   (leave with Ctrl-])")
        lines.append(f"  station   ip netns exec {self.net.name('lan')} ping {GUESTS['vm1']['ip4']}")
        lines.append(f"  logs      {self.directory}/logs")
        lines.append("  remove    make down")
        return "\n".join(lines)


class Relay:
    """The relay in front of the appliance's port of a path; set() changes what it does to every frame."""

    def __init__(self, world, path):
        command = [*world.net.inside("rack"), world.binary("relay"), world.net.port("app", path), f"relay{path}"]
        self.process = child(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)
        world.undo.append(self.end)
        world.adopt(self.process.pid)
        self.answer("start")

    def answer(self, word):
        line = self.process.stdout.readline().strip()
        if line != "ok":
            raise WorldError(f"relay: {word}: {line or 'it has ended'}")

    def set(self, *words):
        """Such as "drop=1%,delay=100us", "cut", "heal": the head of tests/tools/relay/main.c has all."""
        for word in words:
            self.process.stdin.write(f"{word}\n")
            self.process.stdin.flush()
            self.answer(word)

    def stats(self):
        """Counters of the direction to the hosts and of the one to the appliance."""
        self.process.stdin.write("stats\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(PATIENCE)


def need_root():
    if os.geteuid() != 0:
        raise WorldError("this needs root for network namespaces: run it as root or through sudo")


def probe_accel(image, directory):
    """KVM or TCG, asked once per boot of this machine."""
    cache = f"{RECORDS}/accel"
    if os.path.exists(cache):
        with open(cache) as file:
            return file.read().strip()
    answer = vm.accelerator(image, directory)
    os.makedirs(RECORDS, exist_ok=True)
    with open(f"{cache}.{os.getpid()}", "w") as file:
        file.write(answer)
    os.rename(f"{cache}.{os.getpid()}", cache)  # whole at once: another world may read it
    return answer


# ---- what outlives a world ----

@contextlib.contextmanager
def records_locked():
    """Worlds come and go side by side: what several of them read and change together, one does at a time."""
    os.makedirs(RECORDS, exist_ok=True)
    with open(f"{RECORDS}/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_number(path):
    with open(path) as file:
        return int(file.read())


def write_number(path, number):
    with open(path, "w") as file:
        file.write(str(number))


def reserve_hugepages(wanted):
    """True if the machine has so many hugepages then. Remembers how many there were before the first world."""
    try:
        present = read_number(HUGEPAGES)
        if not os.path.exists(f"{RECORDS}/hugepages"):
            write_number(f"{RECORDS}/hugepages", present)
        if present < wanted:
            write_number(HUGEPAGES, wanted)
        return read_number(HUGEPAGES) >= wanted
    except OSError:
        return False


def release_hugepages():
    """Gives the reserved pages back when no world is left."""
    path = f"{RECORDS}/hugepages"
    with records_locked():
        if os.path.exists(path) and not records():
            write_number(HUGEPAGES, read_number(path))
            os.unlink(path)


def records():
    """{prefix: what is on record} of all worlds on this machine."""
    found = {}
    if os.path.isdir(RECORDS):
        for name in os.listdir(RECORDS):
            # One that is just being made or removed has none.
            with contextlib.suppress(FileNotFoundError, NotADirectoryError), open(f"{RECORDS}/{name}/world.json") as file:
                found[name] = json.load(file)
    return found


def remove(prefix, state):
    """Ends the processes of a world that nobody owns any more, and removes what it left."""
    mine = [pid for pid, started in state.get("processes", []) if started and start_time(pid) == started]
    for kind in (signal.SIGTERM, signal.SIGKILL):
        for pid in mine:
            if start_time(pid) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, kind)
        deadline = time.monotonic() + 5
        while any(start_time(pid) is not None for pid in mine) and time.monotonic() < deadline:
            time.sleep(0.05)
    net.delete_namespaces(prefix)
    shutil.rmtree(f"{RECORDS}/{prefix}", ignore_errors=True)
    release_hugepages()


def clean_stale(kept_too=False):
    """Removes worlds whose program is gone; those that KEEP=1 left only if asked. Gives how many."""
    removed = 0
    known = records()
    for prefix, state in known.items():
        owned = start_time(state["pid"]) == state["start"]
        if (not owned and not state["keep"]) or kept_too and state["keep"]:
            remove(prefix, state)
            removed += 1
    for prefix in net.prefixes() - set(known):
        if start_time(net.owner(prefix)) is None:
            net.delete_namespaces(prefix)
            removed += 1
    return removed


def main_guard(function):
    """Runs a program's main function: one line for an error of the world, 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sys.exit(function())
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        sys.exit(130)
    except (WorldError, ControlError, vm.GuestError) as error:
        print(f"{os.path.basename(sys.argv[0])}: {error}", file=sys.stderr)
        sys.exit(1)
