# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/tools/relay,fabric/base fabric/link,,))
$(eval $(call prog,relay,tests/tools/relay))
