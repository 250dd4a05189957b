# SPDX-License-Identifier: Apache-2.0
# The ring fuzzer is built with the sanitizers, apart from the other variants. N: chains, SEED: of the run.
$(eval $(call room,tests/fuzz/ring,fabric/base hostagent/vhost tests/lib,,))
$(eval $(call prog,fuzz-ring,tests/fuzz/ring))

RING_N = $(if $(filter command line,$(origin N)),$(N),2000000)
SEED ?= 1

.PHONY: fuzz-ring
fuzz-ring: ## N=2000000 chains of hostile guests, whose memory changes all the time, with sanitizers
	$(Q)$(MAKE) --no-print-directory SAN=address,undefined build/$(notdir $(CC))-address-undefined/bin/fuzz-ring
	$(Q)build/$(notdir $(CC))-address-undefined/bin/fuzz-ring $(RING_N) $(SEED)
	$(Q)echo 'fuzz-ring: 1 passed, 0 failed'
