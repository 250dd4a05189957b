# SPDX-License-Identifier: Apache-2.0
"""A store that cannot be written stops changes, not traffic."""

import os

import case
import net
import tapworld
import world as w
from case import expect, wait_for


class SmallStore(w.World):
    """The appliance's state directory is a file system of its own that can be filled."""

    def start_appliance(self):
        state = f"{self.directory}/app"
        if not os.path.exists(state):
            os.makedirs(state)
            net.sh("mount", "-t", "tmpfs", "-o", "size=8m", "store", state)
            self.undo.append(lambda: net.sh("umount", "-l", state))
        return super().start_appliance()


def test_full_store_refuses_changes_and_carries_traffic(world):
    before = world.show("network", "blue")
    ballast = f"{world.directory}/app/ballast"
    try:
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                pass
        refusals = 0
        for number in range(50):  # what is left in the last blocks of the store may take a few
            try:
                world.ctl("network", "set", "blue", "--description", f"{number} " + "x" * 200)
            except w.ControlError as error:
                refusals += 1
                expect(error.status == 7 or "store" in error.text.lower() or "disk" in error.text.lower(), error.text)
                if refusals == 3:
                    break
        expect(refusals == 3, "changes were accepted by a full store")
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0], 10)
        tapworld.ping(world, "h1", net.STATION4, 5)
        world.appliance.kill()
        world.start_appliance()  # which needs no room
        world.wait_stable()
        tapworld.ping(world, "h1", tapworld.ADDRESSES["h2"][0])
        expect(world.show("network", "blue")["vlan"] == before["vlan"], "reading does not work")
    finally:
        os.unlink(ballast)

    def accepted():
        try:
            world.ctl("network", "set", "blue", "--description", "room again")
            return True
        except w.ControlError:
            return False

    wait_for("changes to be accepted again", accepted, check=world.check)
    world.appliance.kill()
    world.start_appliance()
    world.wait_stable()
    expect(world.show("network", "blue")["description"] == "room again", "the change was lost")


if __name__ == "__main__":
    case.main(globals(), SmallStore("build/func/store"), tapworld.setup)
