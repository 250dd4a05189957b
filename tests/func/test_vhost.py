#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Real QEMU guests on the vhost-user front-end, without tunnel and appliance (tests/func/vhost_echo is the device).

      guest a --- nic-a.sock ---.                .--- nic-b.sock --- guest b
        |                        vhost_echo (hub)
      disk-a.sock ---------------' 8 ms per request

All of it with split and then with packed rings of guest a, whose memory then is in huge pages where there are any.

Guest a is a modern driver with mergeable buffers; b's NIC is a legacy device without them: 10-byte headers, big chains.
The disk has four queues of which a one-CPU guest uses one. Shown: boot, ping and TCP with segmentation offload; a disk
that is verified while the back-end is killed -9 and started again with requests in flight; that it idles; and that QEMU's
reset of a guest under I/O starts over cleanly. No root needed.
"""

import os
import re
import shutil
import signal
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, f"{TOP}/tests/world")
import checks as world  # noqa: E402
import huge  # noqa: E402
import vm  # noqa: E402
from proc import PATIENCE, WorldError, child, wait_for  # noqa: E402
from report import CheckFailed  # noqa: E402

BUILD = os.environ.get("BUILD", "build/gcc")
GUEST = os.environ.get("GUEST", "build/cache/guest")
ECHO = f"{BUILD}/bin/vhost_echo"
KILLS = 4
MEMORY = 384  # MiB


class Echo:
    """The back-end process."""

    def __init__(self, directory, *devices):
        self.directory = directory
        self.log_path = f"{directory}/echo.log"
        self.args = [ECHO, directory, *devices]
        self.process = None

    def start(self):
        with open(self.log_path, "ab") as log:
            self.process = child(self.args, stdout=log, stderr=log)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()

    def cpu_ns(self):
        with open(f"/proc/{self.process.pid}/schedstat") as file:
            return int(file.read().split()[0])

    def again(self):
        """Requests taken again at each start: what was in flight at the kill before it."""
        return [int(n) for n in re.findall(r"taken again: (\d+)", self.log())]

    def switches(self):
        with open(f"/proc/{self.process.pid}/status") as file:
            return int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", file.read(), re.M).group(1))


class Checks:
    def __init__(self):
        self.failed = 0
        self.passed = 0

    def check(self, name, ok, figure=""):
        self.passed += bool(ok)
        self.failed += not ok
        figure = " ".join(str(figure).split())
        print(f"{'ok' if ok else 'FAIL'} {name}{': ' if figure else ''}{figure}", flush=True)


def network(checks, a):
    checks.check("ping between two guests", True, f"{world.ping(a, '10.9.0.2', 5, 1400):.1f} ms")
    text = a.must("ethtool -k eth0")
    checks.check("segmentation offload negotiated", "tcp-segmentation-offload: on" in text)
    checks.check("TCP between two guests", True, f"{world.iperf(a, '10.9.0.2', '-t', '2'):.0f} Mbit/s")


def disk(checks, a, echo):
    world.make_disk(a)
    a.must("dd if=/dev/urandom of=/tmp/x bs=1M count=32 2>/dev/null; sha256sum < /tmp/x > /tmp/sum")
    job = a.start("for i in 1 2 3 4; do cp /tmp/x /mnt/x$i && sync || exit 1; done")
    # Direct writes, so that mostly a request is in flight.
    direct = a.start("rm -f /run/enough; until test -e /run/enough; do"
                     " dd if=/tmp/x of=/mnt/direct bs=64k oflag=direct conv=notrunc || exit 1; done")
    kills = 0
    while kills < KILLS or not sum(echo.again()) and kills < 10 * KILLS:
        kills += 1
        before = echo.log().count("disk-a: queue")
        time.sleep(0.7)  # the work under way is what is killed, not a condition that is waited for
        echo.kill()
        echo.start()
        wait_for("QEMU to reconnect", lambda n=before: echo.log().count("disk-a: queue") > n)
    result = job.wait()
    a.must("touch /run/enough")
    checks.check("direct writes go on too", direct.wait().ok)
    checks.check(f"writes go on over {kills} kills of the back-end", result.ok, result.output[-200:])
    a.must("umount /mnt; echo 3 > /proc/sys/vm/drop_caches; mount /dev/vda /mnt")
    sums = a.must("for i in 1 2 3 4; do sha256sum < /mnt/x$i | cmp - /tmp/sum || echo differs; done")
    checks.check("checksums after the kills", sums.strip() == "", sums)
    checks.check("requests in flight at the kills came again", sum(echo.again()) > 0, f"{echo.again()}")
    result = a.run("fio --name=v --filename=/mnt/f --size=16M --rw=randwrite --bs=4k --ioengine=libaio --iodepth=16"
                   " --direct=1 --verify=crc32c --verify_fatal=1 --minimal")
    checks.check("fio verify, queue depth 16", result.ok, "" if result.ok else result.output[-300:])
    errors = a.run("dmesg | grep -i 'i/o error'").output
    checks.check("no I/O error in the guest", errors == "", errors[-200:])


def idle(checks, echo):
    """The least of a few spans: the guest's own timers and a busy core make one dearer than idling is."""
    least = None
    for _ in range(6):
        cpu, switches = echo.cpu_ns(), echo.switches()
        time.sleep(5)  # the span that is measured
        figures = (echo.cpu_ns() - cpu) / 5e7, (echo.switches() - switches) / 5
        least = tuple(map(min, least or figures, figures))
        if least[0] <= 0.1 and least[1] <= 5:
            break
    checks.check("idle", least[0] <= 0.1 and least[1] <= 5, f"{least[0]:.3f} % of a core, {least[1]:.1f} wake-ups/s")


