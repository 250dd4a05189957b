# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/rt,fabric/base fabric/buf fabric/aead proto/wire,,core))
