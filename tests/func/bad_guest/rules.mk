# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/func/bad_guest,fabric/base tests/lib,,))
$(eval $(call prog,bad_guest,tests/func/bad_guest))
