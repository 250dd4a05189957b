# SPDX-License-Identifier: Apache-2.0
"""The RDMA link beside the UDP link, and beside perftest, in the same emulated guests (tests/world/rdma.py).

Two TAP vNICs of one host send TCP to each other through the appliance, so every frame crosses the fabric twice. The
agent runs first with UDP alone, then with RDMA, in turns. Only ratios count: the guests are emulated, and rdma_rxe is
RDMA in software. The floor is what the guests' kernels do with the same TCP and ping on
wire 0, without us: half the rate, twice the round trip, as theirs crosses once.

Perftest has no TCP, so beside it stand VMs that have none: vhost-user front-ends (bench_vms) that send super-frames flat out,
or one frame that is sent back. Every byte of theirs crosses twice, READ from one VM and WRITTEN to the other, so the floor is
perftest that READs and WRITEs at once. A frame there and back is four messages, of which each wakes who sleeps: the floor is
perftest's SEND between processes that sleep. What is copied of payload is counted of VMs that send super-frames alone.
Options, by environment: ROUNDS, SECONDS (of each run).
"""

import contextlib
import json
import os
import re
import sys
import time

from bench import Figure, Report, progress, take_turns

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../func")
sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../world")
import test_rdma as stand_of
from proc import WorldError, wait_for

ROUNDS = int(os.environ.get("ROUNDS", "2"))
SECONDS = int(os.environ.get("SECONDS", "4"))
PATIENCE = stand_of.PATIENCE
SMALL = 500  # pings
FRAME = 61440 + 54  # a super-frame of VMs that send flat out: 60 KiB of TCP
PIECE = 61440  # perftest's beside it
LITTLE = 64
NEIGHBOURS = {f"m{i}": f"02:0b:00:00:00:{i:02x}" for i in range(2)}  # as bench_vms has them
VMS = {"v": "02:00:5e:00:03:01", "w": "02:00:5e:00:03:02"}
HEADERS = 66  # of each of their frames, virtio-net's included
RDMA_OPTIONS = "--fabric verbs:rxe1 --fabric verbs:rxe2"


def ticks(stand):
    """User and system time of the agent, in ticks of 10 ms."""
    fields = stand.host.must("cat /proc/$(pidof outrigger-agent)/stat").rpartition(")")[2].split()
    return int(fields[11]), int(fields[12])


def cpu_ns(stand):
    """All CPU time of the agent, by the scheduler's count."""
    return sum(int(line.split()[0]) for line in stand.host.must("cat /proc/$(pidof outrigger-agent)/task/*/schedstat").splitlines())


def passed(stand):
    """Frames that the agent sent and received."""
    return sum(stand.vnic(name)[f"tunnel_{way}_frames"] for name in stand_of.MACS for way in ("rx", "tx"))


def counters(stand):
    """The session's counters; the agent's begin with host_ and are about a second old."""
    return {name: int(value) for name, value in stand.show("--counters")["counters"].items()}


def restart_agent(stand, options, ready):
    stand.host.must("killall outrigger-agent; while pidof outrigger-agent; do sleep 0.1; done", PATIENCE)
    stand.start_agent(options)
    wait_for("the session's paths", ready, PATIENCE, stand.check, 0.5)
    for number, name in enumerate(stand_of.MACS, 1):
        wait_for(f"tap-{name}", lambda t=f"tap-{name}": stand.host.run(f"i2 link show {t}").ok, PATIENCE, stand.check,
                 0.2)
        stand.tap_up(number, name)
    wait_for("an answer", lambda: stand.ping(1), PATIENCE, stand.check, 0.2)


def round_trip(stand, ping, address):
    """In ms."""
    output = stand.host.must(f"{ping} -c 20 -i 0.1 -W 5 {address}", PATIENCE)
    return float(re.search(r"= [\d.]+/([\d.]+)/", output).group(1))


