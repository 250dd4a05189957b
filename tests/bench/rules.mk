# SPDX-License-Identifier: Apache-2.0
# Measurements: they print figures and never fail a check. `make bench-bdev`, then build/gcc/bench/bench_bdev.

BENCH_BDEV := $(B)/bench/bench_bdev
$(B)/tests/bench/bench_bdev.o: ROOM := appliance/bdev
$(BENCH_BDEV): $(B)/tests/bench/bench_bdev.o $(call libs_of,appliance/bdev)
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) $(LDFLAGS_ALL) -o $@ -Wl,--start-group $^ -Wl,--end-group \
		$(call pkg_libs,$(call pkgs_of,appliance/bdev)) -lpthread

.PHONY: bench-bdev
bench-bdev: $(BENCH_BDEV) ## io_uring volumes beside fio on the same file
	$(Q)$(BENCH_BDEV)
