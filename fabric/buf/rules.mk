# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/buf,fabric/base,,core))
