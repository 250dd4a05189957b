# SPDX-License-Identifier: Apache-2.0
"""A fabric of MTU 9000: what each path carries is found, a switch that passes only 1500 is found out, from the start and
under traffic, and nothing is ever sent in fragments.
"""

import subprocess

import case
import tapworld
from case import expect, wait_for
from flow import flow
from paths import paths, session, wait_states

WIDE, NARROW = 8192, 1344


def chunks(world, host):
    return [path.chunk for path in paths(world, host)]


def wait_chunks(world, host, *wanted):
    wait_for(f"chunks of {wanted} bytes to {host}", lambda: chunks(world, host) == list(wanted), check=world.check)


def fragments(world):
    """Created or asked for, by any node."""
    found = 0
    for node in ("app", *world.host_names):
        lines = [line.split() for line in world.net.sh(node, "cat /proc/net/snmp").splitlines() if line.startswith("Ip:")]
        counters = dict(zip(lines[0][1:], lines[1][1:]))
        found += sum(int(counters[name]) for name in ("FragCreates", "FragFails", "ReasmReqds"))
    return found


def setup(world):
    for node in ("app", *world.host_names):
        for path in range(world.paths):
            world.net.no_trains(node, path)
    tapworld.setup(world)


def carried(world):
    """Bytes per datagram that the hosts send while a stream runs."""
    def sums():
        counters = world.all_counters()
        return [sum(counters.get(f"fabric/{path}/{name}", 0) for path in range(world.paths))
                for name in ("rx_bytes", "rx_packets")]
    before = sums()
    with flow(world, slower=50) as seen:
        seen.moves("the paths are wide", 4)
    now = sums()
    return (now[0] - before[0]) / (now[1] - before[1])


def test_jumbo_frames_are_found_and_used(world):
    for host in world.host_names:
        wait_states(world, host, *[True] * world.paths)
        wait_chunks(world, host, *[WIDE] * world.paths)
        wait_for("the agent to find the same",
                 lambda host=host: world.counters("host", host).get("host_mtu_raised", 0) >= world.paths, check=world.check)
    size = carried(world)
    print(f"  {size:.0f} bytes per datagram", flush=True)
    expect(size > 1400, f"only {size:.0f} bytes per datagram")
    expect(fragments(world) == 0, f"{fragments(world)} fragments")


def restart(world, host):
    world.agents[host].stop()
    world.start_agent(host)
    tapworld.set_up_tap(world, host)
    wait_states(world, host, *[True] * world.paths)


def test_a_host_takes_less(world):
    """--chunk limits what is tried; what cannot be is refused."""
    for program, bad in (("outriggerd", "8193"), ("outriggerd", "255"), ("outrigger-agent", "8k")):
        done = subprocess.run([world.binary(program), "--chunk", bad], capture_output=True, text=True)
        expect(done.returncode == 2 and "256 to 8192" in done.stderr, f"{program} --chunk {bad}: {done}")
    agent = world.agents["h2"]
    agent.command += ["--chunk", "2000"]
    restart(world, "h2")
    wait_chunks(world, "h2", *[2000] * world.paths)
    wait_chunks(world, "h1", *[WIDE] * world.paths)
    tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 20)
    del agent.command[-2:]
    restart(world, "h2")
    wait_chunks(world, "h2", *[WIDE] * world.paths)


def test_the_mtu_of_a_hosts_own_interfaces_falls(world):
    """The kernel refuses what is larger, one path after the other, under traffic."""
    before = session(world, "h2")
    wait_chunks(world, "h2", *[WIDE] * world.paths)
    with flow(world, "h2", "h1") as seen:
        seen.moves("the paths are wide")
        for path in range(world.paths):
            world.net.sh("h2", f"ip link set fab{path} mtu 1500")
            seen.moves(f"path {path} is narrow", 4)
    seen.went_on(before, session(world, "h2"))
    wait_for("the agent to find them narrow", lambda: world.counters("host", "h2").get("host_mtu_lowered", 0), check=world.check)
    expect(fragments(world) == 0, f"{fragments(world)} fragments")
    for path in range(world.paths):
        world.net.sh("h2", f"ip link set fab{path} mtu 9000")
    restart(world, "h2")
    wait_chunks(world, "h2", *[WIDE] * world.paths)


def test_a_path_turns_narrow_under_traffic(world):
    """The paths one after the other: what was cut for the wide ones arrives all the same."""
    before = session(world, "h1")
    for host in world.host_names:
        wait_chunks(world, host, *[WIDE] * world.paths)
    lowered = world.counters("host", "h1").get("mtu_lowered", 0)
    with flow(world, "h2", "h1") as seen:
        seen.moves("the paths are wide")
        for path in range(world.paths):
            world.net.narrow("app", path)
            seen.moves(f"path {path} is narrow", 4)
        wait_for("a path to be found narrow", lambda: world.counters("host", "h1")["mtu_lowered"] > lowered, check=world.check)
        wait_for("what it carries to be found", lambda: NARROW in chunks(world, "h1"), check=world.check)
    seen.went_on(before, session(world, "h1"))
    print(f"  {world.counters('host', 'h1')['tx_sliced']} packets went to h1 in slices", flush=True)
    expect(fragments(world) == 0, f"{fragments(world)} fragments")


def test_a_switch_that_passes_1500_only(world):
    """The fabric interfaces say 9000, the switch in the middle does not: hosts start so."""
    for path in range(world.paths):
        world.net.narrow("app", path)
    for host in world.host_names:
        restart(world, host)
    with flow(world) as seen:
        seen.moves("the switch is narrow", 4)
    for host in world.host_names:
        wait_chunks(world, host, *[NARROW] * world.paths)
    expect(fragments(world) == 0, f"{fragments(world)} fragments")


if __name__ == "__main__":
    case.main(globals(), case.world_of("jumbo", paths=2, mtu=9000), setup)
