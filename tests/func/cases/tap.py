# SPDX-License-Identifier: Apache-2.0
"""Hosts without VMs: TAP vNICs, the kernel's stack on both ends, all offloads; the station through the VLAN uplink."""

import json

import checks
import net
import tapworld
from case import expect, wait_for
from proc import PATIENCE

TCP_BUFFERS = 10 << 20  # what both ends of a connection keep at most, as Linux sets tcp_wmem and tcp_rmem

setup = tapworld.setup


def iperf(world, node, target, *options):
    answer = checks.measured(f"iperf3 {node} to {target}", lambda: world.net.sh(
        node, f"iperf3 -J -i 0 -c {target} {' '.join(options)}", check=False, timeout=3 * PATIENCE))
    return answer["end"]["sum_received"]["bytes"]


def test_ping_both_families(world):
    for family in (0, 1):
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][family], 20)
        tapworld.ping(world, "h2", tapworld.ADDRESSES["h1"][family], 20)


def test_large_pings_are_fragmented_and_come_back(world):
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 3, 9000)


def test_tcp_both_ways_with_super_frames(world):
    checks.station_serves_iperf(world, "h2")
    before = world.counters("vnic", "tap-h1")["tx_super"]
    for options in ((), ("-R",)):
        arrived = iperf(world, "h1", tapworld.ADDRESSES["h2"][0], "-n", f"{world.BULK_MIB}M", *options)
        # iperf3's last count misses what was under way when the sender had done its part.
        expect(arrived > max(0, (world.BULK_MIB << 20) - TCP_BUFFERS), f"{arrived} bytes arrived of {world.BULK_MIB} MiB")
    expect(world.counters("vnic", "tap-h1")["tx_super"] > before, "no frame above the MTU crossed the tunnel")


def test_station_behind_the_vlan_trunk(world):
    for family, station in enumerate((net.STATION4, net.STATION6)):
        tapworld.ping(world, "h1", station, 5)
        tapworld.ping(world, "lan", tapworld.ADDRESSES["h2"][family], 5)
    checks.station_serves_iperf(world)
    before = world.all_counters()
    for options in ((), ("-R",)):
        iperf(world, "h1", net.STATION4, "-n", f"{max(1, world.BULK_MIB // 5)}M", *options)
    after = world.all_counters()
    for name in ("worker/0/gro_merged", "worker/0/gro_super"):
        expect(after[name] > before[name], f"what the station sent was not coalesced: {name}")


def test_source_checks_drop_and_count(world):
    world.net.sh("h1", "ip addr add 10.20.0.99/32 dev tap0")
    before = world.counters("vnic", "tap-h1")
    output = world.net.sh("h1", f"ping -c 2 -W 1 -I 10.20.0.99 {net.STATION4}", check=False)
    world.net.sh("h1", "ip addr del 10.20.0.99/32 dev tap0")
    expect("100% packet loss" in output, f"a foreign address got through: {output}")
    wait_for("the drop to be counted", lambda: sum(
        value - before[name] for name, value in world.counters("vnic", "tap-h1").items()
        if name in ("drop_spoof_ipv4", "drop_spoof_arp")) > 0)
    tapworld.ping(world, "h1", net.STATION4)


def test_spoof_check_can_be_taken_off_in_use(world):
    world.ctl("vnic", "set", "tap-h1", "--spoof-check", "off")
    world.net.sh("h1", "ip addr add 10.20.0.99/32 dev tap0")
    try:
        wait_for("answers to the address", lambda: "100% packet loss" not in
                 world.net.sh("h1", f"ping -c 2 -W 2 -I 10.20.0.99 {net.STATION4}", check=False))
    finally:
        world.net.sh("h1", "ip addr del 10.20.0.99/32 dev tap0")
        world.ctl("vnic", "set", "tap-h1", "--spoof-check", "on")


def test_vnic_down_and_up(world):
    world.ctl("vnic", "set", "tap-h2", "--state", "down")
    wait_for("a vNIC that is down not to answer", lambda: "100% packet loss" in
             world.net.sh("h1", f"ping -c 2 -W 1 {tapworld.ADDRESSES['h2'][0]}", check=False))
    world.ctl("vnic", "set", "tap-h2", "--state", "up")
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0])


def test_moved_profile_is_reachable_at_its_new_host(world):
    world.ctl("profile", "create", "mover", "--host", "h1")
    world.ctl("vnic", "create", "tap-mover", "--profile", "mover", "--network", "blue", "--mac", "02:00:5e:00:01:09",
              "--ip", "10.20.0.29", "--frontend", "tap", "--tap-name", "tap9")
    for host, other in (("h1", "h2"), ("h2", "h1")):
        world.ctl("profile", "move", "mover", "--host", host)
        wait_for(f"tap9 on {host}", lambda host=host: "tap9" in world.net.sh(host, "ip -br link"), check=world.check)
        wait_for(f"no tap9 on {other}", lambda other=other: "tap9" not in world.net.sh(other, "ip -br link"))
        world.net.sh(host, "ip link set tap9 up")
        found = world.net.sh(host, "cat /sys/class/net/tap9/address").strip()
        expect(found == "02:00:5e:00:01:09", f"tap9 on {host} has MAC {found}")
        world.net.sh(host, "ip addr replace 10.20.0.29/32 dev tap9")
        # tap0 has the route to the LAN: what has tap9's address must leave by tap9.
        world.net.sh(host, "ip rule add from 10.20.0.29 lookup 29")
        world.net.sh(host, "ip route replace 10.20.0.0/24 dev tap9 table 29")
        tapworld.ping(world, "lan", "10.20.0.29")
    world.ctl("vnic", "delete", "tap-mover")
    wait_for("no tap9", lambda: "tap9" not in world.net.sh("h2", "ip -br link"))
    world.ctl("profile", "delete", "mover")


def test_restart_of_each_daemon_keeps_the_connection(world):
    for daemon, restart in ((world.appliance, world.start_appliance), (world.agents["h1"],
                                                                       lambda: world.start_agent("h1"))):
        daemon.kill()
        restart()
        world.wait_stable()
        tapworld.set_up_tap(world, "h1")
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 5)


def test_clean_stop_and_start_replays_the_store(world):
    nouns = ("host", "profile", "vnic", "network", "uplink", "port")

    def configuration():
        found = {}
        for noun in nouns:
            answer = json.loads(world.ctl(noun, "list", "-o", "json"))
            for items in answer.values():
                if isinstance(items, list):
                    found[noun] = [{key: value for key, value in item.items() if key != "status"} for item in items]
        return found

    before = configuration()
    expect(len(before) == len(nouns), f"lists: {sorted(before)}")
    world.appliance.stop()
    world.start_appliance()
    world.wait_stable()
    after = configuration()
    expect(before == after, f"the configuration changed over a restart: {before} / {after}")
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 5)
