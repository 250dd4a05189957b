# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent/engine,fabric/base fabric/ep fabric/vqt fabric/link fabric/link/verbs hostagent/frontend,libevent libcrypto,))
