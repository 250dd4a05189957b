# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,proto/wire,fabric/base,,core))