def reset(checks, a, echo):
    """The guest is reset by QEMU in the middle of direct writes."""
    a.must("umount /mnt")
    a.start("dd if=/dev/zero of=/dev/vda bs=64k oflag=direct")
    time.sleep(0.3)
    a.qmp("system_reset")
    a.close_channel()
    a.wait_ready()
    result = a.run("dd if=/dev/urandom of=/dev/vda bs=1M count=8 oflag=direct 2>/dev/null && dd if=/dev/vda bs=1M"
                   " count=8 iflag=direct 2>/dev/null | sha256sum")
    checks.check("disk works after a reset under I/O", result.ok)
    world.reach(a, "10.9.0.2")
    checks.check("network works after the reset", True)
    checks.check("nothing broke", "broken" not in echo.log())


def one_world(checks, packed, memory_fd):
    directory = tempfile.mkdtemp(prefix="og-vhost-")
    image = f"{directory}/disk.raw"
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    echo = Echo(directory, f"disk=disk-a:{image}:8", "nic=nic-a", "nic=nic-b")
    tcg = True
    a = vm.Guest("a", GUEST, directory, address="10.9.0.1/24", memory=MEMORY, memory_fd=memory_fd,
                 devices=[*vm.net_vhost(f"{directory}/nic-a.sock", "02:00:00:00:00:01", tcg, packed=packed),
                          *vm.disk_vhost(f"{directory}/disk-a.sock", 4, packed)])
    b = vm.Guest("b", GUEST, directory, address="10.9.0.2/24",
                 devices=[w.replace("romfile=", "disable-modern=on,mrg_rxbuf=off,romfile=")
                          for w in vm.net_vhost(f"{directory}/nic-b.sock", "02:00:00:00:00:02", tcg)])
    # A reset must not end QEMU, and qboot does not survive one: SeaBIOS, which also reads the disk itself.
    a_line = a.command_line
    a.command_line = lambda: [w for w in a_line() if w not in ("-no-reboot", "-bios", "qboot.rom")]
    try:
        echo.start()
        a.start_qemu()
        b.start_qemu()
        a.wait_ready()
        b.wait_ready()
        checks.check(f"two guests boot{', packed rings' * packed}{', huge pages' * (memory_fd is not None)}", True, f"{a.boot_seconds:.1f} s, {b.boot_seconds:.1f} s")
        world.guest_serves_iperf(b)
        network(checks, a)
        idle(checks, echo)
        disk(checks, a, echo)
        network(checks, a)
        reset(checks, a, echo)
        echo.stop()
        print("\n".join(f"  | {line}" for line in echo.log().splitlines() if "requests" in line))
    except (vm.GuestError, WorldError, CheckFailed) as error:
        checks.check("run to the end", False, str(error))
    finally:
        a.kill()
        b.kill()
        if echo.process.poll() is None:
            echo.kill()
        if checks.failed:
            print("".join(f"  | {line}\n" for line in (echo.log() + a.tail() + b.tail()).splitlines()[-60:]))
        shutil.rmtree(directory)


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that all that was begun is undone
    checks = Checks()
    one_world(checks, False, None)
    with huge.huge_memory(MEMORY) as memory_fd:
        if memory_fd is None:
            print("skip huge pages: there are none", flush=True)
        one_world(checks, True, memory_fd)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
