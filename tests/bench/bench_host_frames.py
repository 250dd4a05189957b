# SPDX-License-Identifier: Apache-2.0
"""What our own code costs the host per frame, without kernel and scheduler: instructions, which no other load changes,
and nanoseconds. tests/bench/frames has the whole way in one process."""

import subprocess

from bench import Report, json_lines, program
from contest import ROUNDS
from counted import instructions

BURSTS, RING = 100, 256
STAGES = ("agent_takes", "agent_sends", "agent_receives", "appliance_receives", "appliance_sends", "acknowledge")
CASES = {"64 B": (), "64 B, encrypted": ("sealed",), "64 B, packed rings": ("packed",), "150 B": ("len=150",),
         "1500 B": ("len=1500",)}
# libipsec-mb picks its code by what the processor has, and valgrind has less: of those there is the time alone.
COUNTED = tuple(case for case, words in CASES.items() if "sealed" not in words)


def main():
    report = Report("host-frames", "Guests, agents and appliance in one process, rings and transport as they are; no "
                    "kernel. Instructions are callgrind's. What is beyond them in host-small is kernel and scheduler.")
    for case, words in CASES.items():
        if case in COUNTED:
            try:
                # The first burst warms up and is one of them.
                counts = instructions("bench_frames", STAGES, (f"bursts={BURSTS}", f"ring={RING}", *words),
                                      (BURSTS + 1) * RING)
            except (OSError, subprocess.SubprocessError) as error:
                report.fail(f"{case}: instructions", error)
            else:
                host = sum(counts[stage] for stage in STAGES if stage.startswith("agent"))
                report.add(f"{case}: both agents", host, "instructions")
                for stage in STAGES:
                    report.add(f"{case}: {stage}", counts[stage], "instructions")
        runs = [json_lines([program("bench_frames"), f"ring={RING}", *words])[0] for _ in range(ROUNDS)]
        best = {stage: min(run[stage] for run in runs) for stage in STAGES}
        report.add(f"{case}: both agents, least of {ROUNDS}",
                   sum(best[stage] for stage in STAGES if stage.startswith("agent")), "ns")
    return report
