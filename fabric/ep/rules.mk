# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/ep,fabric/base fabric/buf fabric/rt fabric/link proto/wire,,))
