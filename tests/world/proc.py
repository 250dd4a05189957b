# SPDX-License-Identifier: Apache-2.0
"""Processes of the test world: daemons with a log and a ready byte, what they cost, and waiting without sleeping blind."""

import ctypes
import os
import re
import select
import signal
import subprocess
import time

PRCTL = ctypes.CDLL(None).prctl
PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Seconds that a condition may take. It tells what never comes from what is slow on a machine that is busy with other things:
# how fast something is, no test asks.
PATIENCE = 90.0
slowness = 1  # how many times longer anything may take where guests are emulated


class WorldError(Exception):
    """The world could not be built, or something in it broke that must not break."""


def wait_for(what, condition, timeout=PATIENCE, check=None, step=0.05):
    """Polls condition() until it gives something true, and returns that. `check` may raise meanwhile. No more
    than half of the time goes into quick asking: what is waited for may need the same processor.
    """
    timeout *= slowness
    deadline = time.monotonic() + timeout
    while True:
        asked = time.monotonic()
        value = condition()
        if value:
            return value
        if check:
            check()
        now = time.monotonic()
        if now > deadline:
            raise WorldError(f"timeout: {what} (waited {timeout:g} s)")
        time.sleep(max(step, min(now - asked, 1)))


def dies_with_us():
    """For Popen's preexec_fn: a kill -9 of this program ends the child too, unless KEEP=1 asks it to outlive us."""
    if os.environ.get("KEEP", "") in ("", "0"):
        PRCTL(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def child(command, **options):
    """A helper process of a test, with pipes and the like as of Popen; it dies with the test."""
    return subprocess.Popen(command, preexec_fn=dies_with_us, **options)


def start_time(pid):
    """The kernel's start time of a process, which with its pid names it for ever; None if it does not run."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def tail(path, lines=20):
    if not os.path.exists(path):
        return ""
    with open(path, errors="replace") as file:
        return "".join(f"  | {line}\n" for line in file.read().splitlines()[-lines:])


class Daemon:
    """A daemon under test. start() returns when it has said that it serves; check() raises once it is gone unasked."""

    def __init__(self, name, command, log_path, prefix=(), env=None):
        self.name = name
        self.command = list(command)
        self.prefix = list(prefix)
        self.log_path = log_path
        self.env = env
        self.process = None
        self.expected = True  # that it is not running
        self.starts = 0

    @property
    def pid(self):
        return self.process.pid if self.process else None

    def start(self, timeout=PATIENCE):
        reader, writer = os.pipe()
        os.makedirs(os.path.dirname(self.log_path), exist_ok=True)
        try:
            with open(self.log_path, "ab") as log:
                log.write(f"==== start {self.starts + 1}: {' '.join(self.command)}\n".encode())
                log.flush()
                self.process = subprocess.Popen(self.prefix + self.command + ["--ready-fd", str(writer)],
                                                stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[writer],
                                                env=self.env, start_new_session=True, preexec_fn=dies_with_us)
            self.starts += 1
            os.close(writer)
            writer = None
            ready = select.select([reader], [], [], timeout)[0] and os.read(reader, 1)
        finally:
            os.close(reader)
            if writer is not None:
                os.close(writer)
        if not ready:
            try:
                status = self.process.wait(0.5)
            except subprocess.TimeoutExpired:
                status = None
                self.kill()
            how = "did not say that it serves" if status is None else f"exited with {status} at start"
            raise WorldError(f"{self.name} {how}\n{tail(self.log_path)}")
        self.expected = False
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def check(self):
        if not self.expected and self.process.poll() is not None:
            self.expected = True
            raise WorldError(f"{self.name} died with {self.process.returncode}\n{tail(self.log_path, 40)}")

    def kill(self):
        """kill -9, and waits for the end."""
        self.expected = True
        if self.running():
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait(PATIENCE)

    def stop(self, timeout=PATIENCE):
        """SIGTERM; the exit must be clean (status 0) and in time."""
        if not self.process:
            return
        died = not self.expected and self.process.poll() is not None
        self.expected = True
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise WorldError(f"{self.name} did not stop within {timeout} s\n{tail(self.log_path)}") from None
        if self.process.returncode == -signal.SIGKILL and not died:
            return
        if died or self.process.returncode:
            raise WorldError(f"{self.name} ended with {self.process.returncode}\n{tail(self.log_path, 40)}")


class Helper:
    """A program that a test runs beside the daemons, with what it prints."""

    def __init__(self, command, path):
        self.path = path
        with open(path, "wb") as output:
            self.process = child(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
        self.pid = self.process.pid

    def output(self):
        with open(self.path, errors="replace") as file:
            return file.read()

    def running(self):
        return self.process.poll() is None

    def signal(self, name):
        self.process.send_signal(getattr(signal, f"SIG{name}"))

    def wait(self, timeout=PATIENCE):
        """Its status and all that it printed."""
        return self.process.wait(timeout), self.output()

    def kill(self):
        self.process.kill()
        self.process.wait()


class Usage:
    """CPU time (ns) and voluntary context switches of a process, all threads, at one moment."""

    def __init__(self, pid):
        self.when = time.monotonic()
        # The process's CPU clock, as clock_getcpuclockid(3) names it: nanoseconds, where /proc has ticks of 10 ms.
        self.cpu_ns = time.clock_gettime_ns((~pid << 3) | 2)
        self.wakeups = 0
        for task in os.listdir(f"/proc/{pid}/task"):
            try:
                with open(f"/proc/{pid}/task/{task}/status") as file:
                    self.wakeups += int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", file.read(), re.M).group(1))
            except FileNotFoundError:
                pass  # a thread that just ended

    def since(self, before):
        """(CPU in percent of one core, wake-ups per second, CPU seconds) since an earlier moment."""
        seconds = self.when - before.when
        cpu = (self.cpu_ns - before.cpu_ns) / 1e9
        return 100 * cpu / seconds, (self.wakeups - before.wakeups) / seconds, cpu


def own_memory(pid):
    """Resident bytes of a process without the guests' memory that it maps."""
    total, guest = 0, False
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                guest = "/memfd:memory-backend-memfd" in line
            elif line.startswith("Rss:") and not guest:
                total += int(line.split()[1]) * 1024
    return total
