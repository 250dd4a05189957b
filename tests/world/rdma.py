# SPDX-License-Identifier: Apache-2.0
"""Two guests joined by three wires, with RDMA devices in software (rdma_rxe) on two of them.

      guest "app"                          guest "host"
      eth0 10.9.0.1  ───────── wire 0 ──── eth0 10.9.0.2
      eth1 10.9.1.1  rxe1 ──── wire 1 ──── eth1 10.9.1.2  rxe1
      eth2 10.9.2.1  rxe2 ──── wire 2 ──── eth2 10.9.2.2  rxe2

Real kernels, real libibverbs, no hardware. The guests wake each other by the timer's tick unless they poll when idle;
so they do, and each burns a processor while it runs: keep the tests short. Rates are good for ratios within one run.
"""

import os
import subprocess
import tempfile

import vm

TOP = os.path.abspath(f"{os.path.dirname(__file__)}/../..")
MTU = 4200  # the largest RDMA MTU, 4096, with RoCEv2's headers
ADDRESS = {"app": "10.9.{}.1", "host": "10.9.{}.2"}
WIRES = 3
RDMA_WIRES = (1, 2)
PROGRAMS = ("outriggerd", "outrigger-agent", "outriggerctl", "disk_guest", "bad_guest", "canary.so",
            "hostile.so", "bench_vms")


def build_image(build, cache):
    """The image with the programs of a build; its directory."""
    paths = [f"{build}/bin/{name}" for name in PROGRAMS if os.path.exists(f"{build}/bin/{name}")]
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
        guest.must(" && ".join(script))

    def cut(self, wire, *guests, up=False):
        """Takes the cable out of both ends (or of one), or puts it in again."""
        for guest in guests or (self.app, self.host):
            answer = guest.qmp("set_link", name=f"wire{wire}", up=up)
            if "return" not in answer:
                raise vm.GuestError(f"{guest.name}: set_link: {answer}")
