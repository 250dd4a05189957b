# SPDX-License-Identifier: Apache-2.0
# Outrigger: one non-recursive Makefile. Each room has a rules.mk of a few lines.
# `make help` lists what can be typed.

SAN ?=
CC ?= gcc
V ?=
ifeq ($(origin CC),default)
CC := gcc
endif
comma := ,
VARIANT := $(notdir $(CC))$(if $(SAN),-$(subst $(comma),-,$(SAN)))$(if $(COVERAGE),-coverage)
# `make bench B=transport`: what is given as B picks a benchmark, the build directory is never given.
BENCH := $(if $(filter command line,$(origin B)),$(B))
override B := build/$(VARIANT)
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)';)

VERSION := $(shell git describe --always --dirty --tags 2>/dev/null || echo unknown)

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla
# Cores add -Wconversion (room flag "core").
CFLAGS_ALL := -std=gnu11 -O2 -g -fno-strict-aliasing -fno-common -D_GNU_SOURCE $(WARN) -Werror -I. -I$(B)/gen
LDFLAGS_ALL :=
ifneq ($(SAN),)
CFLAGS_ALL += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS_ALL += -fsanitize=$(SAN)
endif
ifneq ($(COVERAGE),)
CFLAGS_ALL += --coverage
LDFLAGS_ALL += --coverage
endif

all: # the default goal; its prerequisites come from the rooms

ROOMS :=
PROGS :=

