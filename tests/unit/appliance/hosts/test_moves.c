/* SPDX-License-Identifier: Apache-2.0 */
/* What is wanted changes, and devices follow: attached, moved, replaced, switched off, removed. */
#include "tests/unit/appliance/hosts/hosts_world.h"

#include <fcntl.h>
#include <sys/file.h>

static struct agent one, two;

static void before(void)
{
	make_host(&one, "one");
	make_host(&two, "two");
	make_profile("p", "one");
	make_profile("q", "two");
	make_vnic("v", "p");
	make_vdisk("d", "p", "mem");
}

static struct hdev *dev(enum kind k, const char *name)
{
	struct hdev *d = device_find(W.h, k, name);

	assert_non_null(d);
	return d;
}

static bool bound_to(enum kind k, const char *name, const struct agent *a)
{
	struct session *s = session_of_host(W.h, a->host);
	const struct hdev *d = dev(k, name);

	return s && d->a.state == ATTACH_BOUND && d->a.session == s->id;
}

static bool both_on(const struct agent *a)
{
	return bound_to(KIND_VNIC, "v", a) && bound_to(KIND_VDISK, "d", a) && agent_dev(a, "v") &&
	       agent_dev(a, "d");
}

static unsigned devices(void)
{
	unsigned n = 0;

	list_for_each (it, &W.h->devs)
		n++;
	return n;
}

static void both_live(void)
{
	agent_live(&one);
	agent_live(&two);
	WAIT(both_on(&one));
}

static void both_quit(void)
{
	agent_quit(&one);
	agent_quit(&two);
	WAIT(list_empty(&W.h->sessions));
}

static void a_profile_moves_with_everything_in_it(void **state)
{
	uint64_t epoch = 0, stored;

	(void)state;
	NEED_WORLD();
	both_live();
	for (int i = 0; i < 6; i++) {
		struct agent *from = i % 2 ? &two : &one, *to = i % 2 ? &one : &two;

		place_profile("p", to->host);
		apply_ok();
		WAIT(both_on(to));
		assert_int_equal(agent_dev(from, "v"), 0);
		assert_int_equal(agent_dev(from, "d"), 0);
		/* E2: the next owner's epoch is greater, and was durable before it could do anything. */
		assert_true(dev(KIND_VDISK, "d")->epoch > epoch);
		epoch = dev(KIND_VDISK, "d")->epoch;
		assert_int_equal(to->devs[agent_dev(to, "d")].epoch, epoch);
		assert_int_equal(store_epoch_get(control_store(W.ctl), "d-data", &stored), 0);
		assert_int_equal(stored, epoch);
	}
	both_quit();
}

/* Nobody is attached before the one before has let go. */
static void the_next_waits_for_the_last(void **state)
{
	(void)state;
	NEED_WORLD();
	both_live();
	one.deaf = true;
	place_profile("p", "two");
	begin_apply(control_model(W.ctl));
	WAIT(one.detaches == 2);
	settle(W.base, 50);
	assert_int_equal(two.attaches, 0);
	assert_false(W.applied);
	say_detached(&one, agent_dev(&one, "v"));
	memset(&one.devs[agent_dev(&one, "v")], 0, sizeof(one.devs[0]));
	WAIT(agent_dev(&two, "v"));
	assert_int_equal(agent_dev(&two, "d"), 0);
	/* The disk's detach is never answered: its timer ends the session, and that frees the disk. */
	event_active(dev(KIND_VDISK, "d")->late, EV_TIMEOUT, 0);
	WAIT(one.gone);
	WAIT(both_on(&two));
	WAIT(W.applied);
	place_profile("p", "one");
	apply_ok();
	agent_live(&one);
	WAIT(both_on(&one));
	both_quit();
}

static void a_profile_moves_away_from_a_host_that_is_down(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_live(&two);
	place_profile("p", "two");
	apply_ok();
	WAIT(both_on(&two));
	agent_quit(&two);
	place_profile("p", "one");
	apply_ok(); /* nobody there: nothing to wait for */
	agent_live(&one);
	assert_true(both_on(&one));
	/* A change of mind while an attach is under way. */
	for (int i = 0; i < 10; i++) {
		place_profile("p", i % 2 ? "one" : "");
		begin_apply(control_model(W.ctl));
		event_base_loop(W.base, EVLOOP_NONBLOCK);
		WAIT(W.applied);
	}
	WAIT(both_on(&one));
	agent_quit(&one);
}

static void an_agent_that_restarts_gets_everything_again(void **state)
{
	uint64_t epoch;

	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	for (int i = 0; i < 10; i++) {
		epoch = dev(KIND_VDISK, "d")->epoch;
		chan_close(one.chan);
		agent_connect(&one);
		say_hello(&one);
		WAIT(one.synced);
		assert_true(both_on(&one));
		assert_true(dev(KIND_VDISK, "d")->epoch > epoch);
	}
	agent_quit(&one);
}

