/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Create, Update and Delete of any resource: one change at a time.
 *
 *	prepare -> storage -> store -> model -> apply --ok--> after -> answer
 *	                                          `--refused--> store, model, storage back -> apply -> answer
 */
#include "appliance/control/api_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "appliance/control/field.h"
#include "fabric/base/log.h"

struct op {
	struct list link; /* in api->queue */
	struct api *api;  /* NULL: gone while apply was under way */
	struct connect_call *call;
	const struct connect_method *method;
	const ProtobufCMessage *req; /* the call's */
	struct change chg;
	struct api_err err;
	bool reverting;
	bool made; /* the volume's data is new with this change, not adopted */
};

static void pump(struct api *a);

static int prepare(struct op *op)
{
	struct model *m = op->api->cfg.model;
	enum kind k = (enum kind)op->method->arg;
	const ProtobufCMessage *in;

	if (op->method->name[0] == 'D') {
		/* Every Delete*Request is laid out alike. */
		const Outrigger__V1__DeleteHostRequest *del = (const void *)op->req;

		return model_prepare_delete(m, k, del->name, del->revision, &op->chg, &op->err);
	}
	in = req_message(op->req, 1);
	if (!in)
		return api_fail(&op->err, API_INVALID_ARGUMENT, "%s: is missing",
				op->req->descriptor->fields[0].name);
	if (op->method->name[0] == 'C')
		return model_prepare_create(m, k, in, &op->chg, &op->err);
	return model_prepare_update(m, k, in, req_string(op->req, 2), &op->chg, &op->err);
}

static int create_volume(struct op *op, const Outrigger__V1__Volume *v)
{
	const struct volume_ops *vo = &op->api->cfg.volumes;
	struct volume_bytes b;
	int rc = vo->create(vo->ctx, v->pool, v->name, v->size_bytes);

	op->made = rc == 0;
	if (rc == -EEXIST) {
		/* Left by a crash between making it and storing it: the same wish adopts it. */
		rc = vo->stat(vo->ctx, v->pool, v->name, &b);
		if (rc == 0 && b.size != v->size_bytes)
			return api_fail(
				&op->err, API_FAILED_PRECONDITION,
				"name: storage-pool \"%s\" already holds data of that name, of %llu bytes",
				v->pool, (unsigned long long)b.size);
	}
	if (rc == -ENOSPC)
		return api_fail(&op->err, API_FAILED_PRECONDITION,
				"size_bytes: does not fit in storage-pool \"%s\"", v->pool);
	if (rc)
		return api_fail(&op->err, API_UNAVAILABLE, "storage-pool \"%s\": %s", v->pool, strerror(-rc));
	return 0;
}

static int grow_volume(struct op *op, const Outrigger__V1__Volume *before, const Outrigger__V1__Volume *after)
{
	const struct volume_ops *vo = &op->api->cfg.volumes;
	int rc = before->size_bytes == after->size_bytes
			 ? 0
			 : vo->resize(vo->ctx, after->pool, after->name, after->size_bytes);

	return rc ? api_fail(&op->err, rc == -ENOSPC ? API_FAILED_PRECONDITION : API_UNAVAILABLE,
			     "size_bytes: storage-pool \"%s\": %s", after->pool, strerror(-rc))
		  : 0;
}

/* What must exist before the store may say that it does. */
static int storage_before(struct op *op)
{
	const struct volume_ops *vo = &op->api->cfg.volumes;
	const void *before = op->chg.before, *after = op->chg.after;
	char why[256] = "";
	int rc;

	if (!after)
		return 0;
	if (op->chg.kind == KIND_VOLUME && vo->create)
		return before ? grow_volume(op, before, after) : create_volume(op, after);
	if (op->chg.kind != KIND_POOL || before || !vo->pool_open)
		return 0;
	rc = vo->pool_open(vo->ctx, after, why, sizeof(why));
	return rc ? api_fail(&op->err, API_FAILED_PRECONDITION, "kind: the pool cannot be opened: %s",
			     why[0] ? why : strerror(-rc))
		  : 0;
}

/* What goes when an object is gone. */
static void storage_gone(struct api *a, enum kind k, const ProtobufCMessage *obj)
{
	const struct volume_ops *vo = &a->cfg.volumes;
	const Outrigger__V1__Volume *v = (const void *)obj;
	int rc;

	if (k == KIND_POOL && vo->pool_close)
		vo->pool_close(vo->ctx, obj_name(obj));
	if (k != KIND_VOLUME || !vo->remove)
		return;
	rc = vo->remove(vo->ctx, v->pool, v->name);
	if (rc)
		log_warn("storage-pool %s: the data of deleted volume %s stays: %s", v->pool, v->name,
			 strerror(-rc));
}

/* A Create that came to nothing. Data that was there before it stays; a volume that grew stays grown: nothing
 * refers to the new bytes. */
static void storage_back(struct op *op)
{
	if (op->chg.after && !op->chg.before && (op->made || op->chg.kind != KIND_VOLUME))
		storage_gone(op->api, op->chg.kind, op->chg.after);
}

/* For the log: a refused change has no name of its own any more, and what was asked for may not be one. */
static const char *wanted_name(const struct op *op)
{
	const ProtobufCMessage *in = op->method->name[0] == 'D' ? NULL : req_message(op->req, 1);
	const char *name = in ? obj_name(in) : op->method->name[0] == 'D' ? req_string(op->req, 1) : "";

	return resource_name_ok(name) ? name : "?";
}

static void answer(struct op *op)
{
	struct connect_call *call = op->call;

	log_info("api: %s %s by %s: %s%s%s", op->method->name, wanted_name(op), connect_caller(call),
		 api_code_name(op->err.code), op->err.code ? ": " : "", op->err.msg);
	op->call = NULL;
	if (op->err.code) {
		connect_fail(call, &op->err);
	} else if (op->chg.after) {
		api_answer_object(op->api, call, op->chg.kind, op->chg.name);
	} else {
		Outrigger__V1__DeleteHostResponse none = OUTRIGGER__V1__DELETE_HOST_RESPONSE__INIT;

		connect_reply(call, &none.base); /* every Delete*Response is empty */
	}
}

static void finish(struct op *op)
{
	struct api *a = op->api;

	answer(op);
	change_clear(&op->chg);
	free(op);
	a->running = NULL;
	pump(a);
}

static void on_applied(void *arg, int err, const char *msg);

static void apply(struct op *op)
{
	struct api *a = op->api;
	int rc = a->cfg.ops.apply ? a->cfg.ops.apply(a->cfg.ops.ctx, a->cfg.model, on_applied, op) : 0;

	if (!a->cfg.ops.apply || rc < 0)
		on_applied(op, rc, rc ? strerror(-rc) : NULL);
}

/* Puts store and model back; on failure the change stays as it is stored, and says so. */
static void revert(struct op *op)
{
	struct api *a = op->api;
	struct change back;
	int rc = change_invert(&op->chg, &back);

	if (!rc) {
		rc = store_change(a->cfg.store, &back);
		if (rc)
			change_clear(&back);
	}
	if (rc) {
		log_err("api: %s %s was refused by the data plane and cannot be taken back: %s",
			op->method->name, op->chg.name, store_error(a->cfg.store));
		finish(op);
		return;
	}
	model_commit(a->cfg.model, &back);
	change_clear(&back);
	op->reverting = true;
	apply(op);
}

static void on_applied(void *arg, int err, const char *msg)
{
	struct op *op = arg;
	struct api *a = op->api;

	if (!a) {
		change_clear(&op->chg);
		free(op);
		return;
	}
	if (op->reverting) {
		storage_back(op);
		finish(op);
		return;
	}
	if (err) {
		api_fail(&op->err, API_FAILED_PRECONDITION, "%s", msg && msg[0] ? msg : strerror(abs(err)));
		revert(op);
		return;
	}
	if (!op->chg.after) {
		storage_gone(a, op->chg.kind, op->chg.before);
		if (op->chg.kind == KIND_HOST && a->cfg.ops.host_revoked)
			a->cfg.ops.host_revoked(a->cfg.ops.ctx, op->chg.name);
	}
	finish(op);
}

static void run(struct op *op)
{
	struct api *a = op->api;
	int rc;

	if (prepare(op) || storage_before(op)) {
		finish(op);
		return;
	}
	rc = store_change(a->cfg.store, &op->chg);
	if (rc) {
		api_fail(&op->err, API_UNAVAILABLE, "the store cannot be written, nothing has changed: %s",
			 store_error(a->cfg.store));
		storage_back(op);
		finish(op);
		return;
	}
	model_commit(a->cfg.model, &op->chg);
	apply(op);
}

/* Not by recursion: a client may send many changes that each finish at once. */
static void pump(struct api *a)
{
	if (a->pumping)
		return;
	a->pumping = true;
	while (!a->running && !list_empty(&a->queue)) {
		a->running = container_of(list_pop(&a->queue), struct op, link);
		run(a->running);
	}
	a->pumping = false;
}

API_HANDLER(api_change)
{
	struct api *a = ctx;
	struct op *op = calloc(1, sizeof(*op));

	if (!op) {
		api_answer_error(call, API_UNAVAILABLE, "out of memory");
		return;
	}
	op->api = a;
	op->call = call;
	op->method = m;
	op->req = req;
	list_add_tail(&a->queue, &op->link);
	pump(a);
}

static void abandon(struct op *op)
{
	api_answer_error(op->call, API_UNAVAILABLE, "the appliance is shutting down");
	op->call = NULL;
	op->api = NULL;
}

void api_free(struct api *a)
{
	if (!a)
		return;
	if (a->running)
		abandon(a->running);
	while (!list_empty(&a->queue)) {
		struct op *op = container_of(list_pop(&a->queue), struct op, link);

		abandon(op);
		free(op);
	}
	free(a);
}
