# SPDX-License-Identifier: Apache-2.0
"""An agent that payload can be taken away from (tests/func/canary), on the stand of test_rdma.py."""

from case import expect


class Guarded:
    attempts = 15

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
