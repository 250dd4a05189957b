# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,fabric/vqt,fabric/base fabric/buf fabric/rt,,core))
