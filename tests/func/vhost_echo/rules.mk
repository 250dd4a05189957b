# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/func/vhost_echo,fabric/base hostagent/frontend,libevent,))
$(eval $(call prog,vhost_echo,tests/func/vhost_echo))
