# SPDX-License-Identifier: Apache-2.0
proto/session_GEN := $(B)/gen/proto/session/session.pb-c.c
$(eval $(call room,proto/session,,libprotobuf-c,))
