# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets. `make fuzz TIME=60` runs each for that many seconds, `make fuzz-replay` runs each once over
# its tracked corpus (part of the checks); F=wire picks by name.
#
# To add a target:
#   1. tests/fuzz/fuzz_NAME.c with LLVMFuzzerTestOneInput(). Its first lines name the rooms it links with
#      (what those need follows by itself), and other packages if the harness itself wants some:
#          /* fuzz-rooms: fabric/rt fabric/aead */
#          /* fuzz-pkgs: libprotobuf-c */
#   2. tests/fuzz/corpus/NAME/: a few small inputs, tracked. A crash that was fixed leaves its input there.
#   3. `make fuzz-replay F=NAME`, then `make fuzz F=NAME TIME=60`. What the fuzzer finds by itself is kept
#      under build/fuzz/corpus/NAME, not in the tree.
# Everything is built by clang with -fsanitize=fuzzer,address,undefined under build/fuzz/, apart from the other variants.

TIME ?= 60
F ?=
FUZZ_B := build/fuzz
FUZZ_CC := clang
FUZZ_NAMES := $(patsubst tests/fuzz/fuzz_%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_PICK = $(foreach n,$(FUZZ_NAMES),$(if $(F),$(if $(findstring $(F),$(n)),$(n)),$(n)))
FUZZ_CFLAGS := -std=gnu11 -O1 -g -fno-strict-aliasing -D_GNU_SOURCE $(WARN) -I. -I$(FUZZ_B)/gen \
	-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -DOUTRIGGER_VERSION='"fuzz"'

fuzz_tag = $(shell sed -n 's,^/\* $(2): *\(.*\) \*/,\1,p' tests/fuzz/fuzz_$(1).c)
fuzz_rooms = $(call closure,$(call fuzz_tag,$(1),fuzz-rooms))
# Objects of a room, generated sources included.
fuzz_objs = $(foreach r,$(1),$(patsubst %.c,$(FUZZ_B)/%.o,$(patsubst $(B)/gen/%,gen/%,$($(r)_SRCS))))

FUZZ_PB := $(patsubst %.proto,$(FUZZ_B)/gen/%.pb-c.h,$(wildcard proto/*/*.proto))

$(FUZZ_B)/%.o: %.c | $(FUZZ_PB)
	$(call say,CC,$@)mkdir -p $(@D) && $(FUZZ_CC) $(FUZZ_CFLAGS) $(call pkg_cflags,$(FUZZ_PKGS)) -MMD -MP -c -o $@ $<

$(FUZZ_B)/gen/%.o: $(FUZZ_B)/gen/%.c
	$(call say,CC,$@)mkdir -p $(@D) && $(FUZZ_CC) -std=gnu11 -O1 -g -I$(FUZZ_B)/gen -fsanitize=address -MMD -MP -c -o $@ $<

$(FUZZ_B)/gen/%.pb-c.c $(FUZZ_B)/gen/%.pb-c.h: %.proto
	$(call say,PROTOC,$<)mkdir -p $(@D) && protoc-c --c_out=$(FUZZ_B)/gen $<

# All rules.mk files must have been read before a closure can be taken: recipes and second expansion see to it.
.SECONDEXPANSION:
$(FUZZ_NAMES:%=$(FUZZ_B)/fuzz_%): $(FUZZ_B)/fuzz_%: $$(FUZZ_B)/tests/fuzz/fuzz_$$*.o $$(call fuzz_objs,$$(call fuzz_rooms,$$*))
	$(call say,LD,$@)$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $^ \
		$(call pkg_libs,$(call pkgs_of,$(call fuzz_rooms,$*)) $(call fuzz_tag,$*,fuzz-pkgs)) -lpthread

# Flags of every package any target wants; generated headers first.
FUZZ_PKGS = $(sort $(foreach n,$(FUZZ_NAMES),$(call pkgs_of,$(call fuzz_rooms,$(n))) $(call fuzz_tag,$(n),fuzz-pkgs)))

.PHONY: fuzz fuzz-build fuzz-replay
fuzz-build: $$(addprefix $$(FUZZ_B)/fuzz_,$$(FUZZ_PICK))

fuzz: fuzz-build ## run each fuzz target TIME seconds; F=wire picks
	$(Q)for n in $(FUZZ_PICK); do \
		mkdir -p $(FUZZ_B)/corpus/$$n && \
		$(FUZZ_B)/fuzz_$$n -max_total_time=$(TIME) -print_final_stats=1 -artifact_prefix=$(FUZZ_B)/$$n- \
			$(FUZZ_B)/corpus/$$n $$(ls -d tests/fuzz/corpus/$$n 2>/dev/null) || exit 1; \
	done

fuzz-replay: fuzz-build ## run each fuzz target over its tracked corpus
	$(Q)n=0; for f in $(FUZZ_PICK); do \
		$(FUZZ_B)/fuzz_$$f $$(find tests/fuzz/corpus/$$f -type f | sort) >$(FUZZ_B)/$$f.log 2>&1 || \
			{ tail -n 40 $(FUZZ_B)/$$f.log; echo "fuzz: $$f fails on its corpus"; exit 1; }; \
		n=$$((n + 1)); \
	done; echo "fuzz: $$n passed, 0 failed"
