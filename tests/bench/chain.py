# SPDX-License-Identifier: Apache-2.0
"""The peers of a vDisk, from Debian's packages: qemu-storage-daemon on the host as the guests' vhost-user-blk back-end,
and behind it nbdkit (NBD over TCP) or tgt (iSCSI) on the appliance's side of the same wire; or a local file.
"""

import os
import subprocess

from vms import WorldError, wait_for

NBD_PORT = 10809
IQN = "iqn.2009-01.example:bench"


class Chain:
    """One qemu-storage-daemon of a world's host h1 and what stands behind it; .host and .gateway are pids."""

    def __init__(self, world, name, file):
        self.world = world
        self.file = file
        self.directory = f"{world.record}/{name}"
        os.makedirs(self.directory)
        self.socket = f"{self.directory}/disk.sock"
        self.gateway = None
        self.host = self.storage_daemon(getattr(self, name)()).pid

    def storage_daemon(self, blockdev):
        process = self.world.spawn(
            "h1", "qemu-storage-daemon", "--blockdev", f"node-name=d,{blockdev}", "--export",
            f"type=vhost-user-blk,id=e,node-name=d,writable=on,addr.type=unix,addr.path={self.socket}")
        wait_for("qemu-storage-daemon", lambda: os.path.exists(self.socket), 20, lambda: alive(process))
        return process

    def local(self):
        """No wire: the file itself, through io_uring."""
        return f"driver=file,filename={self.file},aio=io_uring,locking=off"

    def nbd(self):
        address = self.world.net_address("app", 0)
        process = self.world.spawn("app", "nbdkit", "-f", "-i", address, "-p", str(NBD_PORT), "-P",
                                   f"{self.directory}/pid", "file", self.file)
        wait_for("nbdkit", lambda: os.path.exists(f"{self.directory}/pid"), 20, lambda: alive(process))
        self.gateway = process.pid
        return f"driver=nbd,server.type=inet,server.host={address},server.port={NBD_PORT}"

    def iscsi(self):
        address = self.world.net_address("app", 0)
        process = self.world.spawn("app", "tgtd", "-f", "-C", "7", "--iscsi", f"portal={address}:3260")
        wait_for("tgtd", lambda: self.admin("--op", "show", "--mode", "system") is not None, 20, lambda: alive(process))
        for words in (f"--op new --mode target --tid 1 -T {IQN}",
                      f"--op new --mode logicalunit --tid 1 --lun 1 -b {self.file}",
                      "--op bind --mode target --tid 1 -I ALL"):
            if self.admin("--lld", "iscsi", *words.split()) is None:
                raise WorldError(f"tgtadm {words} failed")
        self.gateway = process.pid
        return f"driver=iscsi,transport=tcp,portal={address},target={IQN},lun=1"

    def admin(self, *words):
        done = subprocess.run(self.world.net.inside("app") + ["tgtadm", "-C", "7", *words], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, timeout=20)
        return None if done.returncode else done.stdout

    def pids(self):
        return {"host": self.host, **({"gateway": self.gateway} if self.gateway else {})}


def alive(process):
    if process.poll() is not None:
        raise WorldError(f"{process.args[-1]} ended with {process.returncode}: see the world's logs")
