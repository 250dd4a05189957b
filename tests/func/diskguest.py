# SPDX-License-Identifier: Apache-2.0
"""A VM with a disk at h1 (tests/func/disk_guest): it writes and reads without pause and ends when a block, or memory beside its
buffers, holds what it must not.
"""

from case import WorldError, expect, wait_for


class DiskGuest:
    def __init__(self, world, pool=None, name="d"):
        """pool: directory of the pool to make. Without it this is one disk more, in the pool that there is."""
        self.world = world
        self.name = name
        self.status_path = f"{world.run_dir('h1')}/{name}.status"
        if pool:
            world.ctl("pool", "create", "pool0", "--directory", pool)
            world.ctl("profile", "create", "disks", "--host", "h1")
        world.ctl("volume", "create", f"{name}-volume", "--pool", "pool0", "--size", "4M")
        world.ctl("vdisk", "create", name, "--profile", "disks", "--volume", f"{name}-volume")
        socket = wait_for("the disk at h1", lambda: world.attached("vdisk", name, "h1"), check=world.check)
        self.program = world.helper("h1", world.program("disk_guest"), socket, self.status_path)
        self.wait("the VM's first request", self.done)

    def check(self):
        self.world.check()
        expect(self.program.running(), f"the VM goes on: {self.program.output()[-500:]}")

    def told(self):
        """What the VM says of itself."""
        words = self.world.read("h1", self.status_path).split()
        return {name: int(value) for name, value in (word.split("=") for word in words)}

    def done(self):
        now = self.told()
        return now.get("reads", 0) + now.get("writes", 0)

    def wait(self, what, condition):
        try:
            return wait_for(what, condition, check=self.check)
        except WorldError as error:
            raise WorldError(f"{error}: the VM says {self.told()}") from None

    def goes_on(self, number=50):
        """So many requests more, each looked at by the VM."""
        before = self.done()
        self.wait(f"{number} requests more", lambda: self.done() >= before + number)
