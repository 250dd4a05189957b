# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/port,fabric/base fabric/buf fabric/dpdk appliance/port/offload,libdpdk,))
