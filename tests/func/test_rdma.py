#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The RDMA fabric on real kernels and libibverbs: two guests with rdma_rxe (tests/world/rdma.py), outriggerd in one,
outrigger-agent in the other.

A session has four paths: UDP on wire 0, RDMA on wires 1 and 2, and the control channel. Two TAP vNICs of the host, each in a
network namespace of its own, talk through the appliance.

    make test-rdma
"""

import contextlib
import json
import os
import sys
import time

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../world")
import case
import checks
import rdma
import vm
from case import WorldError, expect, wait_for

GUEST = os.environ.get("GUEST", "build/cache/guest")
PATIENCE = vm.PATIENCE
MACS = {"a": "02:00:5e:00:02:01", "b": "02:00:5e:00:02:02"}


class Stand(rdma.Pair):
    """The pair with the daemons in it."""

    def check(self):
        for guest in (self.app, self.host):
            expect(guest.running(), f"{guest.name} runs\n{guest.tail()}")

    def ctl(self, *words):
        status, output = self.console.run(*words)
        expect(status == 0, f"outriggerctl {' '.join(words)}: status {status}: {output}")
        return output

    def daemon(self, guest, name, arguments):
        """Starts it and waits until it serves."""
        guest.must(f"rm -f /run/{name}.ready; mkfifo /run/{name}.ready; "
                   f"(exec {name} {arguments} --ready-fd 9 9>/run/{name}.ready) >> /run/{name}.log 2>&1 &")
        result = guest.run(f"timeout {PATIENCE} head -n 1 < /run/{name}.ready", PATIENCE + 5)
        expect(result.ok, f"{name} serves\n{self.log(guest, name)}")

    def log(self, guest, name):
        return guest.run(f"tail -n 30 /run/{name}.log").output

    def wait(self, what, condition):
        """wait_for() that shows, when it was in vain, how the session stands and what both daemons said."""
        try:
            return wait_for(what, condition, PATIENCE, self.check, 0.2)
        except WorldError as error:
            logs = "".join(f"--- {name}\n{self.log(guest, name)}" for guest, name in
                           ((self.app, "outriggerd"), (self.host, "outrigger-agent")))
            raise WorldError(f"{error}\n{json.dumps(self.show().get('paths', []))}\n{self.standing()}{logs}") from None

    def standing(self):
        """What else there is to say of a wait in vain."""
        return ""

    def start_appliance(self):
        self.daemon(self.app, "outriggerd", "--fabric 10.9.0.1 --fabric verbs:rxe1 --fabric verbs:rxe2 --state /run/st"
                    f" --run-dir /run/og --listen-api 10.9.0.1:{rdma.API_PORT} --no-hugepages --sleep-idle")
        self.console = rdma.Console(self, f"{self.directory}/admin", "/run/st")

    def start_agent(self, fabric="--fabric verbs:rxe1 --fabric verbs:rxe2"):
        self.daemon(self.host, "outrigger-agent", f"--appliance 10.9.0.1 {fabric} --state /run/agent --run-dir /run/og")

    def show(self, *words):
        """How the host's session is: paths, counters."""
        answer = json.loads(self.ctl("host", "show", "host", *words, "-o", "json"))
        return answer["status"]

    def paths(self):
        """The paths of the session, as the appliance sees them: {local: whether it is up}."""
        return {path["local"]: path.get("state") == "PATH_STATE_UP" for path in self.show().get("paths", [])}

    def rdma_up(self, number=2):
        """Whether so many of the RDMA paths are up; the last answer is in self.last."""
        self.last = self.paths()
        return sum(up for local, up in self.last.items() if local.startswith("RDMA")) == number

    def rdma_counters(self):
        """The agent's, of all its ports."""
        return {name[len("host_rdma_"):]: int(value) for name, value in self.show("--counters")["counters"].items()
                if name.startswith("host_rdma_")}

    def vnic(self, name):
        """Counters of a vNIC; the agent's begin with host_ and are about a second old."""
        answer = json.loads(self.ctl("vnic", "show", name, "--counters", "-o", "json"))
        return {key: int(value) for key, value in answer["status"]["counters"].items()}

    def tap_up(self, number, name):
        self.host.must(f"i2 link set tap-{name} netns {name} && i2 -n {name} link set tap-{name} up && "
                       f"i2 -n {name} addr add 10.20.0.{number}/24 dev tap-{name}")

    def ping(self, count):
        self.last = self.host.run(f"i2 netns exec a ping -c {count} -W 5 10.20.0.2", PATIENCE).output
        return " 0% packet loss" in self.last

    def frames_pass(self):
        """A few frames each way; one may be lost (the network is a bounded class), not all."""
        self.wait("frames pass", lambda: self.ping(3))

    @contextlib.contextmanager
    def without(self, *wires):
        """These RDMA wires are cut meanwhile."""
        for wire in wires:
            self.cut(wire)
        up = len(rdma.RDMA_WIRES) - len(wires)
        self.wait(f"{up} RDMA paths up", lambda: self.rdma_up(up))
        yield
        for wire in wires:
            self.cut(wire, up=True)
        self.wait("both up again", self.rdma_up)

    @contextlib.contextmanager
    def half_cut(self, wire):
        """The appliance's end of a wire is gone meanwhile: the agent's port stays up, and moves run out of retries."""
        before = self.broken()
        self.cut(wire, self.app)
        self.wait("a broken queue pair", lambda: self.broken() > before)
        yield
        self.cut(wire, self.app, up=True)
        self.wait("both up again", self.rdma_up)

    def kill(self, guest, daemon):
        guest.must(f"killall -9 {daemon}; while pidof {daemon}; do sleep 0.1; done")

    def broken(self):
        """Connections that the agent has seen break."""
        return int(self.host.run("grep -c 'connection of RDMA path' /run/outrigger-agent.log").output)


