/* SPDX-License-Identifier: Apache-2.0 */
#include "appliance/hosts/lane_balance.h"

int lane_balance(const unsigned *busy, unsigned n, const struct lane_device *devs, unsigned ndevs,
		 unsigned *to)
{
	unsigned hot = 0, cold = 0, best;
	uint64_t all = 0;
	int found = -1;

	for (unsigned i = 1; i < n; i++) {
		hot = busy[i] > busy[hot] ? i : hot;
		cold = busy[i] < busy[cold] ? i : cold;
	}
	if (n < 2 || busy[hot] < LANE_HOT_PERMILLE || busy[hot] - busy[cold] < LANE_GAP_PERMILLE)
		return -1;
	for (unsigned i = 0; i < ndevs; i++)
		all += devs[i].lane == hot ? devs[i].work : 0;
	best = busy[hot] - LANE_GAIN_PERMILLE;
	for (unsigned i = 0; i < ndevs; i++) {
		unsigned share, a, b;

		if (devs[i].lane != hot || devs[i].fixed || !devs[i].work)
			continue;
		share = (unsigned)((double)devs[i].work / (double)all * busy[hot]);
		a = busy[hot] - share;
		b = busy[cold] + share;
		if ((a > b ? a : b) > best)
			continue;
		best = (a > b ? a : b) - 1;
		found = (int)i;
	}
	*to = cold;
	return found;
}
