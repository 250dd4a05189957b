# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/link/dpdk,fabric/base fabric/buf fabric/link fabric/dpdk,libdpdk,))
EXTRA_ALL += $(B)/fabric/link/dpdk/fabric.bpf.o
