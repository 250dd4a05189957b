# SPDX-License-Identifier: Apache-2.0
# The simulator. This folder is the world (clock, events, links); each scenario is a folder beneath it with a main.c:
#
#	$(eval $(call room,tests/sim/NAME,tests/sim ROOMS,,))
#	$(eval $(call sim,NAME,ARGUMENTS OF ITS SLICE IN make sim))
#
# gives $(B)/bin/sim-NAME and adds the slice to `make sim`, which `make check` runs.
$(eval $(call room,tests/sim,fabric/base,,))

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
$(eval $(call sim,rt,--packets 20000 --seeds $(if $(SAN),80,400)))

$(eval $(call room,tests/sim/product,tests/sim fabric/base fabric/buf fabric/aead fabric/rt fabric/vqt appliance/switch appliance/block appliance/bdev appliance/device,,))
$(eval $(call sim,product,--seeds $(if $(SAN),10,100)))
# The one core of its room, without the rest.
$(B)/bin/sim-product: $(B)/appliance/hosts/attach.o

sim: $(SIM_SLICES)
