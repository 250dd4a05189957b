# SPDX-License-Identifier: Apache-2.0
"""What `make run` shows, as functions over a running World. Each gives its figure or raises with what it saw."""

import json
import re
import time

import net
import vm
from proc import PATIENCE, Usage, own_memory, wait_for
from report import CheckFailed, expect
from world import GUESTS

WRITE_MIB = 64
IO_ERRORS = "I/O error|EXT4-fs error|Remounting filesystem read-only|Aborting journal|blk_update_request"


# ---- a: reachability ----

def all_answered(what, command, run, check=None):
    """The output of a ping command that loses nothing, and the output is shown of each that did. A host comes back after a
    disturbance in its own time, and where a processor is not given in time a frame may be dropped: some time all must come.
    """
    def answered():
        output = run(command)
        if " 0% packet loss" in output:
            return output
        print(f"  {what}: {output.strip().splitlines()[-2:]}", flush=True)
        return None

    return wait_for(what, answered, PATIENCE, check)


def ping(guest, target, count=3, size=56, check=None):
    """Round trip in ms."""
    output = all_answered(f"{count} answers in a row from {target} to {guest.name}", f"ping -c {count} -s {size} -W 5 {target}",
                          lambda command: guest.run(command, 8 + 6 * count).output, check)
    return float(re.search(r"min/avg/max = [\d.]+/([\d.]+)/", output).group(1))


def reach(guest, target, check=None):
    """Waits until `guest` reaches `target`."""
    ping(guest, target, 1, check=check)


def station_ping(world, target):
    output = all_answered(f"3 answers in a row from {target} to the station", f"ping -c 3 -i 0.2 -W 5 {target}",
                          lambda command: world.net.sh("lan", command, check=False), world.check)
    return float(re.search(r"rtt min/avg/max/mdev = [\d.]+/([\d.]+)/", output).group(1))


IPERF_SERVES = "netstat -ltn | grep -q ':5201 '"


def measured(what, run):
    """What iperf3 -J says. A server may still be at its last test, which it says, and then is asked again."""
    def answer():
        output = run()
        try:
            found = json.loads(output)
        except json.JSONDecodeError:
            raise CheckFailed(f"{what}: {output[-300:]}") from None
        error = found.get("error")
        expect(not error or "busy" in error, f"{what}: {error}")
        return None if error else found

    return wait_for(f"{what}: a server that is free", answer)


def iperf(guest, target, *options, timeout=PATIENCE, check=None):
    """Goodput at the receiver in Mbit/s."""
    what = f"iperf3 {guest.name} to {target}"
    command = f"iperf3 -J -i 0 -c {target} --connect-timeout 20000 {' '.join(options)}"
    answer = measured(what, lambda: guest.run(command, timeout, check).output)
    rate = answer["end"]["sum_received"]["bits_per_second"] / 1e6
    expect(rate > 0, f"{what}: nothing arrived")
    return rate


def serve_iperf(world):
    for guest in world.guests.values():
        guest_serves_iperf(guest)
    station_serves_iperf(world)


def guest_serves_iperf(guest):
    guest.must(f"pidof iperf3 || iperf3 -s -D; until {IPERF_SERVES}; do sleep 0.1; done")


def station_serves_iperf(world, node="lan"):
    """A server on a node of the world. There is one at most."""
    world.spawn(node, "iperf3", "-s")
    wait_for("iperf3 to listen", lambda: ":5201" in world.net.sh(node, "ss -ltn"), check=world.check)


def reachability(report, world, one, two):
    serve_iperf(world)
    for source, target in ((one, two), (two, one)):
        spec = GUESTS[target.name]
        report.check(f"a  ping {source.name} > {target.name}", "ms", ping, source, spec["ip4"])
        report.check(f"a  ping {source.name} > {target.name} IPv6", "ms", ping, source, spec["ip6"])
    report.check(f"a  TCP {one.name} > {two.name}, 4 MB", "Mbit/s", iperf, one, GUESTS[two.name]["ip4"], "-n", "4M")
    for guest in (one, two):
        report.check(f"a  ping {guest.name} > LAN station", "ms", ping, guest, net.STATION4)
        report.check(f"a  ping {guest.name} > LAN station IPv6", "ms", ping, guest, net.STATION6)
        report.check(f"a  ping LAN station > {guest.name}", "ms", station_ping, world, GUESTS[guest.name]["ip4"])
        report.check(f"a  TCP {guest.name} > LAN station, 4 MB", "Mbit/s", iperf, guest, net.STATION4, "-n", "4M")
        report.check(f"a  TCP LAN station > {guest.name}, 4 MB", "Mbit/s", iperf, guest, net.STATION4, "-n", "4M", "-R")


