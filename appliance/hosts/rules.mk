# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/hosts,fabric/base fabric/ep fabric/chan proto/session appliance/control appliance/storage appliance/dataplane appliance/device appliance/port,libevent libssl libcrypto libdpdk libprotobuf-c,))
