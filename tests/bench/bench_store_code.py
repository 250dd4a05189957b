# SPDX-License-Identifier: Apache-2.0
"""What our own code costs a request, without kernel, scheduler and volume: instructions, which no other load changes, and
nanoseconds. tests/bench/disks has the whole way in one process."""

import subprocess

from bench import Report, json_lines, program
from contest import ROUNDS
from counted import instructions

BURSTS, DEPTH = 100, 32
STAGES = ("agent_takes", "agent_sends", "agent_receives", "appliance_receives", "appliance_sends", "acknowledge")
CASES = {"4 KiB read": (), "4 KiB write": ("write",), "4 KiB read, encrypted": ("sealed",),
         "4 KiB read, packed ring": ("packed",), "64 KiB read": ("size=65536",), "4 KiB read, one at a time": ("depth=1",)}
# libipsec-mb picks its code by what the processor has, and valgrind has less: of those there is the time alone.
COUNTED = tuple(case for case, words in CASES.items() if "sealed" not in words)


def main():
    report = Report("store-code", "Guest, agent and appliance in one process, ring and transport as they are, "
                    f"{DEPTH} requests at once; no kernel. Instructions are callgrind's, without AVX-512 (CRC32C takes the longer way). What is "
                    "beyond the nanoseconds in store's host CPU is kernel and scheduler.")
    for case, words in CASES.items():
        depth = 1 if "depth=1" in words else DEPTH
        if case in COUNTED:
            try:
                # The first burst warms up and is one of them.
                counts = instructions("bench_disks", STAGES, (f"bursts={BURSTS}", *words), (BURSTS + 1) * depth)
            except (OSError, subprocess.SubprocessError) as error:
                report.fail(f"{case}: instructions", error)
            else:
                report.add(f"{case}: agent", sum(counts[stage] for stage in STAGES if stage.startswith("agent")),
                           "instructions")
                for stage in STAGES:
                    report.add(f"{case}: {stage}", counts[stage], "instructions")
        runs = [json_lines([program("bench_disks"), *words])[0] for _ in range(ROUNDS)]
        report.add(f"{case}: agent, least of {ROUNDS}",
                   sum(min(run[stage] for run in runs) for stage in STAGES if stage.startswith("agent")), "ns")
    return report
