# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance,fabric/base fabric/link fabric/link/dpdk fabric/link/verbs appliance/control appliance/hosts appliance/storage appliance/dataplane appliance/port,libevent libssl libcrypto,))
$(eval $(call prog,outriggerd,appliance))

EXTRA_ALL += $(B)/man/outriggerd.8
$(B)/man/%.8: appliance/%.8.scd
	$(call say,MAN,$@)mkdir -p $(@D) && scdoc <$< >$@
