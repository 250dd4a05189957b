# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/device,fabric/base fabric/buf fabric/vqt appliance/block appliance/bdev appliance/port/offload,,))
