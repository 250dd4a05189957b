# SPDX-License-Identifier: Apache-2.0
$(eval $(call room,tests/sim/vqt,tests/sim tests/lib fabric/base fabric/buf fabric/aead fabric/rt fabric/link fabric/vqt,,))
$(eval $(call sim,vqt,--seeds $(if $(SAN),5,15) --oracle $(if $(SAN),3,12)))
