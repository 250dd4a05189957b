# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/link,fabric/base fabric/buf,,))
