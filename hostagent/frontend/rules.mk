# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent/frontend,fabric/base fabric/vqt hostagent/vhost,libevent,))
