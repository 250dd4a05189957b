# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,appliance/storage,fabric/base appliance/bdev appliance/control,libprotobuf-c,))
