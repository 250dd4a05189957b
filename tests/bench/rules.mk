# SPDX-License-Identifier: Apache-2.0
# Measurements: they print figures and never fail a check. `make bench` runs all of tests/bench/bench_*.py,
# `make bench B=transport` one. `make bench-bdev`, then build/gcc/bench/bench_bdev.

BENCH_BDEV := $(B)/bench/bench_bdev
$(B)/tests/bench/bench_bdev.o: ROOM := appliance/bdev
$(BENCH_BDEV): $(B)/tests/bench/bench_bdev.o $(call libs_of,appliance/bdev)
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -o $@ -Wl,--start-group $^ -Wl,--end-group \
		$(call pkg_libs,$(call pkgs_of,appliance/bdev)) -lpthread

# Programs that benchmarks drive: $(B)/bin/bench_NAME from tests/bench/NAME, not part of `make all`.
$(eval $(call room,tests/bench/aead,fabric/aead,,))
$(eval $(call room,tests/bench/pump,fabric/base fabric/buf fabric/aead fabric/rt fabric/link fabric/ep proto/wire,,))
$(eval $(call room,tests/bench/guest,fabric/base tests/lib,,))
$(eval $(call room,tests/bench/udp,fabric/base,,))
$(eval $(call room,tests/bench/floor,fabric/base fabric/aead hostagent/vhost,$(IPSEC_MB),))
$(eval $(call room,tests/bench/hops,fabric/base,,))
$(eval $(call room,tests/bench/tap,fabric/base hostagent/frontend,libevent,))
$(eval $(call room,tests/bench/tunnel,fabric/base fabric/buf fabric/aead fabric/rt fabric/vqt,,))
$(eval $(call room,tests/bench/disks,fabric/base hostagent/vhost tests/lib tests/bench/guest tests/bench/tunnel,,))
$(eval $(call room,tests/bench/frames,fabric/base hostagent/vhost tests/lib tests/bench/guest tests/bench/tunnel,,))
BENCH_PROGS := aead pump guest udp floor hops tap frames disks
PROG_ROOMS += $(foreach p,$(BENCH_PROGS),bench_$(p):tests/bench/$(p))

.PHONY: bench bench-deps bench-bdev
bench-deps: ## install the Debian packages of the peers that are missing, and name them
	$(Q)sh tests/tools/deps tests/bench/packages.txt

bench: all $(addprefix $(B)/bin/bench_,$(BENCH_PROGS)) $(B)/bin/sim-rt ## measure beside peers; B=transport picks (root)
	$(Q)sh tests/tools/deps tests/bench/packages.txt || echo "bench: rows of peers that are missing will fail" >&2
	$(Q)BUILD=$(B) tests/bench/run $(BENCH)

bench-bdev: $(BENCH_BDEV) ## io_uring volumes beside fio on the same file
	$(Q)$(BENCH_BDEV)
