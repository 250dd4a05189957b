# SPDX-License-Identifier: Apache-2.0
# Helpers of tests; every unit test may use them.
$(eval $(call room,tests/lib,fabric/base fabric/link/verbs appliance/bdev hostagent/vhost,,))
