# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/dpdk,fabric/base fabric/buf,libdpdk libbpf libxdp,))
