# SPDX-License-Identifier: Apache-2.0
"""What an administrator gets wrong: every program answers with one line that says what to do, and ends."""

import grp
import os
import subprocess

import case
import world as w
from case import expect, wait_for
from proc import PATIENCE, Daemon

FREE_HUGEPAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"


def says(world, node, command, words):
    """Runs a command that must fail soon with one line that has all of `words`."""
    done = subprocess.run(world.net.inside(node) + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=PATIENCE)
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    expect(done.returncode not in (0, -6, -11), f"status {done.returncode}: {done.stdout}")
    last = lines[-1].lower() if lines else ""
    for word in words:
        expect(word.lower() in last, f"no '{word}' in: {lines[-3:]}")
    expect(len(lines) == 1, f"more than one line: {lines}")


def fresh(world, name):
    """The appliance's command line with directories of its own."""
    command = world.appliance_command() + ["--log-level", "error"]
    for option in ("--state", "--run-dir"):
        command[command.index(option) + 1] = f"{world.directory}/{name}{option}"
    return command


def replaced(command, option, value):
    command = list(command)
    command[command.index(option) + 1] = value
    return command


def test_unknown_option(world):
    for program in ("outriggerd", "outrigger-agent"):
        done = subprocess.run([world.binary(program), "--frobnicate"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE)
        expect(done.returncode == 2 and "frobnicate" in done.stdout, f"{program}: {done.returncode}: {done.stdout}")


def test_values_out_of_range(world):
    for program, options, word in (("outrigger-agent", ["--appliance", "192.0.2.1", "--poll-us", "50"], "--cpu"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--poll-us", "1001"], "1001"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--cpu", "-1"], "-1"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--io-threads", "17"], "17"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--io-threads", "2", "--cpu", "0"], "each"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--chunk", "4294968640"], "4294968640"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--ready-fd", "three"], "three"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1:70000"], "70000"),
                                   ("outrigger-agent", ["--appliance", ""], "''"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--token", "t"], "enroll"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "enroll"], "first"),
                                   ("outrigger-agent", ["enroll", "--appliance", "192.0.2.1"], "--token"),
                                   ("outrigger-agent", ["enroll", "--token", "t"], "--appliance"),
                                   ("outrigger-agent", ["--appliance", "192.0.2.1", "--fabric", "verbs:x,mtu=1500"], "1024"),
                                   ("outriggerd", ["--fabric", "127.0.0.1", "--fabric", "127.0.0.1:4793"], "twice"),
                                   ("outriggerd", ["--fabric", "127.0.0.1", "--gro-us", "51"], "51")):
        done = subprocess.run([world.binary(program), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE)
        expect(done.returncode == 2 and word in done.stdout, f"{program} {options}: {done.returncode}: {done.stdout}")


def test_group_that_does_not_exist(world):
    says(world, "h1", world.agent_command("h1") + ["--group", "no-such-group"], ["no-such-group"])


def test_group_gets_the_run_directory(world):
    """QEMU, which is not root, connects to sockets in it and makes its own there."""
    command = world.agent_command("h1") + ["--group", "nogroup"]
    place = command[command.index("--run-dir") + 1] = f"{world.record}/grouped"
    agent = Daemon("agent with a group", command, f"{world.directory}/logs/agent-grouped.log", world.net.inside("h1"))
    agent.start()
    world.adopt(agent.pid)
    try:
        about = os.stat(place)
        expect(about.st_gid == grp.getgrnam("nogroup").gr_gid and about.st_mode & 0o77 == 0o70, f"{about}")
    finally:
        agent.stop()


def test_run_directory_that_cannot_be_made(world):
    says(world, "app", replaced(fresh(world, "tenth"), "--run-dir", "/proc/no"), ["--run-dir", "/proc/no"])


def test_relative_state_is_not_in_the_run_directory(world):
    """It would be gone with it. The API port is taken, so that it ends when the state is made."""
    command = replaced(replaced(fresh(world, "ninth"), "--fabric", "127.0.0.1"), "--state", "below-here")
    place = f"{world.directory}/started-from"
    os.makedirs(place)
    says(world, "app", ["env", "-C", place, *command], [str(w.API_PORT)])
    expect(os.path.exists(f"{place}/below-here/state.db"), f"{os.listdir(place)}")


def test_help(world):
    for program in ("outriggerd", "outrigger-agent", "outriggerctl"):
        done = subprocess.run([world.binary(program), "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, timeout=PATIENCE)
        expect(done.returncode == 0 and "--" in done.stdout, f"{program} --help: {done.returncode}: {done.stdout}")


def test_occupied_api_port(world):
    says(world, "app", replaced(fresh(world, "second"), "--fabric", "127.0.0.1"), [str(w.API_PORT), "in use"])


def test_occupied_fabric_port(world):
    command = replaced(fresh(world, "third"), "--listen-api", f"{world.bracket('app')}:8444")
    says(world, "app", command, ["fabric port", "another process"])


def test_address_that_is_not_here(world):
    command = replaced(fresh(world, "fourth"), "--listen-api", f"{world.bracket('app')}:8444")
    says(world, "app", replaced(command, "--fabric", "192.0.2.1"), ["192.0.2.1"])


def test_second_appliance_on_the_same_state(world):
    command = replaced(fresh(world, "fifth"), "--listen-api", f"{world.bracket('app')}:8444")
    command = replaced(replaced(command, "--fabric", "127.0.0.1"), "--state", f"{world.directory}/app")
    says(world, "app", command, ["app"])
    expect(world.ctl("host", "list"), "the first appliance is disturbed")


def test_state_that_cannot_be_written(world):
    path = f"{world.directory}/not-a-directory"
    open(path, "w").close()
    command = replaced(fresh(world, "sixth"), "--listen-api", f"{world.bracket('app')}:8444")
    command = replaced(replaced(command, "--fabric", "127.0.0.1"), "--state", f"{path}/state")
    says(world, "app", command, ["not-a-directory"])


def test_missing_hugepages(world):
    """An appliance that must have hugepages and finds none says so. Other worlds need theirs: only what it reads says none."""
    command = [word for word in fresh(world, "seventh") if "hugepages" not in word] + ["--hugepages"]
    command = replaced(replaced(command, "--listen-api", f"{world.bracket('app')}:8444"), "--fabric", "127.0.0.1")
    none = f"{world.directory}/free_hugepages"
    with open(none, "w") as file:
        file.write("0\n")
    script = f"! test -e {FREE_HUGEPAGES} || mount --bind {none} {FREE_HUGEPAGES} && exec \"$@\""
    says(world, "app", ["unshare", "-m", "sh", "-c", script, "sh", *command], ["hugepages", "nr_hugepages"])


def test_missing_root(world):
    """Without privileges the appliance serves, but cannot open an uplink: the call that asks for it says why."""
    place = f"{world.record}/unprivileged"
    os.makedirs(place)
    os.chmod(place, 0o777)
    for directory in (w.RECORDS, world.record):
        os.chmod(directory, 0o755)
    command = replaced(fresh(world, "eighth"), "--listen-api", f"{world.bracket('app')}:8444")
    for option in ("--state", "--run-dir"):
        command = replaced(command, option, f"{place}/{option[2:]}")
    command = [word for word in replaced(command, "--fabric", "127.0.0.1") if "hugepages" not in word]
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
    daemon = Daemon("unprivileged outriggerd", command, f"{world.directory}/logs/unprivileged.log",
                    world.net.inside("app") + nobody)
    daemon.start()
    world.adopt(daemon.pid)
    try:
        done = subprocess.run(
            world.net.inside("app") + [world.binary("outriggerctl"), "--context", f"{place}/state/admin", "port", "create",
                                       "upl0", "--device", "af_packet:upl0"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        expect(done.returncode != 0 and len(done.stdout.splitlines()) == 1, f"{done.returncode}: {done.stdout}")
        expect(any(word in done.stdout.lower() for word in ("root", "cap_net", "permi")), done.stdout)
    finally:
        daemon.stop()


def test_agent_without_an_appliance_keeps_trying(world):
    world.start_agent("h1")
    world.appliance.kill()
    wait_for("the agent to notice", lambda: "appliance" in open(world.agents["h1"].log_path).read().lower())
    world.start_appliance()
    world.wait_stable()


def test_cli_without_an_appliance(world):
    done = subprocess.run(world.net.inside("h2") + [world.binary("outriggerctl"), "--context",
                                                    f"{world.directory}/app/admin", "--api", "10.99.0.12:1", "host", "list"],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
    expect(done.returncode == 7 and len(done.stdout.splitlines()) == 1, f"{done.returncode}: {done.stdout}")


def setup(world):
    world.start_appliance()
    world.enrol("h1")


if __name__ == "__main__":
    case.main(globals(), case.world_of("errors"), setup)
