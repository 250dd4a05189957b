# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/dataplane,fabric/base fabric/buf fabric/ep fabric/vqt fabric/link/verbs appliance/switch appliance/device appliance/bdev appliance/port appliance/port/offload,libdpdk libcrypto,))
