# SPDX-License-Identifier: Apache-2.0
proto/session_GEN := $(B)/gen/proto/session/session.pb-c.c
$(B)/proto/session/session.o: $(B)/gen/proto/session/session.pb-c.h
$(B)/proto/session/rdma.o: $(B)/gen/proto/session/session.pb-c.h
$(eval $(call room,proto/session,fabric/chan fabric/link/verbs,libprotobuf-c,))
