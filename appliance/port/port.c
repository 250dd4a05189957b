/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/port/port.h"

COUNTERS_DEFINE(port, PORT_COUNTERS)