def setup(stand):
    started = time.monotonic()
    stand.start_appliance()
    stand.ctl("host", "create", "host")
    token = stand.ctl("host", "enroll-token", "host").strip()
    stand.host.must(f"outrigger-agent enroll --appliance 10.9.0.1:{rdma.API_PORT} --token {token} --state /run/agent", PATIENCE)
    stand.start_agent()
    print(f"booted in {stand.app.boot_seconds:.0f} s, daemons up after {time.monotonic() - started:.0f} s more")


def test_rdma_paths_come_up(stand):
    stand.wait("both RDMA paths up", stand.rdma_up)
    print(stand.last)


def test_frames_pass(stand):
    """Two vNICs of the host, each in a namespace of its own."""
    stand.ctl("network", "create", "blue")
    stand.ctl("profile", "create", "p", "--host", "host")
    for name, mac in MACS.items():
        stand.ctl("vnic", "create", name, "--profile", "p", "--network", "blue", "--mac", mac, "--frontend", "tap",
                  "--tap-name", f"tap-{name}")
    for number, name in enumerate(MACS, 1):
        tap = f"tap-{name}"
        stand.wait(tap, lambda t=tap: stand.host.run(f"i2 link show {t}").ok)
        stand.host.must(f"i2 netns add {name}")
        stand.tap_up(number, name)
    before = stand.rdma_counters()
    stand.wait("the first answer", lambda: stand.ping(1))
    stand.frames_pass()
    sent = lambda now: sum(now.get(name, 0) - before.get(name, 0) for name in ("tx_inline", "tx_copied"))  # noqa: E731
    stand.wait("20 messages over RDMA", lambda: sent(stand.rdma_counters()) >= 20)


def test_super_frames_pass(stand):
    stand.host.must(f"i2 netns exec b iperf3 -s -D; until i2 netns exec b {checks.IPERF_SERVES}; do sleep 0.1; done")
    answer = checks.measured("iperf3 a to b", lambda: stand.host.run("i2 netns exec a iperf3 -J -c 10.20.0.2 -n 512K").output)
    print(answer["end"]["sum_received"])


def test_large_frames_are_moved_by_the_adapter(stand):
    """From the memory they were read into, through a slot of the appliance, to that which they are written from: no
    processor of ours touches them. The first one finds no buffers posted. An emulated adapter may lose its connection on a
    busy machine, and large frames come in pieces by UDP then: not each time.
    """
    def moved():
        a, b = stand.vnic("a"), stand.vnic("b")
        return [a["tunnel_rx_fetched_bytes"], b["tunnel_tx_placed_bytes"], b["tunnel_tx_placed"] - b["tunnel_tx_posted"],
                b.get("host_rx_posted", 0), a["tunnel_rx_copied_bytes"]]

    def untouched():
        before = moved()
        stand.host.run("timeout 20 i2 netns exec a iperf3 -c 10.20.0.2 -n 256K", PATIENCE)
        now = before

        def counted():
            nonlocal now
            now = moved()
            return now[3] > before[3]

        with contextlib.suppress(WorldError):
            wait_for("the agent's counters", counted, 5, stand.check)
        fetched, placed, staged, posted, copied = (new - old for new, old in zip(now, before))
        print(f"  {fetched} bytes fetched, {placed} placed, {staged} frames of them in the stage, {posted} in the guest's buffers, "
              f"{copied} bytes copied", flush=True)
        return fetched >= 16 << 10 and placed >= 16 << 10 and posted and not staged and not copied

    wait_for("16 KiB fetched and placed, and none copied", untouched, PATIENCE, stand.check, 0.5)
    a = stand.vnic("a")
    expect(a["host_tx_copied_bytes"] + a["host_tx_lent_bytes"] >= a["host_tx_bytes"], a)