/* Another MAC is another device for the guest: it is made anew, but only after the old one is gone. */
static void a_changed_device_replaces_its_former_self(void **state)
{
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;
	uint32_t slot;

	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	slot = agent_dev(&one, "v");
	v.name = (char *)"v";
	v.mac = (char *)"02:00:00:00:00:77";
	update(KIND_VNIC, &v, "mac");
	one.deaf = true;
	begin_apply(control_model(W.ctl));
	WAIT(one.detaches == 1);
	settle(W.base, 50);
	assert_int_equal(one.attaches, 2);
	assert_int_equal(devices(), 3); /* both selves */
	memset(&one.devs[slot], 0, sizeof(one.devs[0]));
	say_detached(&one, slot);
	WAIT(one.attaches == 3);
	WAIT(W.applied);
	WAIT(devices() == 2);
	assert_int_not_equal(agent_dev(&one, "v"), slot);
	assert_int_equal(one.devs[agent_dev(&one, "v")].config[5], 0x77);
	one.deaf = false;
	agent_quit(&one);
}

static void a_switched_off_device_says_so(void **state)
{
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;
	Outrigger__V1__VDisk d = OUTRIGGER__V1__VDISK__INIT;

	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	v.name = (char *)"v";
	d.name = (char *)"d";
	assert_int_equal(one.devs[agent_dev(&one, "v")].config[6], 1); /* virtio 1.2, 5.1.4: link up */
	v.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	update(KIND_VNIC, &v, "admin_state");
	apply_ok();
	WAIT(one.configures == 1);
	assert_int_equal(one.devs[agent_dev(&one, "v")].config[6], 0);
	d.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_DOWN;
	update(KIND_VDISK, &d, "admin_state");
	apply_ok();
	WAIT(!agent_dev(&one, "d"));
	/* An agent that comes now is told that everything is said, though the disk is off. */
	agent_quit(&one);
	agent_live(&one);
	assert_int_equal(agent_dev(&one, "d"), 0);
	assert_int_equal(one.devs[agent_dev(&one, "v")].config[6], 0);
	v.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_UP;
	d.admin_state = OUTRIGGER__V1__ADMIN_STATE__ADMIN_STATE_UP;
	update(KIND_VNIC, &v, "admin_state");
	update(KIND_VDISK, &d, "admin_state");
	apply_ok();
	WAIT(both_on(&one));
	WAIT(one.devs[agent_dev(&one, "v")].config[6] == 1);
	agent_quit(&one);
}

/* Told anew under a new epoch, while the disk stays as it is. */
static void reliability_changes_while_attached(void **state)
{
	static const struct {
		Outrigger__V1__Reliability asked;
		Outrigger__Session__V1__Reliability told;
	} row[] = {
		{OUTRIGGER__V1__RELIABILITY__RELIABILITY_FULL, OUTRIGGER__SESSION__V1__RELIABILITY__FULL},
		{OUTRIGGER__V1__RELIABILITY__RELIABILITY_NONE, OUTRIGGER__SESSION__V1__RELIABILITY__NONE},
		{OUTRIGGER__V1__RELIABILITY__RELIABILITY_UNSPECIFIED,
		 OUTRIGGER__SESSION__V1__RELIABILITY__BOUNDED},
	};
	Outrigger__V1__VNic v = OUTRIGGER__V1__VNIC__INIT;
	uint32_t epoch, disk;

	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	v.name = (char *)"v";
	assert_int_equal(one.devs[agent_dev(&one, "v")].reliability,
			 OUTRIGGER__SESSION__V1__RELIABILITY__BOUNDED);
	disk = one.devs[agent_dev(&one, "d")].epoch;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		epoch = one.devs[agent_dev(&one, "v")].epoch;
		v.reliability = row[i].asked;
		update(KIND_VNIC, &v, "reliability");
		apply_ok();
		WAIT(both_on(&one) && one.devs[agent_dev(&one, "v")].epoch > epoch);
		assert_int_equal(one.devs[agent_dev(&one, "v")].reliability, row[i].told);
	}
	assert_int_equal(one.devs[agent_dev(&one, "d")].epoch, disk);
	agent_quit(&one);
}

/* The data plane says no: the change is taken back, and what the worker still works by was not freed. */
static void a_refused_change_leaves_everything_as_it_was(void **state)
{
	struct hdev *old;
	char name[32];
	int n;

	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	for (n = 0; n < NETWORKS_MAX - 1; n++) {
		snprintf(name, sizeof(name), "more%d", n);
		make_network(name);
	}
	apply_ok();
	old = dev(KIND_VNIC, "v");
	make_network("toomany");
	drop(KIND_VNIC, "v");
	assert_int_equal(apply_model(control_model(W.ctl)), -EINVAL);
	assert_non_null(strstr(W.apply_msg, "networks"));
	/* Detached it may be, but the worker's configuration names it. */
	WAIT(old->freed);
	settle(W.base, 30);
	assert_ptr_equal(W.h->published->vnics[old->slot], old->vnic);
	drop(KIND_NETWORK, "toomany");
	make_vnic("v", "p");
	apply_ok();
	WAIT(both_on(&one));
	WAIT(devices() == 2);
	for (n = 0; n < NETWORKS_MAX - 1; n++) {
		snprintf(name, sizeof(name), "more%d", n);
		drop(KIND_NETWORK, name);
	}
	apply_ok();
	agent_quit(&one);
}

