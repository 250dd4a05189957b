# SPDX-License-Identifier: Apache-2.0
# Loaded into an appliance by LD_PRELOAD, so no room and no program.
PROGS += $(B)/bin/hostile.so
$(B)/bin/hostile.so: tests/func/hostile/hostile.c
	$(call say,LD,$@)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -g -Wall -Wextra -Werror -shared -fPIC -o $@ $< -libverbs
