# SPDX-License-Identifier: Apache-2.0
"""VMs whose payload no processor of ours is to touch, on the stand of test_rdma.py: what they have to outlive, and an agent
that payload can be taken away from (tests/func/canary)."""

import rdma
from case import expect


class Guarded:
    """For a stand whose goes_on() waits for traffic that is looked at, and by_key() for traffic by key."""

    attempts = 15

    def numbers(self, name):
        """What a VM says of itself (tests/lib/guest.h)."""
        result = self.host.run(f"cat /run/{name}.status")
        words = result.output.split() if result.ok else []
        return {key: int(value) for key, value in (word.split("=") for word in words)}

    # ---- what there is to outlive ----

    def a_cut_wire(self):
        """The rest goes by the other."""
        with self.without(1):
            self.goes_on()
            self.by_key()

    def no_wire_but_udp(self, meanwhile):
        with self.without(*rdma.RDMA_WIRES):
            meanwhile()
        self.by_key()

    def a_killed_agent(self, connects):
        """connects(): how often a VM has been connected."""
        before = connects()
        self.kill(self.host, "outrigger-agent")
        self.start_agent()
        self.wait("the VM is connected", lambda: connects() > before)
        self.goes_on()
        self.wait("both up again", self.rdma_up)
        self.by_key()

    def a_killed_appliance(self):
        self.kill(self.app, "outriggerd")
        self.start_appliance()
        self.goes_on()
        self.wait("both up again", self.rdma_up)
        self.by_key()

    # ---- whose processor touches payload ----

    def no_copies(self, copied):
        """copied(): what agent and appliance copied while there was traffic by key. An emulated adapter may lose its
        connection on a busy machine: not each time."""
        self.by_key()
        seen = [copied()]
        while seen[-1] and len(seen) < self.attempts:
            self.wait("both up again", self.rdma_up)
            seen.append(copied())
        expect(not seen[-1], f"something is always copied: {seen}")

    def guard_agent(self):
        """From now on the agent runs with the library that does it."""
        self.host.must("mkdir -p /usr/libexec && mv /usr/bin/outrigger-agent /usr/libexec/ && "
                       "printf '#!/bin/sh\nexport LD_PRELOAD=/usr/bin/canary.so\nexec /usr/libexec/outrigger-agent \"$@\"\n'"
                       " > /usr/bin/outrigger-agent && chmod +x /usr/bin/outrigger-agent")

    def denied(self, done):
        """100 more of what done() counts while the agent's processor has no access to the pages; false: it died of one."""
        alive = lambda: self.host.run("pidof outrigger-agent").ok  # noqa: E731
        self.host.must("touch /run/deny")
        self.wait("denied pages", lambda: self.host.run("grep -qv '^0$' /run/denied").ok or not alive())
        goal = done() + 100
        self.wait("100 more", lambda: done() >= goal or not alive())
        self.host.must("rm /run/deny")
        self.wait("allowed pages", lambda: not self.host.run("test -e /run/denied").ok or not alive())
        return alive()

    def no_access(self, by_key, done):
        """Whoever touches payload dies. It must when its adapters lose their connections, as emulated ones do on a busy
        machine."""
        for _ in range(self.attempts):
            by_key()
            if self.denied(done):
                return
            self.host.must("rm -f /run/denied")
            self.start_agent()
            self.wait("both up again", self.rdma_up)
        expect(False, f"the agent died each time\n{self.log(self.host, 'outrigger-agent')}")
