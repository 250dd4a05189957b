/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>

#include "appliance/block/blk_fence.h"
#include "fabric/base/guard.h"

void blk_fence_init(struct blk_fence *f, uint64_t epoch)
{
	*f = (struct blk_fence){.epoch = epoch};
}

int blk_fence_claim(struct blk_fence *f, uint64_t owner, uint64_t *epoch)
{
	if (owner == 0)
		return -EINVAL;
	if (f->claimed)
		return -EALREADY;
	if (f->epoch == UINT64_MAX)
		return -EOVERFLOW;
	f->claimed = f->epoch + 1;
	f->claimant = owner;
	*epoch = f->claimed;
	return 0;
}

int blk_fence_confirm(struct blk_fence *f, uint64_t epoch)
{
	if (!f->claimed || epoch != f->claimed)
		return -EINVAL;
	f->epoch = f->claimed;
	f->owner = f->claimant;
	f->old += f->current;
	f->current = 0;
	blk_fence_cancel(f);
	return 0;
}

void blk_fence_cancel(struct blk_fence *f)
{
	f->claimed = 0;
	f->claimant = 0;
}

int blk_fence_release(struct blk_fence *f, uint64_t owner, uint64_t epoch)
{
	if (!owner || f->owner != owner || f->epoch != epoch)
		return -ESTALE;
	f->owner = 0;
	return 0;
}

int blk_fence_admit(struct blk_fence *f, uint64_t owner, uint64_t epoch)
{
	if (!GUARD(fence_owner, owner && f->owner == owner))
		return -EPERM;
	if (!GUARD(fence_epoch, f->epoch == epoch))
		return -ESTALE;
	if (!GUARD(fence_drain, !f->old))
		return -EAGAIN;
	f->current++;
	return 0;
}

bool blk_fence_end(struct blk_fence *f, uint64_t epoch)
{
	if (epoch != f->epoch) {
		assert(f->old > 0);
		f->old--;
		return false;
	}
	assert(f->current > 0);
	f->current--;
	return f->owner != 0;
}