def over_the_wire(stand):
    """What the kernels of both guests do without us, on wire 0: each byte crosses once, a ping once each way."""
    result = json.loads(stand.host.must(f"iperf3 -J -c 10.9.0.1 -t {SECONDS}", 10 * PATIENCE))
    return {"bps": result["end"]["sum_received"]["bits_per_second"], "rtt": round_trip(stand, "ping2", "10.9.0.1")}


def traffic(stand):
    """One run of TCP; what it moved, and what it cost the agent."""
    before = ticks(stand)
    result = json.loads(stand.host.must(f"i2 netns exec a iperf3 -J -c 10.20.0.2 -t {SECONDS}", 10 * PATIENCE))
    after = ticks(stand)
    received = result["end"]["sum_received"]
    user, system = ((b - a) / 100 for a, b in zip(before, after))
    rtt = round_trip(stand, "i2 netns exec a ping2", "10.20.0.2")
    began, frames = cpu_ns(stand), passed(stand)
    stand.host.must(f"i2 netns exec a ping2 -f -q -c {SMALL} -W 5 10.20.0.2", 2 * PATIENCE)
    small = (cpu_ns(stand) - began) / 1e3 / max(1, passed(stand) - frames)
    return {"bps": received["bits_per_second"], "user": user / received["bytes"] * 1e9, "small": small,
            "all": (user + system) / received["bytes"] * 1e9, "bytes": received["bytes"], "rtt": rtt}


def over_udp(stand):
    restart_agent(stand, "", lambda: stand.paths().get("10.9.0.1:4793"))
    return traffic(stand)


def over_rdma(stand):
    restart_agent(stand, RDMA_OPTIONS, stand.rdma_up)
    wait_for("the agent's counters", lambda: "host_rdma_tx_doorbells" in counters(stand), PATIENCE, stand.check, 0.5)
    before = counters(stand)
    frames = stand.vnic("a"), stand.vnic("b")
    measured = traffic(stand)
    # Counters come once a second with the statistics.
    wait_for("fresh counters", lambda: counters(stand)["host_rdma_tx_doorbells"] > before["host_rdma_tx_doorbells"],
             PATIENCE, stand.check, 0.5)
    after = counters(stand)
    measured["counted"] = {name: after[name] - before.get(name, 0) for name in after}
    measured["frames"] = by_key(frames, (stand.vnic("a"), stand.vnic("b")))
    return measured


def by_key(before, after):
    """How a's frames reached b. The agent was just started: its counters began at 0 with it."""
    a, b = ({name: value if name.startswith("host_") else value - was.get(name, 0) for name, value in now.items()}
            for was, now in zip(before, after))
    sent, received = max(1, a["tunnel_rx_bytes"]), max(1, b["tunnel_tx_bytes"])
    return {"fetched": a["tunnel_rx_fetched_bytes"] / sent, "placed": b["tunnel_tx_placed_bytes"] / received,
            "READ frames": a["tunnel_rx_fetched"], "WRITE frames": b["tunnel_tx_placed"],
            "posted": b["tunnel_tx_posted"] / max(1, b["tunnel_tx_placed"]),
            "agent, transmit": a["host_tx_copied_bytes"] / max(1, a["host_tx_bytes"]),
            "appliance": (a["tunnel_rx_copied_bytes"] + b["tunnel_tx_copied_bytes"]) / sent,
            "agent, receive": b["host_rx_copied_bytes"] / max(1, b["host_rx_bytes"]),
            "frames": a["tunnel_rx_frames"] + b["tunnel_rx_frames"]}


def vnics(stand, network, macs):
    stand.ctl("network", "create", network)
    for name, mac in macs.items():
        stand.ctl("vnic", "create", name, "--profile", "p", "--network", network, "--mac", mac)


