# SPDX-License-Identifier: Apache-2.0
# The test world, the functional tests and the checks of the tree.

GUEST := build/cache/guest
WORLD_BPF := $(B)/tests/world/vlan.bpf.o
LINK ?= udp
KEEP ?=
PATHS ?= 1
N ?= 20
WORLD = LINK=$(LINK) KEEP=$(KEEP) PATHS=$(PATHS) BUILD=$(B) GUEST=$(GUEST)

EXTRA_ALL += $(WORLD_BPF)

.PHONY: deps run down test test-kill test-rdma func func-rings guest layers format check sim fuzz-replay

deps: ## install the Debian packages that are missing, and name them
	$(Q)sh tests/tools/deps

guest: ## the guest image: Debian's kernel, a busybox initramfs
	$(Q)tests/guests/mkguest $(GUEST)

# A fresh machine has no pkg-config when this file is read, so the build is a make of its own.
run: ## two VMs on two hosts through one appliance; LINK=dpdk, PATHS=2, KEEP=1
	$(Q)sh tests/tools/deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)$(WORLD) tests/world/run.py

down: ## remove a world that KEEP=1 left
	$(Q)tests/world/down.py

test-kill: ## N=20 rounds: kill -9 each daemon while a guest writes
	$(Q)sh tests/tools/deps
	$(Q)$(MAKE) --no-print-directory all guest
	$(Q)$(WORLD) tests/world/kill.py $(N)

func: all guest ## functional tests on real daemons; T= picks
	$(Q)$(WORLD) tests/func/run $(T)

test-rdma: all guest ## every functional test over RDMA, in two guests with rdma_rxe
	$(Q)$(WORLD) tests/func/run rdma

layers:
	$(Q)tests/tools/layers

format: ## clang-format, SPDX lines, white space
	$(Q)sh tests/tools/format

check: layers format ## no root, under a minute on a built tree
	$(Q)$(MAKE) --no-print-directory -j$$(nproc) --output-sync=target $(SIM_SLICES) fuzz-replay unit
	$(Q)tests/sim/counts $(SIM_SLICES:sim-slice-%=$(B)/sim-%.log)

func-rings: all guest ## packed and split rings, 1 and 4 queues, MTU 1500 and 9000: all eight, in guests
	$(Q)RINGS=all $(WORLD) tests/func/run rings

test: ## everything: check, then func (root, namespaces, guests)
	$(Q)sh tests/tools/deps
	$(Q)$(MAKE) --no-print-directory check
	$(Q)$(MAKE) --no-print-directory sim-trace
	$(Q)$(MAKE) --no-print-directory fuzz-ring
	$(Q)$(MAKE) --no-print-directory func
