# SPDX-License-Identifier: Apache-2.0
"""What a quiet host costs: an agent with 64, then 256 VMs, each with a vNIC and a disk that its driver has
set up. The floor is a process that wakes up twice a second, as the goal allows, for one datagram, in the same span: what
the machine takes for so little differs by several times from one span to the next."""

import os
import subprocess
import time

from bench import Report, cpu_s
from contest import Contest
from peers import Floor, Ovs
from rig import Outrigger, switches, w, wait_for
from vms import Vms

SECONDS = 10
MOST_CPU, MOST_WAKEUPS = 0.05, 2
MOST_MIB = {64: 16, 256: 32}


def resident_mib(pids):
    """Resident memory that is the process's own: guests' shared memory is theirs."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/status") as file:
            total += sum(int(line.split()[1]) for line in file if line.startswith(("RssAnon", "RssFile")))
    return total / 1024


def quiet(pids):
    """CPU in percent of a core, wake-ups a second, MiB."""
    cpu, slept, start = cpu_s(pids), switches(pids), time.monotonic()
    time.sleep(SECONDS)
    elapsed = time.monotonic() - start
    return {"cpu": 100 * (cpu_s(pids) - cpu) / elapsed, "wakeups": (switches(pids) - slept) / elapsed,
            "mib": resident_mib(pids)}


class Many(Outrigger):
    """One agent; grow() adds VMs to it."""

    def __init__(self):
        Outrigger.__init__(self, "a", pair_words=())
        self.host_names = ("h1",)
        self.count = 0
        self.vms = None
        self.undo.append(self.end_vms)

    def end_vms(self):
        if self.vms:
            self.vms.process.kill()
            self.vms.process.wait()

    def grow(self, count):
        if not self.count:
            self.ctl("pool", "create", "main", "--directory", f"{self.directory}/volumes")
        subprocess.run([*self.net.inside("app"), f"{os.path.dirname(os.path.abspath(__file__))}/provision.py",
                        f"{self.bracket('app')}:{w.API_PORT}", f"{self.directory}/app/admin", str(self.count), str(count)],
                       timeout=300, check=True, stdout=subprocess.DEVNULL)
        directory = self.run_dir("h1")
        wait_for("all disks", lambda: all(os.path.exists(f"{directory}/d{number}.sock") for number in range(count)), 60,
                 self.check)
        if self.vms:
            self.vms.end()
        self.vms = Vms(f"disks={directory}/d%u.sock", f"nics={directory}/n%u.sock", f"vms={count}", "idle=1")
        self.adopt(self.vms.process.pid)
        self.vms.expect("ready")
        self.count = count
        time.sleep(2)  # what the start brought with it has ended


def ovs(sleep):
    def once(rig):
        rig.sleepy(sleep)
        try:
            return quiet(rig.pids("host"))
        finally:
            rig.rest()
    return once


def main():
    report = Report("host-idle", f"{SECONDS} s of quiet; OVS-DPDK with two ports, :500 with pmd-maxsleep=500.")
    with Contest(report) as contest:
        contest.enter("agent", Many)
        contest.enter("OVS-DPDK", Ovs)
        contest.enter("floor", Floor)
        contest.rounds = 1
        peers = contest.loads("idle", {"OVS-DPDK": ovs(0), "OVS-DPDK:500": ovs(500)})
        for count, most in MOST_MIB.items():
            floor = []

            def once(rig, count=count, floor=floor):
                rig.grow(count)
                with contest.rigs["floor"].idle(pps=MOST_WAKEUPS, seconds=SECONDS) as found:
                    load = quiet([rig.agents["h1"].pid])
                floor.append(vars(found[0]))
                return load

            loads = {**peers, **contest.loads(f"{count} VMs", {"agent": once}), "floor": floor}
            for peer in ("OVS-DPDK", "OVS-DPDK:500"):
                contest.row(f"{count} VMs: CPU", "% of a core", loads, "agent", peer, lambda idle: idle["cpu"],
                            absolute=MOST_CPU, floor="floor")
            contest.row(f"{count} VMs: wake-ups", "1/s", loads, "agent", "OVS-DPDK:500", lambda idle: idle["wakeups"],
                        absolute=MOST_WAKEUPS, floor="floor")
            contest.row(f"{count} VMs: memory", "MiB", loads, "agent", "OVS-DPDK", lambda idle: idle["mib"], absolute=most)
    return report