def super_frames(stand):
    """Two VMs whose frames are all super-frames (tests/func/nic_guest): what was counted of them meanwhile, both ways. Their
    network is their own: what others say to all would be copied to them."""
    vnics(stand, "green", VMS)
    for name, other in (("v", "w"), ("w", "v")):
        stand.host.must(f"nic_guest /run/og/{name}.sock {VMS[name]} {VMS[other]} /run/{name}.status > /run/nic_{name}.log "
                        "2>&1 &")

    def sample():
        """Of a moment at which nothing is under way."""
        stand.host.must("killall -STOP nic_guest; sleep 3")
        both = [stand.vnic(name) for name in VMS]
        stand.host.must("killall -CONT nic_guest")
        return {key: sum(one.get(key, 0) for one in both) for one in both for key in one}

    def by_key():
        return all(stand.vnic(name).get("host_rx_posted", 0) > 20 for name in VMS)

    wait_for("frames in the buffers that VMs posted", by_key, PATIENCE, stand.check, 0.5)
    before, messages = sample(), counters(stand)
    time.sleep(SECONDS)
    after, now = sample(), counters(stand)
    stand.host.must("killall nic_guest")
    found = {key: after[key] - before.get(key, 0) for key in after}
    found["messages"] = sum(now[f"host_rdma_tx_{how}"] - messages[f"host_rdma_tx_{how}"] for how in ("inline", "copied"))
    return found


def super_rows(report, found):
    frames, total = max(1, found["tunnel_rx_frames"]), max(1, found["tunnel_rx_bytes"])
    for where, names in (("agent, transmit", ("host_tx_copied_bytes",)),
                         ("appliance", ("tunnel_rx_copied_bytes", "tunnel_tx_copied_bytes")),
                         ("agent, receive", ("host_rx_copied_bytes",))):
        # The headers of a frame that is fetched go in its message; the appliance puts them before it.
        headers = 0 if where == "agent, receive" else HEADERS * found["host_tx_lent"]
        payload = max(0, sum(found[name] for name in names) - headers)
        report.add(f"super-frames of VMs: payload bytes copied per byte, {where}", payload / total, "", goal="<= 0",
                   met=payload == 0)
    report.add("super-frames of VMs: READ by the appliance", found["tunnel_rx_fetched"] / frames, "1/frame")
    report.add("super-frames of VMs: WRITTEN into posted buffers", found["host_rx_posted"] / frames, "1/frame")
    report.add("super-frames of VMs: messages of the agent", found["messages"] / frames, "1/frame")


PORT = 18515  # perftest's own
ASLEEP = 20  # s for what takes 2
MEBI = 2**20 / 1e6  # its MB/sec are of 2**20 bytes


def perftest(stand, program, pattern, *words):
    """A figure of one of perftest's programs on wire 1."""
    return perftests(stand, [(program, words)], pattern)[0]


def figures(text):
    """Perftest's last line of them."""
    line = [line for line in text.splitlines() if re.match(r"\s*\d+\s+\d+\s", line)][-1]
    return [float(word) for word in line.split()]


def perftests(stand, programs, column, client=None):
    """The figure in that column of each of perftest's programs, [(name, words)], that run at once on wire 1. client: whose
    programs READ and WRITE, the host's unless said otherwise."""
    client = client or stand.host
    server, address = (stand.app, "10.9.1.1") if client is stand.host else (stand.host, "10.9.1.2")
    commands = [f"{name} -d rxe1 -x 1 -F -p {PORT + i} {' '.join(words)}" for i, (name, words) in enumerate(programs)]
    servers = [server.start(command) for command in commands]
    for i, (name, _) in enumerate(programs):
        wait_for(f"{name} listens", lambda: server.run(f"netstat -ltn | grep -q ':{PORT + i} '").ok, PATIENCE, stand.check,
                 0.2)
    clients = [client.start(f"{command} {address}") for command in commands[:-1]]
    texts = [client.must(f"{commands[-1]} {address}", PATIENCE)]
    texts = [one.wait(PATIENCE).output for one in clients] + texts
    for one in servers:
        one.wait(PATIENCE)
    return [figures(text)[column] for text in texts]


