# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent/engine,fabric/base fabric/ep fabric/vqt fabric/link hostagent/frontend,libevent libcrypto,))
