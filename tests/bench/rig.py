# SPDX-License-Identifier: Apache-2.0
"""Two guests on two hosts, for benchmarks: ours, and what each measurement counts.

A rig is a context with .guests (two Guest objects whose frames reach each other), .pids("host") and, where the work is
done elsewhere too, .pids("appliance"). measure() offers a load and gives a Load.

Host CPU is what the scheduler counted for the processes of both hosts (/proc/PID/schedstat) and for ksoftirqd, all of
which is put on the host's account. Interrupts run in the name of the process that they interrupt, so the kernel's share
is inside; that of a veth pair's receiver is in its sender's name: only the sum of both hosts is right.
"""

import contextlib
import json
import os
import re
import select
import subprocess
import sys
import time

from bench import cpu_s, program, softirq_pids

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../world"))
import world as w  # noqa: E402
from proc import WorldError, wait_for  # noqa: E402

# Guests 0 and 1 talk to each other, and so do 2 and 3, 4 and 5.
ADDRESS = tuple((f"02:00:5e:00:02:{number + 1:02x}", f"10.20.0.{31 + number}") for number in range(6))
FULL_FRAME = 65226  # headers and 45 segments of 1448
SEGMENT = 1500


class RigError(Exception):
    """A contestant cannot be measured; the text says why."""


