# SPDX-License-Identifier: Apache-2.0
"""The checks of the tree find what they are for. No root, no world."""

import os
import shutil
import subprocess
import tempfile

import case
from case import expect
from world import TOP

TREE = ("fabric/base", "fabric/rt", "appliance/switch", "appliance/cli", "hostagent", "proto", "tests")


def layers(text, path, rules=None):
    """Status and output of tests/tools/layers over a tree with one file (and one rules.mk)."""
    with tempfile.TemporaryDirectory() as top:
        for directory in TREE:
            os.makedirs(f"{top}/{directory}")
        shutil.copy(f"{TOP}/tests/layers.txt", f"{top}/tests/layers.txt")
        with open(f"{top}/{path}", "w") as file:
            file.write(text)
        if rules:
            with open(f"{top}/{os.path.dirname(path)}/rules.mk", "w") as file:
                file.write(rules)
        done = subprocess.run([f"{TOP}/tests/tools/layers", top], stdout=subprocess.PIPE, text=True)
        return done.returncode, done.stdout


def breach(words, *arguments):
    status, output = layers(*arguments)
    expect(status == 1 and words in output, f"no breach '{words}': {status} {output}")


def test_layers_lets_a_lower_room_in(_):
    status, output = layers('#include "fabric/base/counter.h"\n', "fabric/rt/x.c",
                            "$(eval $(call room,fabric/rt,fabric/base,,core))\n")
    expect(status == 0, output)


def test_layers_refuses_a_higher_room(_):
    breach("fabric/rt may not include fabric/link/link.h", '#include "fabric/link/link.h"\n', "fabric/rt/x.c")


def test_layers_keeps_host_and_appliance_apart(_):
    breach("may not include hostagent/vhost/vhost.h", '#include "hostagent/vhost/vhost.h"\n', "appliance/cli/x.c")


def test_layers_keeps_cores_pure(_):
    for header in ("event2/event.h", "rte_mbuf.h", "sys/socket.h", "time.h"):
        breach("is a core", f"#include <{header}>\n", "appliance/switch/x.c")


def test_layers_reads_rules(_):
    breach("may not link with fabric/link", "", "fabric/rt/x.c", "$(eval $(call room,fabric/rt,fabric/link,,core))\n")
    breach("core in one of", "", "fabric/rt/x.c", "$(eval $(call room,fabric/rt,fabric/base,,))\n")


def test_total_sums_all_suites(_):
    log = "unit: 3 passed, 1 failed\nnoise: 7 passed\nsim-rt: 40 seeds from 1 passed, 8 packets\nfunc: 2 passed, 0 failed, 4 skipped\n"
    done = subprocess.run(["sh", f"{TOP}/tests/tools/total"], input=log, stdout=subprocess.PIPE, text=True)
    expect(done.stdout == "6 passed, 1 failed, 4 skipped\n", done.stdout)


def test_deps_names_what_is_missing(_):
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        shutil.copy(f"{TOP}/tests/tools/deps", place)
        with open(f"{place}/packages.txt", "w") as file:
            file.write("# a comment\nno-such-package-here # another\n")
        done = subprocess.run(["setpriv", "--reuid=65534", "--clear-groups", "sh", f"{place}/deps"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    expect(done.returncode == 1 and "no-such-package-here" in done.stdout and "another" not in done.stdout, done.stdout)


if __name__ == "__main__":
    case.main(globals())
