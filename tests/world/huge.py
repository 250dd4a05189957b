# SPDX-License-Identifier: Apache-2.0
"""Memory in huge pages of 2 MiB for a guest, as hosts with many guests give it."""

import contextlib
import fcntl
import mmap
import os

PAGES = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"
MFD_HUGE_2MB = 21 << 26  # linux/memfd.h


def more(pages):
    """Adds to the machine's pool, which others change too; how many came. OSError: not root, or no such pages."""
    with open(PAGES, "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = int(file.read())
        file.seek(0)
        file.write(str(max(0, before + pages)))
        file.flush()
        file.seek(0)
        return int(file.read()) - before


@contextlib.contextmanager
def huge_memory(mib):
    """A file descriptor of so much memory, which is the caller's until the end: nobody else gets these pages. None: there is
    not so much."""
    with contextlib.ExitStack() as stack:
        try:
            came = more(mib // 2)
            stack.callback(lambda: more(-came))
            fd = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_HUGETLB | MFD_HUGE_2MB)
            stack.callback(os.close, fd)
            os.ftruncate(fd, mib << 20)
            stack.enter_context(mmap.mmap(fd, mib << 20))  # what is mapped is reserved
        except OSError:
            fd = None
        yield fd