class Guest:
    """bench_guest on a vhost-user socket."""

    def __init__(self, socket, number, *words):
        own, peer = ADDRESS[number], ADDRESS[number ^ 1]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)
        self.process = subprocess.Popen([program("bench_guest"), socket, *own, *peer, *words], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.expect("listening")

    def read(self, timeout=30):
        if not select.select([self.process.stdout], [], [], timeout)[0]:
            raise RigError("a guest does not answer")
        line = self.process.stdout.readline().strip()
        if not line:
            raise RigError("a guest has ended")
        return line

    def expect(self, word, timeout=30):
        line = self.read(timeout)
        if line != word:
            raise RigError(f"a guest said {line}, not {word}")

    def ready(self):
        self.expect("ready")

    def tell(self, command):
        self.process.stdin.write(command + "\n")
        answer = json.loads(self.read())
        if "error" in answer:
            raise RigError(f"guest: {command}: {answer['error']}")
        return answer

    def close(self):
        self.process.kill()
        self.process.wait()


def switches(pids):
    """Times that processes slept and were woken."""
    total = 0
    for pid in pids:
        for task in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/task/{task}/status") as file:
                total += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
    return total


class Rig:
    """What every contestant has: guests and processes; a subclass makes them."""

    name = ""
    guests = ()
    full_frame = FULL_FRAME

    def pids(self, _part):
        return []

    def trains(self):
        """(0, 0) where there are none."""
        return 0, 0

    def wake(self):
        """Before a turn."""

    def rest(self):
        """After a turn: it must not take part of the machine from the others."""

    def meet(self):
        """The switches learn where both guests are."""
        for guest in self.guests:
            guest.ready()
        deadline = time.monotonic() + 20
        while True:
            for guest in self.guests:
                guest.tell("hello")
            time.sleep(0.1)
            if all(guest.tell("stats")["rx_other"] for guest in self.guests):
                return
            if time.monotonic() > deadline:
                raise RigError(f"{self.name}: no frame passes between the guests")


class Outrigger(Rig, w.World):
    """Two agents and an appliance, everything on: sessions, source checks, counters. pair_words: of each pair of
    guests; agent_words: of each host's agent; batch: agents run under SCHED_BATCH."""

    def __init__(self, tag, clear=False, fabric_mtu=1500, options=(), pair_words=((),), agent_words=((), ()), batch=False):
        self.pair_words = pair_words
        self.batch = batch
        self.agent_words = agent_words
        self.name = "integrity only" if clear else "encrypted"
        options = [*options, *(["--integrity-only"] if clear else [])]
        w.World.__init__(self, f"build/bench/world-{tag}", link="udp", tag=tag, mtu=fabric_mtu,
                         appliance_options=options)

    def agent_command(self, host, state=None):
        return w.World.agent_command(self, host, state) + list(self.agent_words[self.host_names.index(host)])

    def __enter__(self):
        w.World.__enter__(self)
        try:
            self.start()
            for pid in self.pids("host") if self.batch else ():
                os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
            self.ctl("network", "create", "blue")
            self.guests = []
            for number in range(2 * len(self.pair_words)):
                host = self.host_names[number % 2]
                self.add_nic(f"g{number}", host, ADDRESS[number])
                self.guests.append(self.plug(f"g{number}", host, number))
            self.meet()
        except BaseException:
            self.close(quiet=True)
            raise
        return self

    def add_nic(self, name, host, address):
        self.ctl("profile", "create", name, "--host", host)
        self.ctl("vnic", "create", f"{name}-net", "--profile", name, "--network", "blue", "--mac", address[0],
                 "--ip-addresses", address[1])

    def plug(self, name, host, number):
        socket = wait_for(f"{name} at {host}", lambda: self.attached("vnic", f"{name}-net", host), 20, self.check)
        guest = Guest(socket, number, *self.pair_words[number // 2])
        self.undo.append(guest.close)
        self.adopt(guest.process.pid)
        return guest

    def trains(self):
        """(packets of the transport, trains of them) that both agents have sent: the kernel counts a train once."""
        packets = sum(value for name, value in self.all_counters().items()
                      if name.startswith("host/") and name.endswith("/rx_packets"))
        trains = 0
        for host in self.host_names:
            snmp = [line.split() for line in self.net.sh(host, "cat /proc/net/snmp").splitlines() if "Udp:" in line]
            trains += int(dict(zip(*snmp[:2]))["OutDatagrams"])
        return packets, trains

    def pids(self, part):
        return [agent.pid for agent in self.agents.values()] if part == "host" else [self.appliance.pid]


class Pair(Rig):
    """Another pair of guests of an Outrigger's hosts."""

    def __init__(self, rig, number):
        self.rig = rig
        self.name = rig.name
        self.guests = rig.guests[2 * number:2 * number + 2]

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        pass

    def pids(self, part):
        return self.rig.pids(part)

    def trains(self):
        return self.rig.trains()


# An agent that polls needs a processor of its own; the machine's two are all there are for both.
POLL = tuple(("--cpu", str(cpu), "--poll-us", "50") for cpu in (0, 1))


class Load:
    """What came of an offered load within a window of time."""

    def __init__(self, rig, seconds):
        softirq = softirq_pids()
        trains = rig.trains()
        parts = {part: rig.pids(part) for part in ("host", "appliance")}
        before = [cpu_s(parts["host"]), cpu_s(parts["appliance"]), cpu_s(softirq), switches(parts["host"])]
        sent, came, start = rig.guests[0].tell("stats"), rig.guests[1].tell("stats"), time.monotonic()
        time.sleep(seconds)
        after = [cpu_s(parts["host"]), cpu_s(parts["appliance"]), cpu_s(softirq), switches(parts["host"])]
        stats, self.seconds = rig.guests[1].tell("stats"), time.monotonic() - start
        gone = rig.guests[0].tell("stats")
        packets, trains = (b - a for a, b in zip(trains, rig.trains()))
        self.train = packets / trains if trains else 0
        host, self.appliance_s, soft, self.wakeups = (b - a for a, b in zip(before, after))
        self.host_s, self.softirq_s = host + soft, soft
        self.bytes = stats["rx_bytes"] - came["rx_bytes"]
        self.frames = stats["rx_frames"] - came["rx_frames"]
        self.lost = stats["rx_lost"] - came["rx_lost"]
        self.offered = gone["tx_frames"] - sent["tx_frames"]
        self.kicks = gone["kicks"] - sent["kicks"]
        self.calls = stats["rx_calls"] - came["rx_calls"]
        self.p50, self.p99 = stats["one_way_p50"], stats["one_way_p99"]
        if not self.bytes:
            raise RigError(f"{rig.name}: nothing arrived")
        self.gbps = self.bytes * 8e-9 / self.seconds
        self.mpps = self.frames / self.seconds / 1e6
        self.per_gb = self.host_s / self.bytes * 1e9
        self.appliance_per_gb = self.appliance_s / self.bytes * 1e9
        self.per_mpkt = self.host_s / self.frames * 1e6
        self.appliance_per_mpkt = self.appliance_s / self.frames * 1e6
        self.wakeups_per_m = self.wakeups / (self.bytes / SEGMENT) * 1e6

    def __str__(self):
        return (f"{self.gbps:.2f} Gb/s {self.mpps:.3f} Mpps lost {self.lost}/{self.offered}; host {self.per_gb:.3f} "
                f"s/GB {self.per_mpkt:.3f} s/Mpkt (softirqd {self.softirq_s:.3f} s), appliance {self.appliance_per_gb:.3f} "
                f"s/GB; {self.wakeups_per_m:.0f} wake-ups/M, {self.kicks / self.seconds:.0f} kicks/s, "
                f"{self.calls / self.seconds:.0f} calls/s; one way {self.p50}/{self.p99} us; "
                f"{self.train:.1f} packets per train")


def measure(rig, length, pps=0, burst_us=100, seconds=1.5, warm=0.4):
    """Frames of a length (0: the longest) from the first guest to the second; pps 0: flat out."""
    rig.wake()
    length = length or rig.full_frame
    try:
        rig.guests[0].tell(f"send {length} {pps} {burst_us}")
        time.sleep(warm)
        return Load(rig, seconds)
    finally:
        rig.guests[0].tell("stop")
        time.sleep(0.1)
        rig.rest()


__all__ = ["ADDRESS", "FULL_FRAME", "POLL", "SEGMENT", "Guest", "Load", "Outrigger", "Pair", "Rig", "RigError", "WorldError", "measure",
           "switches", "w", "wait_for"]
