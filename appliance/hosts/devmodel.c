/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices as the model has them: made, changed, removed, freed.
 *
 * A change that the guest would see as another device (its MAC, queues, front-end ...) is made as
 * remove and create: the new one waits until the old one has let go everything.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/hosts/hosts_impl.h"

struct hdev *device_find(struct hosts *h, enum kind kind, const char *name)
{
	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (d->kind == kind && !d->removed && !strcmp(d->name, name))
			return d;
	}
	return NULL;
}

bool device_free_if_done(struct hdev *d)
{
	if (!d->freed || d->letters || publish_names(d->h, d))
		return false;
	if (d->joined) {
		device_leave(d);
		return false;
	}
	list_del(&d->node);
	d->h->nremoved -= d->removed;
	d->h->slots[d->slot] = NULL;
	vnic_destroy(d->vnic);
	vdisk_destroy(d->vdisk);
	if (d->bdev)
		storage_release(d->h->cfg.storage, d->bdev);
	event_free(d->late);
	free(d->remote);
	free(d);
	return true;
}

static struct hdev *device_new(struct hosts *h, enum kind kind, const char *name, const char *uid,
			       const char *shape)
{
	struct hdev *d = calloc(1, sizeof(*d));
	unsigned slot = 1;

	while (slot <= DEVICES_MAX && h->slots[slot])
		slot++;
	if (d) {
		d->h = h;
		d->late = device_timer(d);
	}
	if (!d || slot > DEVICES_MAX || !d->late) {
		if (d && d->late)
			event_free(d->late);
		free(d);
		return NULL;
	}
	d->kind = kind;
	d->slot = (uint16_t)slot;
	snprintf(d->name, sizeof(d->name), "%s", name);
	snprintf(d->uid, sizeof(d->uid), "%s", uid);
	snprintf(d->shape, sizeof(d->shape), "%s", shape);
	d->lane = LANES;
	attach_init(&d->a);
	h->slots[slot] = d;
	list_add_tail(&h->devs, &d->node);
	return d;
}

static const char *host_of(const struct model *m, const char *profile)
{
	const Outrigger__V1__Profile *p = model_profile(m, profile);

	return p ? p->host : "";
}

static enum rt_rel reliability(Outrigger__V1__Reliability r)
{
	switch (r) {
	case OUTRIGGER__V1__RELIABILITY__RELIABILITY_NONE:
		return RT_REL_NONE;
	case OUTRIGGER__V1__RELIABILITY__RELIABILITY_FULL:
		return RT_REL_FULL;
	default:
		return RT_REL_BOUNDED;
	}
}

static void place(struct hdev *d, const struct model *m, const char *profile, uint32_t io_thread)
{
	const char *host = host_of(m, profile);

	if (strcmp(d->host, host))
		d->lane = LANES;
	snprintf(d->host, sizeof(d->host), "%s", host);
	d->io_thread = (uint8_t)io_thread;
}

static int apply_vnic(struct hosts *h, const struct model *m, const Outrigger__V1__VNic *v)
{
	struct hdev *d = device_find(h, KIND_VNIC, v->name);
	bool tap = v->frontend == OUTRIGGER__V1__VNIC_FRONTEND__VNIC_FRONTEND_TAP;
	bool up = v->admin_state != OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	enum rt_rel rel = reliability(v->reliability);
	char shape[256];

	snprintf(shape, sizeof(shape), "%s %s %u %u %d %s", v->uid, v->mac, v->mtu, v->queues, tap,
		 v->tap_name);
	if (d && strcmp(d->shape, shape)) {
		device_remove(d);
		d = NULL;
	}
	if (!d) {
		d = device_new(h, KIND_VNIC, v->name, v->uid, shape);
		if (!d)
			return -ENOSPC;
		d->rel = rel;
		d->tap = tap;
		snprintf(d->tap_name, sizeof(d->tap_name), "%s", v->tap_name);
		d->vcfg = (struct vnic_cfg){.port = d->slot, .mtu = v->mtu, .pairs = v->queues};
		for (int i = 0; i < 6; i++)
			d->vcfg.mac[i] = (uint8_t)strtoul(v->mac + 3 * i, NULL, 16);
		d->vnic = vnic_create(&d->vcfg);
		if (!d->vnic) {
			device_remove(d);
			return -ENOMEM;
		}
		d->admin_up = up;
	}
	if (d->rel != rel) {
		d->rel = rel;
		device_reattach(d);
	}
	place(d, m, v->profile, v->io_thread);
	snprintf(d->network, sizeof(d->network), "%s", v->network);
	if (d->admin_up != up) {
		d->admin_up = up;
		device_say_configure(d); /* the guest sees its link go down or up */
	}
	return 0;
}

static int apply_vdisk(struct hosts *h, const struct model *m, const Outrigger__V1__VDisk *v)
{
	struct hdev *d = device_find(h, KIND_VDISK, v->name);
	const Outrigger__V1__Volume *vol = model_volume(m, v->volume);
	char shape[256];

	if (!vol)
		return -ENOENT;
	snprintf(shape, sizeof(shape), "%s %s %d %u %s", v->uid, v->volume, v->read_only, v->queues,
		 v->serial);
	if (d && strcmp(d->shape, shape)) {
		device_remove(d);
		d = NULL;
	}
	if (!d) {
		d = device_new(h, KIND_VDISK, v->name, v->uid, shape);
		if (!d)
			return -ENOSPC;
		snprintf(d->pool, sizeof(d->pool), "%s", vol->pool);
		snprintf(d->volume, sizeof(d->volume), "%s", v->volume);
		snprintf(d->serial, sizeof(d->serial), "%s", v->serial);
		d->read_only = v->read_only;
		d->queues = v->queues;
	}
	if (d->size && d->size != vol->size_bytes && d->vdisk)
		device_grown(d);
	d->size = vol->size_bytes;
	place(d, m, v->profile, v->io_thread);
	d->admin_up = v->admin_state != OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	return 0;
}

int devices_apply(struct hosts *h, const struct model *m, char *why, size_t why_size)
{
	int r = 0;

	list_for_each (it, &h->devs) {
		struct hdev *d = container_of(it, struct hdev, node);

		if (!d->removed && !model_get(m, d->kind, d->name))
			device_remove(d);
	}
	for (size_t i = 0; !r && i < model_count(m, KIND_VNIC); i++)
		r = apply_vnic(h, m, model_vnic_at(m, i));
	for (size_t i = 0; !r && i < model_count(m, KIND_VDISK); i++)
		r = apply_vdisk(h, m, model_vdisk_at(m, i));
	if (r == -ENOSPC)
		snprintf(why, why_size, "an appliance has room for %u devices, and all are taken",
			 DEVICES_MAX);
	else if (r)
		snprintf(why, why_size, "%s", strerror(-r));
	if (!r)
		devices_refresh(h);
	return r;
}
