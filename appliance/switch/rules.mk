# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/switch,fabric/base fabric/buf,,core))