# ---- b: throughput ----

def offloads(guest):
    """The offloads that the guest's driver negotiated, as a text."""
    output = guest.must("ethtool -k eth0")
    for feature in ("tx-checksumming", "tcp-segmentation-offload", "tx-tcp-segmentation", "rx-checksumming"):
        expect(re.search(rf"^\s*{feature}: on", output, re.M), f"{guest.name}: {feature} is off")
    return "on"


def pick(counters, pattern):
    """Those counters whose name matches, as {name: value}; there must be one."""
    found = {name: value for name, value in counters.items() if re.search(pattern, name)}
    expect(found, f"no counter like {pattern} in {sorted(counters)}")
    return found


def throughput(report, world, one, two, seconds=5):
    for guest in (one, two):
        report.check(f"b  TSO and checksum offload in {guest.name}", "", offloads, guest)
    noun = f"{one.name}-net"
    supers = sum_of(world, noun, "super")
    before = {host: Usage(agent.pid) for host, agent in world.agents.items()}
    target = GUESTS[two.name]["ip4"]
    rates = []

    def measure(*options):
        rates.append(iperf(one, target, "-t", str(seconds), *options, check=world.check))
        return rates[-1]

    report.check(f"b  iperf3 {one.name} > {two.name}", "Mbit/s", measure)
    report.check(f"b  iperf3 {two.name} > {one.name}", "Mbit/s", measure, "-R")
    gigabytes = sum(rates) * seconds / 8e3
    for host, usage in before.items():
        percent, wakeups, cpu = Usage(world.agents[host].pid).since(usage)
        report.row(f"b  agent {host}: CPU for it", True, percent, "% of a core")
        report.row(f"b  agent {host}: CPU per GB", True, cpu / max(gigabytes, 1e-9), "s/GB")
        report.row(f"b  agent {host}: wake-ups for it", True, wakeups, "/s")

    def crossed():
        count = sum_of(world, noun, "super") - supers
        expect(count > 0, "no frame above the MTU was counted")
        return count

    report.check("b  frames above the MTU, whole", "frames", crossed)


def sum_of(world, vnic, pattern):
    return sum(pick(world.counters("vnic", vnic), pattern).values())


# ---- c: disk ----

def make_disk(guest):
    """Makes a file system on the guest's disk and mounts it; gives the seconds."""
    started = time.monotonic()
    guest.must("umount /mnt 2>/dev/null; mkfs.ext4 -q -F /dev/vda && mount /dev/vda /mnt")
    return time.monotonic() - started


class Writer:
    """Writes random data to the disk in a guest, one MiB with fsync after the other, all of it and then again from its
    start until done() asks for no more: whatever a test does meanwhile, the guest is writing.
    """

    def __init__(self, guest, check, mebibytes=WRITE_MIB):
        self.guest = guest
        self.mebibytes = mebibytes
        self.check = check
        guest.must(f"rm -f /run/progress /run/enough; dd if=/dev/urandom of=/tmp/data bs=1M count={mebibytes} 2>/dev/null")
        self.sum = guest.must("sha256sum < /tmp/data").split()[0]
        self.job = guest.start(
            f"i=0; while [ $i -lt {mebibytes} ] || [ ! -e /run/enough ]; do at=$((i % {mebibytes})); "
            "dd if=/tmp/data of=/mnt/data bs=1M count=1 skip=$at seek=$at conv=notrunc,fsync 2>/run/dd.err || "
            "{ cat /run/dd.err; exit 1; }; i=$((i + 1)); echo $i > /run/next; mv /run/next /run/progress; done")

    def progress(self):
        return int(self.guest.must("cat /run/progress 2>/dev/null || echo 0").split()[0])

    def reach(self, mebibytes, timeout=vm.PATIENCE):
        wait_for(f"{mebibytes} MiB written", lambda: self.progress() >= mebibytes, timeout, self.check)

    def done(self, timeout=vm.PATIENCE):
        self.guest.must("touch /run/enough")
        result = self.job.wait(timeout, self.check)
        expect(result.ok, f"the writer in {self.guest.name} failed: {result.output.strip()}")
        self.guest.must("rm /tmp/data")


