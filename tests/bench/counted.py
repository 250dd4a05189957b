# SPDX-License-Identifier: Apache-2.0
"""Instructions of our own code by callgrind: what no other load on the machine changes."""

import os
import re
import subprocess
import tempfile

from bench import program


def instructions(name, stages, words, times):
    """{stage: instructions of a function of that name, and what it calls, divided by `times`}"""
    with tempfile.TemporaryDirectory() as place:
        out = os.path.join(place, "out")
        subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program(name), *words], check=True,
                       capture_output=True, timeout=120)
        text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--threshold=100", out], check=True,
                              capture_output=True, text=True, timeout=120).stdout
    counts = {}
    for stage in stages:
        found = re.search(rf"^\s*([\d,]+) .*:{stage}(?:\.\S+)? \[", text, re.M)
        counts[stage] = int(found.group(1).replace(",", "")) / times if found else 0
    return counts
