# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/bench/vms,tests/lib hostagent/vhost fabric/base,,))
PROG_ROOMS += bench_vms:tests/bench/vms
bench: $(B)/bin/bench_vms
