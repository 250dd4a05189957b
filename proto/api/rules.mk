# SPDX-License-Identifier: Apache-2.0
proto/api_GEN := $(B)/gen/proto/api/outrigger.pb-c.c
$(eval $(call room,proto/api,,libprotobuf-c,))
# Whoever includes "proto/api/outrigger.pb-c.h" makes its objects wait for it:
#   $(appliance/cli_OBJS): | $(API_H)
API_H := $(B)/gen/proto/api/outrigger.pb-c.h
