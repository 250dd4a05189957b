# SPDX-License-Identifier: Apache-2.0
"""Two fabrics between hosts and appliance: paths are cut, blackened and given back under traffic, UDP is blocked, the
control channel is killed. What the hosts' stacks run over their TAPs must go on.
"""

import case
import tapworld
from case import expect, wait_for
from flow import flow
from paths import UDP_BLOCKED, carrier, paths, session, status, wait_states


def both_up(world):
    """Whatever was done to the fabric before is undone first."""
    world.net.allow()
    for node in ("app", *world.host_names):
        for path in (0, 1):
            world.net.mend(node, path)
    for host in world.host_names:
        wait_states(world, host, True, True)


def test_both_paths_are_shown(world):
    both_up(world)
    for host in world.host_names:
        shown = paths(world, host)
        expect([path.local for path in shown] == ["10.99.0.1:4793", "10.99.1.1:4793", "control channel"],
               f"{host}: local {[path.local for path in shown]}")
        for number, path in enumerate(shown[:2]):
            expect(path.remote.startswith(world.net_address(host, number) + ":"), f"{host}: remote {path.remote}")
            expect(path.sent and path.received, f"{host}: nothing passed {path.local}")
        wait_for("a round trip for each path", lambda host=host: all(path.rtt > 0 for path in paths(world, host)))


def test_what_a_path_does_is_shown(world):
    both_up(world)
    with flow(world):
        wait_for("the shares of a busy session", lambda: abs(sum(path.share for path in paths(world, "h2")) - 1) < 0.01)
    table = world.ctl("host", "show", "h1")
    for word in ("STATE", "RTT", "LOSS", "SHARE", "10.99.1.1:4793", "control channel"):
        expect(word in table, f"no {word} in what `host show` prints:\n{table}")


def strike(world, harm, mend):
    """Harms the first path of h1 under traffic, which must go on by the other one, and mends it."""
    both_up(world)
    before = session(world, "h1")
    with flow(world) as seen:
        seen.moves("both paths are up")
        harm()
        wait_states(world, "h1", False, True)
        seen.moves("one path is down")
        mend()
        both_up(world)
        seen.moves("both paths are up again")
    seen.went_on(before, session(world, "h1"))


def test_a_cable_is_pulled(world):
    strike(world, lambda: world.net.cut("h1"), lambda: world.net.mend("h1"))


def test_a_path_swallows_everything(world):
    strike(world, lambda: world.net.black_hole("h1"), world.net.allow)


def test_the_appliance_loses_a_port(world):
    strike(world, lambda: world.net.cut("app"), lambda: world.net.mend("app"))


def test_the_other_path_serves_both_ways_too(world):
    both_up(world)
    before = session(world, "h1")
    with flow(world, "h2", "h1") as seen:
        world.net.black_hole("app", 1)
        wait_states(world, "h1", True, False)
        wait_states(world, "h2", True, False)
        seen.moves("the second path is down")
        world.net.allow()
        both_up(world)
    seen.went_on(before, session(world, "h1"))


def test_the_control_channel_is_reset(world):
    both_up(world)
    before = session(world, "h1")
    with flow(world) as seen:
        for _ in range(3):
            mine = wait_for("a control connection", lambda: control_port(world, "h1"))
            world.net.sh("h1", f"ss -K dport = :4793 sport = :{mine}")
            wait_for("another one", lambda mine=mine: control_port(world, "h1") not in (None, mine), check=world.check)
            seen.moves("the control channel is another")
    seen.went_on(before, session(world, "h1"))
    attaches(world)


def control_port(world, host):
    """The local port of a host's control connection."""
    lines = world.net.sh(host, "ss -Htn state established dport = :4793").split("\n")
    found = [line.split()[2].rpartition(":")[2] for line in lines if line]
    return found[0] if found else None


def test_the_path_of_the_control_channel_is_gone_for_40_s(world):
    both_up(world)
    before = session(world, "h1")
    with flow(world, interval=0.1) as seen:
        world.net.black_hole("h1")
        wait_states(world, "h1", False, True)
        world.wait(40)
        expect(session(world, "h1") == before, "the session is another one")
        world.net.allow()
        both_up(world)
    seen.went_on(before, session(world, "h1"))
    expect("CONNECTED" in status(world, "h1")["state"], "the host is shown as gone")
    attaches(world)


def attaches(world):
    """The control channel works: the host gets one more device, and loses it."""
    world.ctl("vnic", "create", "more", "--profile", "p-h1", "--network", "blue", "--frontend", "tap", "--tap-name", "more")
    wait_for("one more TAP", lambda: "more" in world.net.sh("h1", "ip -br link"), check=world.check)
    world.ctl("vnic", "delete", "more")
    wait_for("the TAP to go", lambda: "more" not in world.net.sh("h1", "ip -br link"), check=world.check)


def test_both_paths_are_cut_and_come_back(world):
    both_up(world)
    with flow(world, interval=0.1) as seen:
        for path in (0, 1):
            world.net.cut("h1", path)
        world.wait(4)
        for path in (0, 1):
            world.net.mend("h1", path)
        wait_for("h1 connected", lambda: world.host_connected("h1"), check=world.check)
        both_up(world)
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 3)
        seen.moves("both paths are up again")
    expect(seen.gap > 3.5, f"TCP paused for only {seen.gap:.1f} s")


def test_udp_is_blocked_under_traffic(world):
    both_up(world)
    before = session(world, "h1")
    with flow(world) as seen:
        start = carrier(world, "h1").sent
        world.net.forbid(*UDP_BLOCKED)
        for host in world.host_names:
            wait_states(world, host, False, False)
        wait_for("traffic inside the control channel", lambda: carrier(world, "h1").sent > start + 1000, check=world.check)
        expect(carrier(world, "h1").up, "the carrier is not shown as up")
        world.net.allow()
        both_up(world)
        wait_for("the traffic to leave the control channel", lambda: carried(world, seen) < 100, check=world.check)
    seen.went_on(before, session(world, "h1"))


def carried(world, seen):
    """Packets that the control channel of h1 carries while 8 MiB pass."""
    before = carrier(world, "h1").sent
    seen.moves("UDP is allowed again", 8 << 20)
    return carrier(world, "h1").sent - before


def test_udp_is_blocked_from_the_start(world):
    world.net.forbid(*UDP_BLOCKED)
    world.agents["h1"].stop()
    world.start_agent("h1")
    tapworld.set_up_tap(world, "h1")
    expect(not any(path.up for path in paths(world, "h1") if not path.carrier), "a UDP path is shown as up")
    before = session(world, "h1")
    with flow(world) as seen:
        wait_for("traffic inside the control channel", lambda: carrier(world, "h1").sent > 1000, check=world.check)
        seen.moves("UDP is blocked")
    seen.went_on(before, session(world, "h1"))
    world.net.allow()
    both_up(world)


if __name__ == "__main__":
    case.main(globals(), case.world_of("paths", paths=2), tapworld.setup)
