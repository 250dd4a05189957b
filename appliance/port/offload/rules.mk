# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/port/offload,fabric/base fabric/buf,,core))
