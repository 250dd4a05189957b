# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/func/disk_guest,fabric/base tests/lib,,))
$(eval $(call prog,disk_guest,tests/func/disk_guest))
