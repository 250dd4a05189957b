# SPDX-License-Identifier: Apache-2.0
"""Who may be a host: one-time tokens, certificates of the appliance's own CA, and nobody else. Refusals are logged."""

import os
import shutil
import subprocess

import case
import world as w
from case import expect, logged, wait_for
from proc import PATIENCE, Daemon, child


def setup(world):
    world.start()  # h1 is enrolled and connected
    world.ctl("host", "create", "h2")


def log_size(world):
    return os.path.getsize(world.appliance.log_path)


def refused_enrolment(world, token, state):
    before = log_size(world)
    status, output = world.agent_enroll("h2", token, state=f"{world.directory}/{state}", check=False)
    expect(status != 0, "the enrolment was not refused")
    lines = output.strip().splitlines()
    expect(len(lines) == 1 and "token" in lines[0].lower(), f"not one line about the token: {output}")
    wait_for("the refusal in the log", lambda: logged(world.appliance, "enrol", before))
    expect(not os.path.exists(f"{world.directory}/{state}/host.crt"), "a certificate was left behind")


def test_no_token_at_all(world):
    status, output = world.agent_enroll("h2", "not-a-token", state=f"{world.directory}/nonsense", check=False)
    expect(status != 0 and "token" in output.lower() and len(output.splitlines()) == 1, f"{status}: {output}")


def test_unknown_token(world):
    token = world.ctl("host", "enroll-token", "h2").strip()
    middle = len(token) // 2
    other = "a" if token[middle] != "a" else "b"
    refused_enrolment(world, token[:middle] + other + token[middle + 1:], "unknown")


def test_used_token(world):
    token = world.ctl("host", "enroll-token", "h2").strip()
    world.agent_enroll("h2", token)
    refused_enrolment(world, token, "again")


def test_replaced_token(world):
    world.ctl("host", "create", "h3")
    old = world.ctl("host", "enroll-token", "h3").strip()
    world.ctl("host", "enroll-token", "h3")
    refused_enrolment(world, old, "replaced")


def openssl_session(world, *options):
    """A TLS client on the agents' control port that stays until the appliance ends it."""
    client = child(
        world.net.inside("h2") + ["openssl", "s_client", "-connect", f"{world.bracket('app')}:{w.FABRIC_PORT}", "-tls1_3",
                                  *options],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        client.wait(PATIENCE)
    finally:
        client.kill()
        client.wait()


def test_session_without_a_certificate(world):
    before = log_size(world)
    openssl_session(world)
    wait_for("the refusal in the log", lambda: logged(world.appliance, "certificate", before))


def test_session_with_another_cas_certificate(world):
    place = f"{world.directory}/foreign"
    os.makedirs(place)

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=place, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj",
            "/OU=host/CN=h1", "-keyout", "key.pem", "-out", "cert.pem")
    before = log_size(world)
    openssl_session(world, "-cert", f"{place}/cert.pem", "-key", f"{place}/key.pem")
    wait_for("the refusal in the log", lambda: logged(world.appliance, "certificate", before))
    expect(world.host_connected("h1"), "h1 lost its session to a stranger")


def test_agent_that_never_enrolled(world):
    command = world.agent_command("h2", state=f"{world.directory}/empty")
    done = subprocess.run(world.net.inside("h2") + command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=PATIENCE)
    expect(done.returncode != 0, "an agent without a certificate runs")
    expect("enrol" in done.stdout.lower(), f"it does not say what to do: {done.stdout}")


def test_revoked_host_loses_its_session(world):
    world.start_agent("h2")
    before = log_size(world)
    world.ctl("host", "revoke", "h2")
    wait_for("h2 to lose its session", lambda: not world.host_connected("h2"))
    wait_for("a refusal of h2 in the log", lambda: logged(world.appliance, "h2", before))
    expect(not world.host_connected("h2"), "a revoked host is back")
    expect(world.host_connected("h1"), "h1 lost its session too")
    world.agents["h2"].stop()


def test_enrols_again_after_revocation(world):
    shutil.rmtree(f"{world.directory}/h2", ignore_errors=True)
    world.agent_enroll("h2", world.ctl("host", "enroll-token", "h2").strip())
    world.start_agent("h2")


def test_copied_state_is_one_host_not_two(world):
    """The same certificate from another place replaces the session; it never makes a second host."""
    shutil.copytree(f"{world.directory}/h1", f"{world.directory}/copy")
    os.makedirs(f"{world.record}/copy")
    command = world.agent_command("h2", state=f"{world.directory}/copy")
    command[command.index("--run-dir") + 1] = f"{world.record}/copy"
    copy = Daemon("copied agent", command, f"{world.directory}/logs/agent-copy.log", world.net.inside("h2"))
    copy.start()
    world.adopt(copy.pid)
    try:
        wait_for("h1 connected", lambda: world.host_connected("h1"), check=world.check)
    finally:
        copy.stop()
    wait_for("h1 connected", lambda: world.host_connected("h1"), check=world.check)


if __name__ == "__main__":
    case.main(globals(), case.world_of("enrol", hosts=("h1",)), setup)
