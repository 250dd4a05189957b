# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent/control,fabric/base fabric/aead fabric/chan hostagent/engine proto/session proto/api,libevent libssl libcrypto libprotobuf-c,))
