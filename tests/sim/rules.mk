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
SIM_SLICES += sim-slice-$(1)
.PHONY: sim-slice-$(1)
sim-slice-$(1): $(B)/bin/sim-$(1)
	$$(Q)$(B)/bin/sim-$(1) $(2)
endef

.PHONY: sim
sim: ## the simulator's short slice

$(eval $(call room,tests/sim/rt,tests/sim fabric/base fabric/buf fabric/aead fabric/rt proto/wire,,))
# 8 M packets; a sanitizer costs a factor of five.
$(eval $(call sim,rt,--kept tests/sim/rt/seeds --packets 20000 --seeds $(if $(SAN),80,400)))

$(eval $(call room,tests/sim/product,tests/sim fabric/base fabric/buf fabric/aead fabric/rt fabric/vqt appliance/switch appliance/block appliance/bdev appliance/device,,))
$(eval $(call sim,product,--seeds $(if $(SAN),10,100)))
# The one core of a room and the one helper, without the rest.
$(B)/bin/sim-product: $(B)/appliance/hosts/attach.o $(B)/tests/lib/guard.o

sim: $(SIM_SLICES)

# Not in CI: all scenarios with many seeds, half an hour and more of one core. sim-rt: 6 000 worlds, 120 M packets,
# 30 M faults;
# sim-product: 10 000 worlds, 30 M requests, 330 M datagrams, 100 000 deaths, moves, resets and cuts. SEEDS= changes
# the number of worlds of each.
.PHONY: sim-long mutants
sim-long: $(B)/bin/sim-rt $(B)/bin/sim-product ## all scenarios of the simulator with many seeds
	$(Q)$(B)/bin/sim-rt --seed 100000 --seeds $(or $(SEEDS),6000) --packets 20000
	$(Q)$(B)/bin/sim-product --seed 100000 --seeds $(or $(SEEDS),10000)

# A build of its own, in which tests can remove guards (fabric/base/guard.h).
MUTANT_T := unit/fabric/rt unit/fabric/aead unit/fabric/vqt unit/appliance/block unit/appliance/device unit/appliance/switch
mutants: ## remove each guard in turn: a test has to notice; M= picks
	$(Q)for t in $(MUTANT_T); do $(MAKE) --no-print-directory CC='$(CC) -DOUTRIGGER_MUTANTS' VARIANT=$(VARIANT)-mutants T=$$t unit-build || exit 1; done
	$(Q)$(MAKE) --no-print-directory CC='$(CC) -DOUTRIGGER_MUTANTS' VARIANT=$(VARIANT)-mutants build/$(VARIANT)-mutants/bin/sim-product
	$(Q)tests/sim/mutants build/$(VARIANT)-mutants $(M)