/* What another process holds (one that was killed and whose I/O is not over) is waited for. */
static void a_busy_volume_is_waited_for(void **state)
{
	char path[256];
	int fd;

	(void)state;
	NEED_WORLD();
	make_vdisk("e", "q", "dir");
	snprintf(path, sizeof(path), "%s/pool/volumes/e-data.raw", W.dir);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	apply_ok(); /* is not held up */
	agent_connect(&two);
	say_hello(&two);
	WAIT(two.welcomed);
	settle(W.base, 300);
	assert_false(two.synced); /* or it would take the socket away from a guest */
	assert_non_null(strstr(dev(KIND_VDISK, "e")->error, "in flight"));
	close(fd);
	WAIT(two.synced);
	assert_true(bound_to(KIND_VDISK, "e", &two));
	assert_string_equal(dev(KIND_VDISK, "e")->error, "");
	/* Removed while in use, with its volume. */
	drop(KIND_VDISK, "e");
	apply_ok();
	assert_int_equal(agent_dev(&two, "e"), 0);
	drop(KIND_VOLUME, "e-data");
	assert_int_equal(W.volumes.remove(W.volumes.ctx, "dir", "e-data"), 0);
	apply_ok();
	agent_quit(&two);
}

static void what_an_agent_cannot_make_is_tried_again(void **state)
{
	struct hdev *d;

	(void)state;
	NEED_WORLD();
	agent_connect(&one);
	one.attach_error = "no room\n";
	say_hello(&one);
	WAIT(one.synced);
	d = dev(KIND_VNIC, "v");
	WAIT(d->refused);
	assert_string_equal(d->error, "no room?");
	one.attach_error = NULL;
	event_active(d->late, EV_TIMEOUT, 0); /* as its timer does after some seconds */
	WAIT(one.detaches == 1);
	WAIT(bound_to(KIND_VNIC, "v", &one) && !d->error[0] && d->running == 3);
	agent_quit(&one);
}

static void devices_come_and_go_while_in_use(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_live(&one);
	for (int i = 0; i < 20; i++) {
		char v[16], d[16], vol[32];

		snprintf(v, sizeof(v), "v%d", i);
		snprintf(d, sizeof(d), "d%d", i);
		snprintf(vol, sizeof(vol), "d%d-data", i);
		make_vnic(v, "p");
		make_vdisk(d, "p", i % 2 ? "mem" : "dir");
		apply_ok();
		WAIT(agent_dev(&one, v) && agent_dev(&one, d));
		drop(KIND_VNIC, v);
		drop(KIND_VDISK, d);
		apply_ok();
		assert_int_equal(agent_dev(&one, v), 0);
		assert_int_equal(agent_dev(&one, d), 0);
		drop(KIND_VOLUME, vol);
		assert_int_equal(W.volumes.remove(W.volumes.ctx, i % 2 ? "mem" : "dir", vol), 0);
		apply_ok();
	}
	assert_int_equal(devices(), 2);
	assert_int_equal(W.h->nremoved, 0);
	agent_quit(&one);
}

/* Once shutting down, nothing new is begun. */
static void a_change_during_shutdown_is_refused(void **state)
{
	(void)state;
	NEED_WORLD();
	agent_live(&one);
	WAIT(both_on(&one));
	W.h->stopping = true;
	assert_int_equal(apply_model(control_model(W.ctl)), -ESHUTDOWN);
	W.h->stopping = false;
}

static int start(void **state)
{
	(void)state;
	return world_start(before);
}

static int stop(void **state)
{
	(void)state;
	/* With everything bound, and one answer outstanding. */
	if (W.ok) {
		one.deaf = true;
		place_profile("p", "two");
		begin_apply(control_model(W.ctl));
	}
	world_stop();
	SSL_CTX_free(one.tls);
	SSL_CTX_free(two.tls);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_profile_moves_with_everything_in_it),
		cmocka_unit_test(the_next_waits_for_the_last),
		cmocka_unit_test(a_profile_moves_away_from_a_host_that_is_down),
		cmocka_unit_test(an_agent_that_restarts_gets_everything_again),
		cmocka_unit_test(a_changed_device_replaces_its_former_self),
		cmocka_unit_test(a_switched_off_device_says_so),
		cmocka_unit_test(reliability_changes_while_attached),
		cmocka_unit_test(a_refused_change_leaves_everything_as_it_was),
		cmocka_unit_test(a_busy_volume_is_waited_for),
		cmocka_unit_test(what_an_agent_cannot_make_is_tried_again),
		cmocka_unit_test(devices_come_and_go_while_in_use),
		cmocka_unit_test(a_change_during_shutdown_is_refused),
	};

	return cmocka_run_group_tests(tests, start, stop);
}
