# SPDX-License-Identifier: Apache-2.0
"""Two fabrics between hosts and appliance: paths are cut, blackened and given back under traffic, the link is blocked, the
control channel is killed. What the hosts' stacks run over their TAPs must go on.
"""

import tapworld
from case import expect, wait_for
from flow import flow
from paths import backup, paths, session, shared, states, wait_states

OPTIONS = {"paths": 2}
setup = tapworld.setup


def both_up(world):
    """Whatever was done to the fabric before is undone first."""
    world.net.allow()
    for node in ("app", *world.host_names):
        world.net.mend_all(node)
    for host in world.host_names:
        wait_states(world, host, True, True)


def test_both_paths_are_shown(world):
    both_up(world)
    for host in world.host_names:
        shown, ends = paths(world, host), world.path_ends(host)
        expect([path.local for path in shown] == [local for local, _ in ends],
               f"{host}: local {[path.local for path in shown]}")
        for path, (_, remote) in zip(shown, ends):
            expect(path.remote.startswith(remote), f"{host}: remote {path.remote}")
            expect(path.sent and path.received, f"{host}: nothing passed {path.local}")
        expect(backup(world, host), f"{host}: no backup")
        wait_for("a round trip for each path", lambda host=host: all(path.rtt > 0 for path in paths(world, host)))


def test_what_a_path_does_is_shown(world):
    both_up(world)
    with flow(world):
        wait_for("the shares of a busy session", lambda: abs(shared(world, "h2") - 1) < 0.01, check=world.check)
    table = world.ctl("host", "show", "h1")
    for word in ("STATE", "RTT", "LOSS", "SHARE", world.path_ends("h1")[1][0], "control channel"):
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
    left = [path != world.CONTROL_PATH for path in (0, 1)]
    with flow(world, slower=10) as seen:
        world.net.block_control("h1")
        wait_states(world, "h1", *left)
        world.wait(40)
        expect(session(world, "h1") == before, "the session is another one")
        expect(states(world, "h1") == left, "a path that was left is down")
        world.net.allow()
        both_up(world)
    seen.went_on(before, session(world, "h1"))
    wait_for("h1 connected", lambda: world.host_connected("h1"), check=world.check)
    attaches(world)


def attaches(world):
    """The control channel works: the host gets one more device, and loses it."""
    world.ctl("vnic", "create", "more", "--profile", "p-h1", "--network", "blue", "--frontend", "tap", "--tap-name", "more")
    wait_for("one more TAP", lambda: "more" in world.net.sh("h1", "ip -br link"), check=world.check)
    world.ctl("vnic", "delete", "more")
    wait_for("the TAP to go", lambda: "more" not in world.net.sh("h1", "ip -br link"), check=world.check)


def test_all_cables_are_cut_and_come_back(world):
    both_up(world)
    with flow(world, slower=10) as seen:
        world.net.cut_all("h1")
        world.wait(4)
        world.net.mend_all("h1")
        wait_for("h1 connected", lambda: world.host_connected("h1"), check=world.check)
        both_up(world)
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 3)
        seen.moves("all paths are up again")
    expect(seen.gap > 3.5, f"TCP paused for only {seen.gap:.1f} s")


def test_the_link_is_blocked_under_traffic(world):
    """Its backup takes over, and gives way to it again."""
    both_up(world)
    before = session(world, "h1")
    with flow(world) as seen:
        start = backup(world, "h1").sent
        world.block_link()
        for host in world.host_names:
            wait_states(world, host, False, False)
        wait_for("traffic on the backup", lambda: backup(world, "h1").sent > start + world.BACKUP_PACKETS, check=world.check)
        expect(backup(world, "h1").up, "the backup is not shown as up")
        world.net.allow()
        both_up(world)
        wait_for("the traffic to leave the backup", lambda: backed_up(world, seen) < world.BACKUP_PACKETS // 10,
                 check=world.check)
    seen.went_on(before, session(world, "h1"))


def backed_up(world, seen):
    """Packets that the backup of h1 carries while a part of the stream passes."""
    before = backup(world, "h1").sent
    seen.moves("the link is there again", 4)
    return backup(world, "h1").sent - before


def test_the_link_is_blocked_from_the_start(world):
    world.block_link()
    world.agents["h1"].stop()
    world.start_agent("h1")
    tapworld.set_up_tap(world, "h1")
    expect(not any(states(world, "h1")), "a path of the link is shown as up")
    before = session(world, "h1")
    with flow(world) as seen:
        wait_for("traffic on the backup", lambda: backup(world, "h1").sent > world.BACKUP_PACKETS, check=world.check)
        seen.moves("the link is blocked")
    seen.went_on(before, session(world, "h1"))
    world.net.allow()
    both_up(world)
