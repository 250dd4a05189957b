# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/cli,fabric/base proto/api,libssl libcrypto jansson libprotobuf-c,))
$(appliance/cli_OBJS): | $(B)/gen/proto/api/outrigger.pb-c.h
$(eval $(call prog,outriggerctl,appliance/cli))

# The reference part of the manual page and the completion come from the program's own table.
CLI_EXTRAS := $(B)/man/outriggerctl.1 $(B)/completions/outriggerctl
EXTRA_ALL += $(CLI_EXTRAS)

$(B)/man/outriggerctl.1: appliance/cli/outriggerctl.1.scd $(B)/bin/outriggerctl
	$(call say,MAN,$@)mkdir -p $(@D) && $(B)/bin/outriggerctl completion scdoc >$@.ref && \
		sed -e '/^@REFERENCE@$$/{r $@.ref' -e 'd}' $< | scdoc >$@ && rm $@.ref

$(B)/completions/outriggerctl: $(B)/bin/outriggerctl
	$(call say,COMPL,$@)mkdir -p $(@D) && $(B)/bin/outriggerctl completion bash >$@
