# SPDX-License-Identifier: Apache-2.0
# The simulator. This folder is the world (clock, events, links); each scenario is a folder beneath it with a main.c:
#
#	$(eval $(call room,tests/sim/NAME,tests/sim ROOMS,,))
#	$(eval $(call sim,NAME,ARGUMENTS OF ITS SLICE IN make sim))
#
# gives $(B)/bin/sim-NAME and adds the slice to `make sim`, which `make check` runs.
$(eval $(call room,tests/sim,fabric/base fabric/aead,,))

SIM_SLICES :=
define sim
$(B)/bin/sim-$(1): $$(call libs_of,tests/sim/$(1))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $$(LDFLAGS_ALL) -o $$@ -Wl,--start-group $$^ -Wl,--end-group $$(call pkg_libs,$$(call pkgs_of,tests/sim/$(1))) -lpthread
$(call slice,$(1),$(1),$(2))
endef
# $(call slice,NAME,PROGRAM,ARGUMENTS): another slice of a simulator.
define slice
SIM_SLICES += sim-slice-$(1)
.PHONY: sim-slice-$(1)
sim: sim-slice-$(1)
sim-slice-$(1): $(B)/bin/sim-$(2)
	$$(Q)$(B)/bin/sim-$(2) $(3) >$(B)/sim-$(1).log || { cat $(B)/sim-$(1).log; exit 1; }; cat $(B)/sim-$(1).log
endef

.PHONY: sim
sim: ## the simulator's short slice

# A sanitizer costs a factor of five.
$(eval $(call room,tests/sim/rt,tests/sim fabric/base fabric/buf fabric/aead fabric/rt proto/wire,,))
# 1.2 M packets, 0.3 M faults.
$(eval $(call sim,rt,--kept tests/sim/rt/seeds --packets 20000 --seeds $(if $(SAN),20,60)))
# Every flipped bit of 300 packets, replays of 50 000, sealed and with integrity alone.
$(eval $(call slice,hostile,rt,--hostile --seeds $(if $(SAN),30,300) --packets $(if $(SAN),20000,50000)))
# Both ends wake late.
$(eval $(call slice,sleepy,rt,--sleepy $(if $(SAN),--packets 1000)))
# Paths whose MTU changes.
$(eval $(call slice,narrow,rt,--narrow --seeds $(if $(SAN),10,30)))

$(eval $(call room,tests/sim/product,tests/sim fabric/base fabric/buf fabric/aead fabric/rt fabric/vqt appliance/switch appliance/block appliance/bdev appliance/device,,))
$(eval $(call sim,product,--seeds $(if $(SAN),5,15)))
# 1.1 M faults.
$(eval $(call slice,exactly-once,product,--small --faults full --kept tests/sim/product/seeds --seeds $(if $(SAN),200,1000)))
# Agents of two I/O threads: devices go from one to the other while all of that happens.
$(eval $(call slice,lanes,product,--lanes --small --faults full --seeds $(if $(SAN),40,200)))
# The one core of a room and the one helper, without the rest.
$(B)/bin/sim-product: $(B)/appliance/hosts/attach.o $(B)/tests/lib/guard.o

# Not in CI: as many seeds as the promises name, a piece for each core; see tests/sim/long. PART=0.01 for a shorter run, S= picks pieces.
PART ?= 1
.PHONY: sim-long sim-trace mutants
sim-long: $(B)/bin/sim-rt $(B)/bin/sim-product $(B)/bin/sim-vqt ## every promise with all its seeds; PART=0.01, S=failover
	$(Q)tests/sim/long $(B) --scale $(PART) $(S)

# Two compilers, one history.
sim-trace:
	$(Q)for c in gcc clang; do \
		$(MAKE) --no-print-directory SAN= COVERAGE= CC=$$c build/$$c/bin/sim-rt build/$$c/bin/sim-product build/$$c/bin/sim-vqt || exit 1; done
	$(Q)tests/sim/compilers build/gcc build/clang

# A build of its own, in which tests can remove guards (fabric/base/guard.h).
MUTANT_T := unit/hostagent/vhost unit/hostagent/engine unit/fabric/rt unit/fabric/aead unit/fabric/vqt unit/appliance/block unit/appliance/device unit/appliance/switch
mutants: ## remove each guard in turn: a test has to notice; M= picks
	$(Q)for t in $(MUTANT_T); do $(MAKE) --no-print-directory CC='$(CC) -DOUTRIGGER_MUTANTS' VARIANT=$(VARIANT)-mutants T=$$t unit-build || exit 1; done
	$(Q)$(MAKE) --no-print-directory CC='$(CC) -DOUTRIGGER_MUTANTS' VARIANT=$(VARIANT)-mutants build/$(VARIANT)-mutants/bin/sim-product build/$(VARIANT)-mutants/bin/sim-vqt
	$(Q)tests/sim/mutants build/$(VARIANT)-mutants $(M)
