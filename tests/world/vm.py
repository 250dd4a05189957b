# SPDX-License-Identifier: Apache-2.0
"""A QEMU guest with the image of tests/guests: boots, runs commands over the second serial port, dies when told.

Guest.run("...") waits for the answer; Guest.start("...") leaves a job behind in the guest and Job.wait() collects it.
The accelerator is KVM where KVM really boots this image, else TCG: probe once with accelerator().
"""

import base64
import ctypes
import functools
import json
import mmap
import os
import re
import select
import shlex
import socket
import time
from subprocess import DEVNULL

import proc

PATIENCE = 3 * proc.PATIENCE  # an emulated guest is that much slower on a busy machine

TCG_CPU = "max,-erms,-fsrm"  # without them the guest's memcpy is "rep movsq", which TCG runs 8 bytes at a time
APPEND = ("console=ttyS0 quiet loglevel=4 panic=-1 mitigations=off nokaslr no_timer_check random.trust_cpu=on"
          " tsc=reliable nowatchdog")


RDTSC = b"\x0f\x31\x48\xc1\xe2\x20\x48\x09\xd0\xc3"  # rdtsc; shl $32, %rdx; or %rdx, %rax; ret


@functools.cache
def tsc_khz():
    """Of this machine's time stamp counter, which is a TCG guest's too. A guest that measures it by itself, while others have
    the processor, has a clock that runs several times too fast, and with it everything that waits for some time.
    """
    with mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(RDTSC)
        memory = ctypes.c_char.from_buffer(page)
        counter = ctypes.CFUNCTYPE(ctypes.c_uint64)(ctypes.addressof(memory))

        def both():
            """Counter and clock at one moment: of several tries the one that nobody broke into."""
            tries = []
            for _ in range(20):
                before, ticks, after = time.monotonic_ns(), counter(), time.monotonic_ns()
                tries.append((after - before, ticks, (before + after) // 2))
            return min(tries)[1:]

        start = both()
        time.sleep(0.1)
        end = both()
        del counter, memory
    return (end[0] - start[0]) * 1000000 // (end[1] - start[1])


class GuestError(Exception):
    """The guest did not boot, did not answer in time, or a checked command failed in it."""


class Result:
    """Exit status and output (stdout and stderr together) of one command in a guest."""

    def __init__(self, status, output):
        self.status = status
        self.output = output

    @property
    def ok(self):
        return self.status == 0


def accelerator(image, directory):
    """"kvm" if a guest really boots with it here, else "tcg"."""
    if not os.access("/dev/kvm", os.W_OK):
        return "tcg"
    probe = Guest("probe", image, directory, accel="kvm")
    try:
        probe.start_qemu()
        probe.wait_ready(8)
        return "kvm"
    except GuestError:
        return "tcg"
    finally:
        probe.kill()


def net_vhost(socket_path, mac, tcg, queues=1, packed=False, mtu=None):
    """QEMU arguments for a NIC of so many queue pairs whose back-end connects to SOCKET_PATH."""
    device = f"virtio-net-pci,netdev=net0,mac={mac},romfile="
    if queues > 1:
        device += ",mq=on" + ("" if tcg else f",vectors={2 * queues + 2}")
    if packed:
        device += ",packed=on"
    if mtu:
        device += f",host_mtu={mtu}"
    # QEMU 7.2 crashes under TCG when a vhost-user NIC uses MSI-X: vectors=0 gives it INTx.
    return ["-chardev", f"socket,id=nic,path={socket_path},server=on,wait=off",
            "-netdev", f"vhost-user,id=net0,chardev=nic,queues={queues}",
            "-device", device + (",vectors=0" if tcg else "")]


def disk_vhost(socket_path, queues=1, packed=False):
    """QEMU arguments for a disk whose back-end listens at SOCKET_PATH and may go away and come back."""
    return ["-chardev", f"socket,id=disk,path={socket_path},reconnect=1",
            "-device", f"vhost-user-blk-pci-non-transitional,chardev=disk,num-queues={queues}"
                       + (",packed=on" if packed else "")]


class Guest:
    """One virtual machine. `devices` are QEMU arguments, `address` the guest's own addresses ("a/len,b/len"), `memory_fd` its
    memory, if it is not to have some of its own."""

    def __init__(self, name, image, directory, accel="tcg", devices=(), address="", memory=384, prefix=(), mtu=None,
                 cpus=1, memory_fd=None):
        self.name = name
        self.image = image
        self.accel = accel
        self.directory = directory
        self.devices = list(devices)
        self.memory = memory
        self.memory_fd = memory_fd
        self.cpus = cpus
        self.prefix = list(prefix)
        self.append = f"{APPEND} og.name={name}"
        if address:
            self.append += f" og.ip={address}"
        if mtu:
            self.append += f" og.mtu={mtu}"
        if accel == "tcg" and os.uname().machine == "x86_64":
            self.append += f" tsc_early_khz={tsc_khz()}"
        self.process = None
        self.channel = None
        self.pending = b""
        self.sequence = 0
        self.boot_seconds = None
        self.log_path = self.path("qemu.log")
        self.console_log = self.path("console.log")

    def path(self, kind):
        return f"{self.directory}/{self.name}.{kind}"

    def command_line(self):
        cpu = "host" if self.accel == "kvm" else TCG_CPU
        return self.prefix + [
            "qemu-system-x86_64", "-name", self.name, "-nodefaults", "-no-user-config", "-display", "none",
            "-accel", self.accel, "-cpu", cpu, "-bios", "qboot.rom", "-smp", str(self.cpus),
            "-m", str(self.memory), "-no-reboot",
            "-object", f"{self.memory_backend()},id=mem,size={self.memory}M,share=on",
            "-machine", "q35,memory-backend=mem,hpet=off,usb=off,smbus=off,sata=off",
            "-kernel", f"{self.image}/vmlinux", "-initrd", f"{self.image}/initramfs", "-append", self.append,
            "-chardev", f"socket,id=console,path={self.path('console')},server=on,wait=off,"
                        f"logfile={self.console_log}", "-serial", "chardev:console",
            "-chardev", f"socket,id=commands,path={self.path('cmd')},server=on,wait=off", "-serial", "chardev:commands",
            "-chardev", f"socket,id=qmp,path={self.path('qmp')},server=on,wait=off", "-mon", "chardev=qmp,mode=control",
            *self.devices]

    def memory_backend(self):
        if self.memory_fd is None:
            return "memory-backend-memfd"
        return f"memory-backend-file,mem-path=/proc/self/fd/{self.memory_fd}"

    def start_qemu(self):
        os.makedirs(self.directory, exist_ok=True)
        for kind in ("console", "cmd", "qmp"):
            if os.path.lexists(self.path(kind)):
                os.unlink(self.path(kind))
        self.close_channel()
        self.started = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = proc.child(self.command_line(), stdin=DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                      pass_fds=() if self.memory_fd is None else (self.memory_fd,))
        return self.process

    def wait_ready(self, timeout=PATIENCE, check=None):
        """Waits until the guest's command channel answers; `check` is called meanwhile and may raise."""
        deadline = time.monotonic() + timeout
        asked = 0.0
        while True:
            if self.process.poll() is not None:
                raise GuestError(f"{self.name}: QEMU exited with {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name}: not up after {timeout} s\n{self.tail()}")
            if check:
                check()
            if not self.channel:
                self.connect()
            elif self.receive(0.1):
                lines, self.pending = self.pending.replace(b"\r", b"").split(b"\n"), b""
                if b"ready" in lines:
                    break
            elif time.monotonic() - asked > 1:
                asked = time.monotonic()
                self.channel.sendall(b"\n")
        self.boot_seconds = time.monotonic() - self.started
        return self

    def connect(self):
        channel = socket.socket(socket.AF_UNIX)
        try:
            channel.connect(self.path("cmd"))
            self.channel = channel
            self.pending = b""
        except OSError:
            channel.close()
            time.sleep(0.02)

    def receive(self, timeout):
        if not select.select([self.channel], [], [], timeout)[0]:
            return False
        data = self.channel.recv(65536)
        if not data:
            raise GuestError(f"{self.name}: the command channel closed\n{self.tail()}")
        self.pending += data
        return True

    def run(self, command, timeout=PATIENCE, check=None):
        """Runs a shell command in the guest; after `timeout` seconds the guest itself ends it with status 143."""
        self.sequence += 1
        code = base64.b64encode(command.encode()).decode()
        self.channel.sendall(f"{self.sequence} {int(timeout)} {code}\n".encode())
        deadline = time.monotonic() + timeout + 20
        while True:
            line, newline, rest = self.pending.partition(b"\n")
            if newline:
                self.pending = rest
                words = line.decode(errors="replace").split()
                if len(words) >= 2 and words[0] == str(self.sequence):
                    output = base64.b64decode(words[2]).decode(errors="replace") if len(words) > 2 else ""
                    return Result(int(words[1]), output)
                continue
            if check:
                check()
            if self.process.poll() is not None:
                raise GuestError(f"{self.name}: QEMU exited with {self.process.returncode}\n{self.tail()}")
            if time.monotonic() > deadline:
                raise GuestError(f"{self.name}: no answer within {timeout} s to: {command}\n{self.tail()}")
            self.receive(0.2)

    def must(self, command, timeout=PATIENCE, check=None):
        """run() that raises when the command fails; gives its output."""
        result = self.run(command, timeout, check)
        if not result.ok:
            raise GuestError(f"{self.name}: `{command}` gave status {result.status}: {result.output.strip()[-600:]}")
        return result.output

    def start(self, command):
        """Leaves a command running in the guest."""
        self.sequence += 1
        job = Job(self, f"/run/job{self.sequence}")
        self.must(f"(timeout 1800 sh -c {shlex.quote(command)} > {job.base}.out 2>&1; echo $? > {job.base}.rc)"
                  " < /dev/null > /dev/null 2>&1 &")
        return job

    def qmp(self, command, **arguments):
        """One QMP command on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(PATIENCE)
            monitor.connect(self.path("qmp"))
            stream = monitor.makefile("rw")
            stream.readline()
            for request in ({"execute": "qmp_capabilities"}, {"execute": command, "arguments": arguments}):
                stream.write(json.dumps(request) + "\n")
                stream.flush()
                answer = json.loads(stream.readline())
                while "event" in answer:
                    answer = json.loads(stream.readline())
            return answer

    def tail(self):
        """The last lines that QEMU and the guest's console said."""
        text = ""
        for path in (self.log_path, self.console_log):
            if os.path.exists(path):
                with open(path, errors="replace") as file:
                    lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1bc|\r", "", file.read()).splitlines()
                text += "".join(f"  | {line}\n" for line in lines[-12:])
        return text

    def close_channel(self):
        if self.channel:
            self.channel.close()
        self.channel = None
        self.pending = b""

    def running(self):
        return self.process is not None and self.process.poll() is None

    def shutdown(self, timeout=PATIENCE):
        """Syncs the guest's disks and ends QEMU cleanly, as a person would with poweroff."""
        if self.running():
            self.run("umount /mnt 2>/dev/null; sync", timeout)
            self.qmp("quit")
            self.process.wait(timeout)
        self.close_channel()

    def kill(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        self.close_channel()


class Job:
    """A command that runs in the guest by itself."""

    def __init__(self, guest, base):
        self.guest = guest
        self.base = base

    def poll(self):
        """Result if it ended, else None."""
        text = self.guest.must(f"cat {self.base}.rc 2>/dev/null || true").strip()
        if not text:
            return None
        return Result(int(text), self.guest.must(f"cat {self.base}.out"))

    def output(self):
        return self.guest.must(f"cat {self.base}.out 2>/dev/null || true")

    def wait(self, timeout=PATIENCE, check=None):
        deadline = time.monotonic() + timeout
        while True:
            result = self.poll()
            if result:
                return result
            if check:
                check()
            if time.monotonic() > deadline:
                raise GuestError(f"{self.guest.name}: job not done after {timeout} s: {self.output()[-600:]}")
            time.sleep(0.2)
