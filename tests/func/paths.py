# SPDX-License-Identifier: Apache-2.0
"""What the appliance shows of a host's paths and of its session."""

from case import WorldError, wait_for

class Path:
    def __init__(self, shown):
        self.local = shown["local"]
        self.remote = shown.get("remote", "")  # none before the host was heard on it
        self.up = shown["state"] == "PATH_STATE_UP"
        self.sent = int(shown.get("txPackets", 0))
        self.received = int(shown.get("rxPackets", 0))
        self.chunk = int(shown.get("mtu", 0))
        self.loss = int(shown.get("lossPpm", 0)) / 1e6
        self.share = int(shown.get("sharePermille", 0)) / 1e3
        self.rtt = int(shown.get("rttUs", 0)) / 1e6


def status(world, host):
    return world.show("host", host)["status"]


def paths(world, host):
    """The paths of a host's session over the link under test, in the order of the appliance's ends."""
    return sorted((Path(shown) for shown in status(world, host).get("paths", []) if world.primary(shown)),
                  key=lambda path: path.local)


def states(world, host):
    """Whether each of them is up."""
    return [path.up for path in paths(world, host)]


def backup(world, host):
    """The path that serves when none of them does."""
    return next((Path(shown) for shown in status(world, host).get("paths", []) if world.backup(shown)), None)


def shared(world, host):
    """The sum of what each path, backups too, carries of all: 1 while data is sent. A backup has its part on a busy machine."""
    return sum(Path(shown).share for shown in status(world, host).get("paths", []))


def wait_states(world, host, *wanted):
    try:
        wait_for(f"the paths of {host} to be up: {wanted}", lambda: states(world, host) == list(wanted),
                 check=world.check)
    except WorldError as error:
        raise WorldError(f"{error}: {status(world, host).get('paths')}") from None


def session(world, host):
    return status(world, host).get("sessionId")
