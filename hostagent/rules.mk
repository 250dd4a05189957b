# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent,fabric/base fabric/chan hostagent/control,libevent libssl libcrypto,))
$(eval $(call prog,outrigger-agent,hostagent))
