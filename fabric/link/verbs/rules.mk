# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/link/verbs,fabric/base fabric/buf fabric/link,libibverbs,))
