# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/chan,fabric/base,libevent libevent_openssl libssl libcrypto,))