def kill_and_restart(world, writer, kill, restart):
    """Seconds from kill -9 until the guest's writing goes on."""
    before = writer.progress()
    started = time.monotonic()
    kill()
    restart()
    writer.reach(before + 2)  # one MiB may have been on its way back when the daemon died
    return time.monotonic() - started


def disk_sum(guest):
    """The file's checksum as the disk has it, not the page cache."""
    guest.must("umount /mnt && mount /dev/vda /mnt && echo 3 > /proc/sys/vm/drop_caches")
    return guest.must("sha256sum < /mnt/data").split()[0]


def verify(guest, expected, mebibytes=WRITE_MIB):
    """MiB/s of the read that finds the checksum to be right."""
    started = time.monotonic()
    found = disk_sum(guest)
    expect(found == expected, f"{guest.name}: /mnt/data has SHA-256 {found}, not {expected}")
    return mebibytes / (time.monotonic() - started)


def no_io_errors(guest):
    output = guest.must(f"dmesg | grep -E '{IO_ERRORS}' || true")
    expect(not output, f"{guest.name}: {output.strip()}")
    return 0


def appliance_killer(world):
    def restart():
        world.start_appliance()

    return world.appliance.kill, restart


def agent_killer(world, host):
    def restart():
        world.start_agent(host)

    return world.agents[host].kill, restart


def disk(report, world, guest, first=12, second=36):
    """`first` and `second`: MiB written when the appliance and then the agent is killed."""
    host = world.place[guest.name]
    if not report.check("c  mke2fs and mount", "s", make_disk, guest):
        return
    writer = Writer(guest, world.check)

    def strike(threshold, killer):
        writer.reach(threshold)
        return kill_and_restart(world, writer, *killer)

    report.check("c  appliance kill -9, restart: writing goes on", "s", strike, first, appliance_killer(world))
    report.check("c  agent kill -9, restart: writing goes on", "s", strike, second, agent_killer(world, host))

    def finish():
        writer.done()
        return WRITE_MIB

    report.check("c  written with fsync meanwhile", "MiB", finish)
    report.check("c  checksum after remount", "MiB/s", verify, guest, writer.sum)
    report.check("c  I/O errors the guest saw", "", no_io_errors, guest)


# ---- d: move ----

def fill(guest):
    """A file system with a random file; gives its checksum."""
    make_disk(guest)
    guest.must("dd if=/dev/urandom of=/mnt/data bs=1M count=8 conv=fsync 2>/dev/null")
    return guest.must("sha256sum < /mnt/data").split()[0]


def move(report, world, guest, target):
    """Moves the guest's profile to another host and starts the VM there. Gives the new guest."""
    name = guest.name
    expected = fill(guest)
    guest.shutdown()
    started = time.monotonic()
    world.ctl("profile", "set", name, "--host", target)
    moved = world.launch(name, target)
    report.row(f"d  {name}: profile moved to {target}, sockets there", True, time.monotonic() - started, "s")
    moved.wait_ready(check=world.check)
    ready = time.monotonic()
    spec = GUESTS[name]

    def reachable():
        reach(world.guests["vm1"] if name != "vm1" else world.guests["vm2"], spec["ip4"], world.check)
        return time.monotonic() - ready

    report.check(f"d  {name} reachable from its neighbour after boot", "s", reachable)
    report.check(f"d  {name} reachable from the LAN station", "ms", station_ping, world, spec["ip4"])

    def same_mac():
        found = moved.must("cat /sys/class/net/eth0/address").strip()
        expect(found == spec["mac"], f"{name}: MAC {found}, not {spec['mac']}")
        return found

    def same_disk():
        moved.must("mount /dev/vda /mnt")
        found = moved.must("sha256sum < /mnt/data").split()[0]
        expect(found == expected, f"{name}: /mnt/data has SHA-256 {found}, not {expected}")
        return 8

    report.check(f"d  {name} has the same MAC", "", same_mac)
    report.check(f"d  {name} has the same disk content", "MiB", same_disk)
    return moved


# ---- e: spoofing ----

