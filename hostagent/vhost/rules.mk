# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent/vhost,fabric/base,,core))
