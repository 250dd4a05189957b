# SPDX-License-Identifier: Apache-2.0
"""Two guests joined by three wires, with RDMA devices in software (rdma_rxe) on two of them.

      guest "app"                          guest "host"
      eth0 10.9.0.1  ───────── wire 0 ──── eth0 10.9.0.2
      eth1 10.9.1.1  rxe1 ──── wire 1 ──── eth1 10.9.1.2  rxe1
      eth2 10.9.2.1  rxe2 ──── wire 2 ──── eth2 10.9.2.2  rxe2

outriggerctl runs on this machine: the API of 10.9.0.1 is reached through a port of "app" that QEMU forwards (Console).

Real kernels, real libibverbs, no hardware. The guests wake each other by the timer's tick unless they poll when idle;
so they do, and each burns a processor while it runs: keep the tests short. Rates are good for ratios within one run.
"""

import os
import re
import subprocess
import tempfile

import vm

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
MTU = 4200  # the largest RDMA MTU, 4096, with RoCEv2's headers
ADDRESS = {"app": "10.9.{}.1", "host": "10.9.{}.2"}
WIRES = 3
RDMA_WIRES = (1, 2)
PROGRAMS = ("outriggerd", "outrigger-agent", "outriggerctl", "disk_guest", "nic_guest", "bad_guest", "canary.so",
            "hostile.so", "bench_vms")


API_PORT = 8443
# Of QEMU's own network: what it forwards comes from .2. It asks the wire for 10.9.0.1, and "app" answers.
API_NET = "10.9.9.0/24"
API_ADDRESS = "10.9.9.15/24"


BUILD = os.path.join(TOP, os.environ.get("BUILD") or "build/gcc")


def build_image(cache):
    """The image with the programs of BUILD; its directory."""
    paths = [f"{BUILD}/bin/{name}" for name in PROGRAMS if os.path.exists(f"{BUILD}/bin/{name}")]
    subprocess.run([f"{TOP}/tests/guests/mkrdma", cache, *paths], check=True)
    return f"{cache}/rdma"


class Pair:
    """Both guests; with Pair(...) as pair: pair.app and pair.host are vm.Guest."""

    def __init__(self, directory, image, memory=512):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        self.wires = tempfile.mkdtemp(prefix="ogrdma")  # socket names are short
        accel = vm.accelerator(image, directory)
        self.app, self.host = (self.guest(name, image, accel, memory) for name in ("app", "host"))

    def guest(self, name, image, accel, memory):
        other = "host" if name == "app" else "app"
        devices = []
        for wire in range(WIRES):
            mac = f"02:00:5e:09:{wire:02x}:{1 if name == 'app' else 2:02x}"
            devices += ["-netdev", f"dgram,id=wire{wire},local.type=unix,local.path={self.wires}/{name}{wire},"
                                   f"remote.type=unix,remote.path={self.wires}/{other}{wire}",
                        "-device", f"virtio-net-pci,netdev=wire{wire},mac={mac},romfile="]
        if name == "app":
            devices += ["-netdev", f"user,id=api,restrict=on,net={API_NET},hostfwd=tcp:127.0.0.1:0-10.9.0.1:{API_PORT}",
                        "-device", "virtio-net-pci,netdev=api,mac=02:00:5e:09:09:01,romfile="]
        guest = vm.Guest(name, image, self.directory, accel, devices, address=ADDRESS[name].format(0) + "/24",
                         memory=memory, mtu=MTU)
        guest.append += " idle=poll"
        return guest

    def __enter__(self):
        try:
            for guest in (self.app, self.host):
                guest.start_qemu()
            for guest in (self.app, self.host):
                guest.wait_ready()
                self.devices_up(guest)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for guest in (self.app, self.host):
            guest.kill()
        for name in os.listdir(self.wires):
            os.unlink(f"{self.wires}/{name}")
        os.rmdir(self.wires)

    def devices_up(self, guest):
        script = []
        for wire in range(WIRES):
            if wire:
                script += [f"i2 link set eth{wire} mtu {MTU} up",
                           f"i2 addr add {ADDRESS[guest.name].format(wire)}/24 dev eth{wire}"]
            if wire in RDMA_WIRES:
                script.append(f"rdma link add rxe{wire} type rxe netdev eth{wire}")
        if guest is self.app:
            script.append(f"i2 link set eth{WIRES} up && i2 addr add {API_ADDRESS} dev eth{WIRES}")
        guest.must(" && ".join(script))

    def cut(self, wire, *guests, up=False):
        """Takes the cable out of both ends (or of one), or puts it in again."""
        for guest in guests or (self.app, self.host):
            answer = guest.qmp("set_link", name=f"wire{wire}", up=up)
            if "return" not in answer:
                raise vm.GuestError(f"{guest.name}: set_link: {answer}")


class Console:
    """outriggerctl of this machine, with the administrator's files that the appliance keeps below STATE in its guest."""

    FILES = ("api", "ca.crt", "admin.crt", "admin.key")

    def __init__(self, pair, directory, state):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)
        for name in self.FILES:
            text = pair.app.must(f"cat {state}/admin/{name}")
            with open(f"{directory}/{name}", "w") as file:
                file.write(text)
        usernet = pair.app.qmp("human-monitor-command", **{"command-line": "info usernet"})["return"]
        port = re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", usernet).group(1)
        self.command = [f"{BUILD}/bin/outriggerctl", "--context", directory, "--api", f"127.0.0.1:{port}",
                        "--server-name", "10.9.0.1"]

    def run(self, *words):
        """(status, output)"""
        done = subprocess.run([*self.command, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              timeout=vm.PATIENCE)
        return done.returncode, done.stdout