def asleep(stand, *words):
    """us of a SEND between processes that sleep. None: one of perftest's missed an event and slept on, as happens."""
    command = f"timeout {ASLEEP} ib_send_lat -d rxe1 -x 1 -F -e -p {PORT} {' '.join(words)}"
    server = stand.app.start(command)
    with contextlib.suppress(WorldError):
        wait_for("ib_send_lat listens", lambda: stand.app.run(f"netstat -ltn | grep -q ':{PORT} '").ok, ASLEEP, stand.check, 0.2)
    result = stand.host.run(f"{command} 10.9.1.1", PATIENCE)
    server.wait(PATIENCE)
    return figures(result.output)[4] if result.ok else None


def bandwidth(stand, program, *words):
    """MB/s."""
    return perftest(stand, program, 3, *words) * MEBI


def bench_vms(stand, *words):
    """What two VMs of the host say, that are each other's neighbours."""
    out = stand.host.must(f"bench_vms nics=/run/og/m%u.sock vms=2 warm=1 seconds={SECONDS - 1} {' '.join(words)}", PATIENCE)
    return json.loads(out.strip().splitlines()[-1])


def flood(stand):
    """MB/s through the fabric, both crossings."""
    said = bench_vms(stand, f"frame={FRAME}", "flood=1")
    return 2 * said["bytes"] / said["seconds"] / 1e6


def both_ways(stand):
    """MB/s of READs and WRITEs at once, by the appliance's guest, as ours are."""
    words = ["-s", str(PIECE), "-D", str(SECONDS + 1), "-f", "1"]
    return sum(perftests(stand, [("ib_read_bw", words), ("ib_write_bw", words)], 3, stand.app)) * MEBI


def like_with_like(report, stand):
    """VMs without TCP beside perftest, in turns."""
    vnics(stand, "red", NEIGHBOURS)
    size, little = ["-s", str(PIECE)], ["-n", "200", "-s", str(LITTLE)]
    runs = take_turns({
        "flood": lambda: flood(stand),
        "ib_send_bw": lambda: bandwidth(stand, "ib_send_bw", "-n", "100", *size),
        "ib_read_bw": lambda: bandwidth(stand, "ib_read_bw", "-n", "100", *size),
        "both ways": lambda: both_ways(stand),
        "round trip": lambda: bench_vms(stand, f"frame={LITTLE}", "ping=1")["p50_us"],
        "ib_write_lat": lambda: 4 * perftest(stand, "ib_write_lat", 4, *little),
        "asleep": lambda: asleep(stand, *little),
    }, ROUNDS, "VMs without TCP")
    sleeping = [4 * value for value in runs.pop("asleep") if value]
    figure = {name: Figure(values) for name, values in runs.items()}
    for peer, case in (("ib_send_bw", "super-frames of VMs flat out: bytes through the fabric, both crossings"),
                       ("ib_read_bw", "the same super-frames")):
        report.add(case, figure["flood"], "MB/s", peer=figure[peer], peer_name=peer, floor=figure["both ways"], goal="ratio >= 0.8",
                   met=figure["flood"].median >= 0.8 * figure[peer].median)
    report.add(f"a frame of {LITTLE} B to another VM and back, p50", figure["round trip"], "us", peer=figure["ib_write_lat"],
               peer_name="4 x ib_write_lat", floor=Figure(sleeping) if sleeping else None, goal="ratio <= 1.5",
               met=figure["round trip"].median <= 1.5 * figure["ib_write_lat"].median)