def counted(world, vnic, pattern, action):
    """Runs action(); gives (name, increase) of the counter that matches and grew."""
    before = pick(world.counters("vnic", vnic), pattern)
    action()

    def grew():
        now = world.counters("vnic", vnic)
        return [(name, now[name] - old) for name, old in before.items() if now[name] > old]

    return wait_for(f"a counter of {vnic} like {pattern} to grow", grew, check=world.check)[0]


def spoof_mac(world, guest, victim):
    mine, other = GUESTS[guest.name]["mac"], GUESTS[victim.name]["mac"]

    def act():
        guest.must(f"ip link set eth0 address {other}; ip neigh flush dev eth0")
        try:
            result = guest.run(f"ping -c 3 -W 1 {net.STATION4}", 15)
        finally:
            guest.must(f"ip link set eth0 address {mine}; ip neigh flush dev eth0")
        expect(not result.ok, f"{guest.name} reached the station with {victim.name}'s MAC")

    name, count = counted(world, f"{guest.name}-net", r"drop_spoof_mac", act)
    reach(victim, net.STATION4, world.check)
    return count, name


def spoof_ip(world, guest, victim):
    other = GUESTS[victim.name]["ip4"]

    def act():
        guest.must(f"ip addr add {other}/32 dev eth0")
        try:
            result = guest.run(f"ping -c 3 -W 1 -I {other} {net.STATION4}", 15)
        finally:
            guest.must(f"ip addr del {other}/32 dev eth0")
        expect(not result.ok, f"{guest.name} reached the station with {victim.name}'s address")

    name, count = counted(world, f"{guest.name}-net", r"drop_spoof_(arp|ipv4)", act)
    reach(victim, net.STATION4, world.check)
    return count, name


def spoofing(report, world, guest, victim):
    for what, function in (("MAC", spoof_mac), ("IP address", spoof_ip)):
        names = []

        def dropped(function=function, names=names):
            count, name = function(world, guest, victim)
            names.append(name)
            return count

        report.check(f"e  {guest.name} sends with {victim.name}'s {what}: dropped", "frames", dropped)
        for name in names:
            report.say(f"       counted as {name} (outriggerctl vnic show {guest.name}-net)")


# ---- f: idle ----

IDLE_CPU = 0.1  # percent of a core
IDLE_WAKEUPS = 5  # a second


def frames(world):
    """Frames that any vNIC sent or got so far."""
    return sum(value for name in world.guests for counter, value in world.counters("vnic", f"{name}-net").items()
               if counter in ("tx_frames", "rx_frames"))


def settle(world):
    """Waits until the guests are quiet: no file system has something to write, no frame came for two seconds."""
    for guest in world.guests.values():
        guest.must("umount /mnt 2>/dev/null; sync")
    last, since = frames(world), time.monotonic()

    def quiet():
        nonlocal last, since
        now = frames(world)
        if now != last:
            last, since = now, time.monotonic()
        return time.monotonic() - since > 2

    wait_for("the guests to be quiet", quiet, check=world.check, step=0.25)


def span(world, seconds):
    """Each agent's (CPU in percent of a core, wake-ups per second) over a quiet time."""
    settle(world)
    before = {host: Usage(agent.pid) for host, agent in world.agents.items()}
    time.sleep(seconds)  # nothing to wait for: a quiet time is what is measured
    world.check()
    return {host: Usage(world.agents[host].pid).since(usage)[:2] for host, usage in before.items()}


def idle(report, world, seconds=5, spans=6):
    """What an idle agent costs is the least of a few spans: an emulated guest's own timers, and a core that somebody else
    wants, make a span dearer than idling is; an agent that polls is dear in all of them."""
    least = {}
    for _ in range(spans):
        for host, figures in span(world, seconds).items():
            least[host] = min(least.get(host, figures), figures)
        if all(cpu <= IDLE_CPU and wakeups <= IDLE_WAKEUPS for cpu, wakeups in least.values()):
            break
    for host, (cpu, wakeups) in least.items():
        report.limit(f"f  agent {host} idle: CPU", cpu, "% of a core", IDLE_CPU)
        report.limit(f"f  agent {host} idle: wake-ups", wakeups, "/s", IDLE_WAKEUPS)
        report.limit(f"f  agent {host}: memory of its own", own_memory(world.agents[host].pid) / 2**20, "MiB", 24)
