# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/func/nic_guest,fabric/base tests/lib,,))
$(eval $(call prog,nic_guest,tests/func/nic_guest))