# $(call room,DIR,ROOMS IT LINKS WITH,PKG-CONFIG PACKAGES,FLAGS): all *.c of DIR become one archive.
# FLAGS: "core" turns -Wconversion on.
define room
ROOMS += $(1)
$(1)_SRCS := $$(wildcard $(1)/*.c) $$($(1)_GEN)
$(1)_OBJS := $$(patsubst %.c,$(B)/%.o,$$(patsubst $(B)/gen/%,gen/%,$$($(1)_SRCS)))
$(1)_LIB := $(B)/lib/$(subst /,-,$(1)).a
$(1)_NEEDS := $(2)
$(1)_PKGS := $(3)
$(1)_FLAGS := $(4)
$$($(1)_LIB): $$($(1)_OBJS)
$$($(1)_OBJS): ROOM := $(1)
$$($(1)_OBJS): ROOM_CFLAGS := $(if $(filter core,$(4)),-Wconversion -Wno-sign-conversion)
endef

# Everything a set of rooms links with, transitively, without repeats.
closure = $(if $(strip $(1)),$(call closure_,$(sort $(1)),$(sort $(1) $(foreach r,$(1),$($(r)_NEEDS)))))
closure_ = $(if $(filter-out $(1),$(2)),$(call closure,$(2)),$(2))
libs_of = $(foreach r,$(call closure,$(1)),$($(r)_LIB))
pkgs_of = $(sort $(foreach r,$(call closure,$(1)),$($(r)_PKGS)))
# Package flags, asked once per package.
pkg_cflags = $(foreach p,$(1),$(or $(cfl_$(p)),$(eval cfl_$(p) := $(or $(shell pkg-config --cflags $(p)),-I.))$(cfl_$(p))))
pkg_libs = $(foreach p,$(1),$(or $(lib_$(p)),$(eval lib_$(p) := $(shell pkg-config --libs $(p)))$(lib_$(p))))

# $(call prog,NAME,DIR WITH main.c AS A ROOM): a daemon or tool in $(B)/bin.
define prog
PROGS += $(B)/bin/$(1)
PROG_ROOMS += $(1):$(2)
endef
# After all rules.mk are read: a program may need rooms whose names sort behind its own.
define prog_rule
$(B)/bin/$(1): $$(call libs_of,$(2))
	$$(call say,LD,$$@)mkdir -p $$(@D) && $$(CC) $$(LDFLAGS_ALL) -o $$@ -Wl,--start-group $$^ -Wl,--end-group $$(call pkg_libs,$$(call pkgs_of,$(2))) -lpthread
endef

include $(sort $(shell find fabric proto appliance hostagent tests -name rules.mk))
$(foreach p,$(PROG_ROOMS),$(eval $(call prog_rule,$(firstword $(subst :, ,$(p))),$(lastword $(subst :, ,$(p))))))

$(B)/%.o: %.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) $(CFLAGS_ALL) $(ROOM_CFLAGS) -DOUTRIGGER_VERSION='"$(VERSION)"' $(call pkg_cflags,$(call pkgs_of,$(ROOM))) -MMD -MP -c -o $@ $<

$(B)/gen/%.o: $(B)/gen/%.c
	$(call say,CC,$<)mkdir -p $(@D) && $(CC) -std=gnu11 -O2 -g -I$(B)/gen $(filter -fsanitize% -fno-sanitize%,$(CFLAGS_ALL)) -MMD -MP -c -o $@ $<

$(B)/lib/%.a:
	$(call say,AR,$@)mkdir -p $(@D) && rm -f $@ && ar rcsD $@ $(filter %.o,$^)

# protobuf-c: proto/x/y.proto -> $(B)/gen/proto/x/y.pb-c.{c,h}
$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	$(call say,PROTOC,$<)mkdir -p $(@D) && protoc-c --c_out=$(B)/gen $<

# BPF objects (XDP for a fabric port, tc for the test world): x.bpf.c -> $(B)/x.bpf.o
$(B)/%.bpf.o: %.bpf.c
	$(call say,BPF,$<)mkdir -p $(@D) && clang -O2 -g -target bpf -I/usr/include/$(shell uname -m)-linux-gnu -Wall -Werror -c -o $@ $<

all: $(PROGS) $(EXTRA_ALL)

.PHONY: all help install clean unit unit-build
.DELETE_ON_ERROR:
.SECONDARY:

# Unit tests mirror the tree: tests/unit/<room>/test_*.c links with <room>, tests/lib and cmocka.
UNIT_SRCS := $(sort $(shell find tests/unit -name 'test_*.c' 2>/dev/null))
UNIT_BINS := $(patsubst %.c,$(B)/%,$(UNIT_SRCS))
unit_room = $(patsubst tests/unit/%/,%,$(dir $(1)))
define unit_rule
$(B)/$(1:.c=.o): ROOM := $(call unit_room,$(1))
$(B)/$(1:.c=): $(B)/$(1:.c=.o) $$(call libs_of,$(call unit_room,$(1)) $$(if $$(tests/lib_LIB),tests/lib))
	$$(call say,LD,$$@)$$(CC) $$(LDFLAGS_ALL) -o $$@ -Wl,--start-group $$^ -Wl,--end-group $$(call pkg_libs,$$(call pkgs_of,$(call unit_room,$(1)) $$(if $$(tests/lib_LIB),tests/lib)) cmocka) -lpthread
endef
$(foreach t,$(UNIT_SRCS),$(eval $(call unit_rule,$(t))))

T ?=
UNIT_PICK = $(foreach u,$(UNIT_BINS),$(if $(findstring $(T),$(u)),$(u),$(if $(T),,$(u))))
unit-build: $(UNIT_PICK)
unit: unit-build ## unit tests; T=rt runs one room's
	$(Q)tests/run-unit $(UNIT_PICK)

DESTDIR ?=
PREFIX ?= /usr
install: all ## into DESTDIR, under PREFIX (/usr): daemons, CLI, manuals, units
	$(Q)install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/outrigger \
		$(DESTDIR)$(PREFIX)/lib/systemd/system $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions $(DESTDIR)$(PREFIX)/share/outrigger/api $(DESTDIR)/etc/default
	$(Q)install -m 755 $(B)/bin/outriggerd $(B)/bin/outrigger-agent $(DESTDIR)$(PREFIX)/sbin/
	$(Q)install -m 755 $(B)/bin/outriggerctl $(DESTDIR)$(PREFIX)/bin/
	$(Q)install -m 644 $(B)/fabric/link/dpdk/fabric.bpf.o $(DESTDIR)$(PREFIX)/lib/outrigger/
	$(Q)install -m 644 $(B)/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	$(Q)install -m 644 $(B)/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	$(Q)install -m 644 $(B)/completions/outriggerctl $(DESTDIR)$(PREFIX)/share/bash-completion/completions/
	$(Q)install -m 644 proto/api/outrigger.proto $(DESTDIR)$(PREFIX)/share/outrigger/api/
	$(Q)install -m 644 images/systemd/*.service $(DESTDIR)$(PREFIX)/lib/systemd/system/
	$(Q)for d in outriggerd outrigger-agent; do \
		[ -e $(DESTDIR)/etc/default/$$d ] || install -m 644 images/systemd/$$d.default $(DESTDIR)/etc/default/$$d; done

help: ## this list
	@echo "Outrigger: make TARGET [VARIABLE=value]"; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile $(sort $(shell find fabric proto appliance hostagent tests -name rules.mk)) | sort | expand -t 16
	@echo; echo "  all             (default) build daemons, CLI and manuals into $(B)/"
	@echo; echo "Variables: V=1 (show commands)  CC=clang  SAN=address,undefined  T=part-of-a-test's-name"

clean: ## remove build/
	$(Q)rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
