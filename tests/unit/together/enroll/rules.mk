# SPDX-License-Identifier: Apache-2.0
# A test of two rooms that know each other only on the wire: the agent's enrolment and the appliance's API.
$(eval $(call room,together/enroll,hostagent/control appliance/control,,))
$(B)/tests/unit/together/enroll/test_enroll.o: | $(API_H)