def test_a_cut_wire_is_a_dead_path(stand):
    with stand.without(1):
        stand.frames_pass()


def another_agent(stand, *fabric):
    """In the place of the one that runs, which is killed."""
    stand.kill(stand.host, "outrigger-agent")
    stand.start_agent(*fabric)
    for number, name in enumerate(MACS, 1):
        stand.wait(f"tap-{name}", lambda t=f"tap-{name}": stand.host.run(f"i2 link show {t}").ok)
        stand.tap_up(number, name)


def test_a_killed_agent_comes_back(stand):
    another_agent(stand)
    stand.wait("both RDMA paths up", stand.rdma_up)
    stand.wait("an answer", lambda: stand.ping(1))


def test_a_broken_connection_is_made_anew(stand):
    with stand.half_cut(1):
        stand.frames_pass()


def test_udp_takes_over(stand):
    with stand.without(*rdma.RDMA_WIRES):
        stand.frames_pass()


def test_a_way_that_is_too_narrow_is_told(stand):
    """Both ports have packets of 4096 bytes; a switch between them drops what is longer than 1600."""
    for guest in (stand.app, stand.host):
        guest.must("tc2 qdisc add dev eth1 ingress && tc2 filter add dev eth1 ingress matchall "
                   "action police rate 10gbit burst 10m mtu 1600 conform-exceed drop")

    def told():
        stand.host.run("timeout 20 i2 netns exec a iperf3 -c 10.20.0.2 -n 256K", PATIENCE)
        return stand.app.run("grep 'session .* RDMA packets of [0-9]* bytes had no answer' /run/outriggerd.log").ok

    try:
        wait_for("what is wrong to be told", told, PATIENCE, stand.check, 0.5)
        stand.frames_pass()
    finally:
        for guest in (stand.app, stand.host):
            guest.must("tc2 qdisc del dev eth1 ingress")
    stand.wait("both up again", stand.rdma_up)


def test_a_port_without_that_GID_is_told_and_the_other_serves(stand):
    another_agent(stand, "--fabric verbs:rxe1/1/200 --fabric verbs:rxe2")
    stand.wait("one RDMA path up", lambda: stand.rdma_up(1))
    expect("has no GID 200: see ibv_devinfo" in stand.log(stand.host, "outrigger-agent"), stand.log(stand.host, "outrigger-agent"))
    stand.frames_pass()
    another_agent(stand)
    stand.wait("both RDMA paths up", stand.rdma_up)


def test_without_locked_memory_one_line_says_so(stand):
    for guest, command in ((stand.host, "outrigger-agent --appliance 10.9.0.1 --state /run/agent"),
                           (stand.app, "outriggerd --fabric 10.9.0.1:4800 --state /run/st2 --no-hugepages"
                                       " --listen-api 10.9.0.1:7444")):
        result = guest.run("ulimit -l 64; exec setpriv2 --bounding-set -ipc_lock --inh-caps -ipc_lock "
                           f"{command} --fabric verbs:rxe1", PATIENCE)
        last = (result.output.strip().splitlines() or [""])[-1]
        expect(not result.ok and "locked memory and may lock 64: set LimitMEMLOCK=infinity" in last, result.output)


def test_without_a_device_one_line_says_so(stand):
    for guest, command in ((stand.host, "outrigger-agent --appliance 10.9.0.1 --state /run/agent"),
                           (stand.app, "outriggerd --fabric 10.9.0.1:4800 --state /run/st2 --no-hugepages"
                                       " --listen-api 10.9.0.1:7444")):
        result = guest.run(f"{command} --fabric verbs:mlx5_0", PATIENCE)
        expect(not result.ok and "there is no RDMA device mlx5_0 here" in result.output, result.output)


def world():
    image = rdma.build_image(GUEST)
    return Stand(f"{os.path.dirname(os.path.abspath(__file__))}/../../build/func/rdma", image)


if __name__ == "__main__":
    case.main(globals(), world(), setup)
