# SPDX-License-Identifier: Apache-2.0
# Loaded into an agent by LD_PRELOAD, so no room and no program.
PROGS += $(B)/bin/canary.so
$(B)/bin/canary.so: tests/func/canary/canary.c
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -shared -fPIC -o $@ $< -lpthread
