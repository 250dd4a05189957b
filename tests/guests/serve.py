# SPDX-License-Identifier: Apache-2.0
"""What init's serve() does, for guests that have Python: one process per command, where the shell needs six. It is
started with the serial port, which is raw, as standard input and output.
"""

import binascii
import os
import signal

OUTPUT = "/run/output"
QUIET = [(os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
         (os.POSIX_SPAWN_OPEN, 1, OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644),
         (os.POSIX_SPAWN_DUP2, 1, 2)]


def run(command, limit):
    """The status of a shell command, as timeout(1) gives it."""
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", command], os.environ, file_actions=QUIET)
    signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGTERM))
    signal.setitimer(signal.ITIMER_REAL, limit)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    signal.setitimer(signal.ITIMER_REAL, 0)
    return status if status >= 0 else 128 - status


def main():
    with os.fdopen(0, "rb", buffering=0) as port:
        os.write(1, b"ready\n")
        pending = b""
        while True:
            pending += port.read(4096) or b""
            while b"\n" in pending:
                line, _, pending = pending.partition(b"\n")
                words = line.split()
                if len(words) != 3:
                    os.write(1, b"ready\n")
                    continue
                status = run(binascii.a2b_base64(words[2]).decode(), float(words[1]))
                with open(OUTPUT, "rb") as file:
                    answer = memoryview(b"%s %d %s\n" % (words[0], status, binascii.b2a_base64(file.read(), newline=False)))
                while answer:
                    answer = answer[os.write(1, answer):]


main()
