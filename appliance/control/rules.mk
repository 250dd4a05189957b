# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/control,fabric/base fabric/chan proto/api proto/session,libevent libevent_openssl libssl libcrypto sqlite3 jansson libprotobuf-c,))
$(appliance/control_OBJS): | $(B)/gen/proto/api/outrigger.pb-c.h $(B)/gen/proto/session/session.pb-c.h
