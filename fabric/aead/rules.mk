# SPDX-License-Identifier: Apache-2.0
# libipsec-mb is used where it is installed; Debian ships no pkg-config file for it. `make IPSEC_MB=` builds without.
IPSEC_MB ?= $(shell echo '\#include <intel-ipsec-mb.h>' | $(CC) -E -o /dev/null - 2>/dev/null && echo ipsec-mb)
cfl_ipsec-mb := -DHAVE_IPSEC_MB
lib_ipsec-mb := -lIPSec_MB

$(eval $(call room,fabric/aead,fabric/base,libcrypto $(IPSEC_MB),))
