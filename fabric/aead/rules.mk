# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/aead,fabric/base,libcrypto,))