def main():
    report = Report("rdma", "Emulated guests, RDMA in software: ratios of one run, nothing else. Every frame crosses "
                            "the fabric twice.")
    progress("two guests boot")
    with stand_of.world() as stand:
        stand_of.setup(stand)
        wait_for("both RDMA paths up", stand.rdma_up, PATIENCE, stand.check, 0.5)
        stand_of.test_frames_pass(stand)
        stand.host.must("i2 netns exec b iperf3 -s -D")
        stand.app.must("iperf3 -s -D")
        runs = take_turns({"udp": lambda: over_udp(stand), "rdma": lambda: over_rdma(stand),
                           "wire": lambda: over_the_wire(stand)}, ROUNDS)
        figure = {(link, key): Figure([run[key] for run in runs[link]])
                  for link in ("udp", "rdma") for key in ("bps", "user", "all", "rtt", "small")}
        report.add("TCP through the appliance", Figure([v / 1e6 for v in figure["rdma", "bps"].values]), "Mb/s",
                   peer=Figure([v / 1e6 for v in figure["udp", "bps"].values]), peer_name="UDP link",
                   floor=Figure([run["bps"] / 2e6 for run in runs["wire"]]))  # it crosses twice
        user = figure["rdma", "user"], figure["udp", "user"]
        report.add("agent CPU, user", user[0], "s/GB", peer=user[1], peer_name="UDP link", goal="ratio <= 0.25",
                   met=bool(user[1].median) and user[0].median <= 0.25 * user[1].median)
        report.add("agent CPU, all", figure["rdma", "all"], "s/GB", peer=figure["udp", "all"], peer_name="UDP link")
        report.add("agent CPU, all, small frames", figure["rdma", "small"], "s/Mframe", peer=figure["udp", "small"],
                   peer_name="UDP link")
        counted = runs["rdma"][-1]["counted"]
        copied, inlined = counted["host_rdma_tx_copied"], counted["host_rdma_tx_inline"]
        frames = runs["rdma"][-1]["frames"]
        for place in ("agent, transmit", "appliance", "agent, receive"):
            report.add(f"bytes copied per byte, small frames and all: {place}", frames[place], "")
        report.add("bytes fetched by READ per byte", frames["fetched"], "")
        report.add("bytes placed by WRITE per byte", frames["placed"], "")
        report.add("of those frames, in the guest's own buffers", frames["posted"], "")
        report.add("messages of the agent per frame", (copied + inlined) / max(1, frames["frames"]), "")
        report.add("doorbells of the agent per frame",
                   counted["host_rdma_tx_doorbells"] / max(1, frames["frames"]), "")
        report.add("messages copied by the agent into a slot", copied, "")
        report.add("messages sent inline", inlined, "")
        report.add("doorbells per message sent", counted["host_rdma_tx_doorbells"] / max(1, copied + inlined), "")
        report.add("wake-ups per message sent", counted["host_rdma_wakeups"] / max(1, copied + inlined), "")
        super_rows(report, super_frames(stand))
        like_with_like(report, stand)
        latency = perftest(stand, "ib_write_lat", 4, "-n", "200", "-s", "64")
        sending = bandwidth(stand, "ib_send_bw", "-n", "500", "-s", "8192")
        reading = bandwidth(stand, "ib_read_bw", "-n", "300", "-s", "65536")
        report.add("round trip of a ping, fabric twice each way", Figure([v * 1e3 for v in figure["rdma", "rtt"].values]),
                   "us", peer=latency * 4, peer_name="4 x ib_write_lat", goal="ratio <= 1.5",
                   floor=Figure([run["rtt"] * 2e3 for run in runs["wire"]]),
                   met=figure["rdma", "rtt"].median * 1e3 <= 1.5 * latency * 4)
        report.add("bytes through the fabric, both crossings", Figure([v / 4e6 for v in figure["rdma", "bps"].values]),
                   "MB/s", peer=sending, peer_name="ib_send_bw", goal="ratio >= 0.8",
                   met=figure["rdma", "bps"].median / 4e6 >= 0.8 * sending)
        report.add("the same", Figure([v / 4e6 for v in figure["rdma", "bps"].values]), "MB/s", peer=reading,
                   peer_name="ib_read_bw")
    return report
