# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,hostagent,fabric/base fabric/chan fabric/link/verbs hostagent/control,libevent libssl libcrypto,))
$(eval $(call prog,outrigger-agent,hostagent))

EXTRA_ALL += $(B)/man/outrigger-agent.8
$(B)/man/%.8: hostagent/%.8.scd
	$(call say,MAN,$@)mkdir -p $(@D) && scdoc <$< >$@
