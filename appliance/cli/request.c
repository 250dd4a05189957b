/* SPDX-License-Identifier: Apache-2.0 */
/* A command becomes calls, their answers become output and an exit status. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "appliance/cli/https.h"
#include "proto/api/outrigger.pb-c.h"

#define PAGE 500

struct run {
	const struct cli_args *a;
	struct context context;
	struct cli_style style;
	FILE *out, *err;
	json_t *answers; /* of the calls that succeeded */
	int status;	 /* of the first that did not */
};

enum cli_exit cli_exit_of(const char *code)
{
	static const struct {
		const char *code;
		enum cli_exit status;
	} map[] = {
		{"not_found", CLI_ABSENT},
		{"already_exists", CLI_CONFLICT},
		{"aborted", CLI_CONFLICT},
		{"invalid_argument", CLI_INVALID},
		{"failed_precondition", CLI_INVALID},
		{"out_of_range", CLI_INVALID},
		{"unauthenticated", CLI_DENIED},
		{"permission_denied", CLI_DENIED},
		{"unavailable", CLI_NOWHERE},
		{"deadline_exceeded", CLI_NOWHERE},
	};

	for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
		if (strcmp(map[i].code, code) == 0)
			return map[i].status;
	return CLI_OTHER;
}

/* 64-bit numbers are strings in protobuf's JSON. */
static void set_revision(const struct cli_args *a, json_t *object)
{
	char revision[24];

	if (!a->revision)
		return;
	snprintf(revision, sizeof revision, "%" PRIu64, a->revision);
	json_object_set_new(object, "revision", json_string(revision));
}

static json_t *resource(const struct cli_args *a, const char *name)
{
	json_t *r = json_object();

	json_object_set_new(r, "name", json_string(name));
	set_revision(a, r);
	json_object_update(r, a->fields);
	return r;
}

/* The field names of the mask are the API's own spelling already. */
static json_t *update_body(const struct cli_args *a, const char *name)
{
	json_t *body = json_object();

	json_object_set_new(body, a->noun->key, resource(a, name));
	json_object_set_new(body, "updateMask", json_string(a->mask));
	return body;
}

void cli_request(const struct cli_args *a, const char *name, char *method, size_t size, json_t **body)
{
	const struct cli_noun *n = a->noun;
	char verb[64];

	*body = json_object();
	if (!n) {
		bool counters = strcmp(a->command->name, "counters") == 0;

		snprintf(method, size, "outrigger.v1.ApplianceService/%s",
			 counters ? "ListCounters" : "GetAppliance");
		if (counters && name)
			json_object_set_new(*body, "prefix", json_string(name));
		return;
	}
	snprintf(verb, sizeof verb, "?");
	switch (a->verb->id) {
	case CLI_LIST:
		snprintf(verb, sizeof verb, "List%s", n->types);
		json_object_set_new(*body, "pageSize", json_integer(PAGE));
		break;
	case CLI_SHOW:
		snprintf(verb, sizeof verb, "Get%s", n->type);
		json_object_set_new(*body, "name", json_string(name));
		break;
	case CLI_CREATE:
		snprintf(verb, sizeof verb, "Create%s", n->type);
		json_object_set_new(*body, n->key, resource(a, name));
		break;
	case CLI_SET:
	case CLI_MOVE:
		snprintf(verb, sizeof verb, "Update%s", n->type);
		json_decref(*body);
		*body = update_body(a, name);
		break;
	case CLI_DELETE:
		snprintf(verb, sizeof verb, "Delete%s", n->type);
		json_object_set_new(*body, "name", json_string(name));
		set_revision(a, *body);
		break;
	case CLI_ENROLL_TOKEN:
		snprintf(verb, sizeof verb, "CreateEnrollToken");
		json_object_set_new(*body, "host", json_string(name));
		if (a->ttl)
			json_object_set_new(*body, "ttlSeconds", json_integer(a->ttl));
		break;
	case CLI_REVOKE:
	case CLI_NVERBS:
		snprintf(verb, sizeof verb, "RevokeHost");
		json_object_set_new(*body, "host", json_string(name));
		break;
	}
	snprintf(method, size, "outrigger.v1.%sService/%s", n->type, verb);
}

/* What to do about it; NULL: nothing to add. */
static void hint(struct run *r, const char *code, const char *name, const char *message)
{
	const struct cli_noun *n = r->a->noun;

	if (strcmp(code, "unauthenticated") == 0)
		fprintf(r->err, "  give the appliance's admin directory with --context, or --cert and --key, "
				"or --token\n");
	else if (!n)
		return;
	else if (strcmp(code, "not_found") == 0)
		fprintf(r->err, "  outriggerctl %s list shows what there is\n", n->name);
	/* Another field may be what somebody else has. */
	else if (strcmp(code, "already_exists") == 0 && name && strncmp(message, "name:", 5) == 0)
		fprintf(r->err, "  outriggerctl %s show %s; `set` changes it\n", n->name, name);
	else if (strcmp(code, "aborted") == 0 && name)
		fprintf(r->err,
			"  it changed meanwhile: outriggerctl %s show %s, then again with its revision\n",
			n->name, name);
	else if (strcmp(code, "invalid_argument") == 0)
		fprintf(r->err, "  outriggerctl %s %s --help tells the fields\n", n->name, r->a->verb->name);
}

static void failed(struct run *r, int status, const char *name, const char *code, const char *message)
{
	const struct cli_args *a = r->a;

	fprintf(r->err, "outriggerctl: %s%s%s%s%s: %s", a->noun ? a->noun->name : a->command->name,
		a->verb ? " " : "", a->verb ? a->verb->name : "", name ? " " : "", name ? name : "", message);
	fprintf(r->err, *code ? " (%s)\n" : "\n", code);
	hint(r, code, name, message);
	if (!r->status)
		r->status = status;
}

static const char *text_of(const json_t *object, const char *key, const char *otherwise)
{
	const char *s = json_string_value(json_object_get(object, key));

	return s ? s : otherwise;
}

static int transport_exit(int ret)
{
	if (ret == -EINVAL)
		return CLI_USAGE;
	return ret == -ENOMEM || ret == -EMSGSIZE ? CLI_OTHER : CLI_NOWHERE;
}

/* One call; its answer as a new reference, or NULL with the failure told. */
static json_t *call(struct run *r, const char *name, const char *method, const json_t *body)
{
	struct http_answer answer;
	char why[512], status[48];
	char *text = json_dumps(body, JSON_COMPACT);
	json_t *json;
	int ret;

	if (!text) {
		failed(r, CLI_OTHER, name, "", "out of memory");
		return NULL;
	}
	ret = https_call(&r->context, method, text, &answer, why, sizeof why);
	free(text);
	if (ret) {
		failed(r, transport_exit(ret), name, "", why);
		return NULL;
	}
	json = json_loadb(answer.body, answer.len, JSON_REJECT_DUPLICATES, NULL);
	if (answer.status != 200) {
		const char *code = text_of(json, "code", "");

		snprintf(status, sizeof status, "the appliance answered HTTP %d", answer.status);
		failed(r, cli_exit_of(code), name, code, text_of(json, "message", status));
		json_decref(json);
		json = NULL;
	} else if (!json_is_object(json)) {
		failed(r, CLI_OTHER, name, "", "the appliance's answer is not JSON");
		json_decref(json);
		json = NULL;
	}
	http_answer_fini(&answer);
	return json;
}

static void dry_run(struct run *r, const char *method, const json_t *body)
{
	bool v6 = strchr(r->context.host, ':') != NULL;

	/* In JSON the body alone: what curl -d takes. */
	if (r->a->output != CLI_JSON && *r->context.host)
		fprintf(r->out, v6 ? "POST https://[%s]:%s/%s\n" : "POST https://%s:%s/%s\n", r->context.host,
			r->context.port, method);
	else if (r->a->output != CLI_JSON)
		fprintf(r->out, "POST /%s\n", method);
	json_dumpf(body, r->out, JSON_INDENT(2));
	fputc('\n', r->out);
}

/* All pages as one list. */
static json_t *call_list(struct run *r, const char *method, json_t *body)
{
	json_t *all = json_object(), *items = json_array();
	const struct cli_noun *n = r->a->noun;

	json_object_set_new(all, n->keys, items);
	for (;;) {
		json_t *page = call(r, NULL, method, body);
		const char *next = text_of(page, "nextPageToken", "");

		if (!page) {
			json_decref(all);
			return NULL;
		}
		json_array_extend(items, json_object_get(page, n->keys));
		json_object_set_new(body, "pageToken", json_string(next));
		if (!*next) {
			json_decref(page);
			return all;
		}
		json_decref(page);
	}
}

static void tell_done(struct run *r, const char *name, const json_t *answer)
{
	static const char *const done[CLI_NVERBS] = {
		[CLI_CREATE] = "created", [CLI_SET] = "changed",    [CLI_DELETE] = "deleted",
		[CLI_MOVE] = "moved",	  [CLI_REVOKE] = "revoked",
	};
	const struct cli_args *a = r->a;

	if (a->verb->id == CLI_ENROLL_TOKEN) {
		/* The token alone, so that $(...) takes it. */
		fprintf(r->out, "%s\n", text_of(answer, "token", ""));
		if (isatty(STDERR_FILENO))
			fprintf(r->err,
				"on %s: outrigger-agent enroll --appliance ADDRESS:%s --token TOKEN\n", name,
				r->context.port);
		return;
	}
	fprintf(r->out, "%s %s %s", a->noun->name, name, done[a->verb->id]);
	if (a->verb->id == CLI_MOVE)
		fprintf(r->out, " to %s", text_of(answer, "host", "no host"));
	if (a->verb->id == CLI_CREATE && *text_of(answer, "mac", ""))
		fprintf(r->out, ", mac %s", text_of(answer, "mac", ""));
	fputc('\n', r->out);
}

/* One name's answer, in the way that was asked for; -o json waits for all. */
static void tell(struct run *r, const char *name, const json_t *answer)
{
	const struct cli_args *a = r->a;

	if (a->output == CLI_JSON)
		json_array_append(r->answers, (json_t *)answer);
	else if (a->output == CLI_NAME && a->verb->id != CLI_ENROLL_TOKEN)
		fprintf(r->out, "%s\n", name);
	else if (a->verb->id == CLI_SHOW)
		cli_show_one(r->out, a->noun, answer, &r->style);
	else
		tell_done(r, name, answer);
}

static void tell_list(struct run *r, const json_t *answer)
{
	const struct cli_args *a = r->a;
	const json_t *items = json_object_get(answer, a->noun->keys), *item;
	size_t i;

	if (a->output == CLI_JSON)
		json_array_append(r->answers, (json_t *)answer);
	else if (a->output == CLI_NAME)
		json_array_foreach((json_t *)items, i, item)
			fprintf(r->out, "%s\n", text_of(item, "name", ""));
	else if (json_array_size(items) == 0)
		fprintf(r->err, "no %ss yet: outriggerctl %s create --help\n", a->noun->name, a->noun->name);
	else
		cli_show_list(r->out, a->noun, items, &r->style);
}

static void tell_json(struct run *r)
{
	size_t n = json_array_size(r->answers);
	json_t *many = NULL;

	if (r->a->output != CLI_JSON || n == 0)
		return;
	/* Who asks for several gets a list, however many there are. */
	if (r->a->nnames > 1) {
		many = json_object();
		json_object_set(many, r->a->noun->keys, r->answers);
	}
	json_dumpf(many ? many : json_array_get(r->answers, 0), r->out, JSON_INDENT(2));
	fputc('\n', r->out);
	json_decref(many);
}

static void run_noun(struct run *r)
{
	const struct cli_args *a = r->a;
	unsigned i = 0;

	do {
		const char *name = a->nnames ? a->names[i] : NULL;
		json_t *body, *answer;
		char method[160];

		cli_request(a, name, method, sizeof method, &body);
		if (a->dry_run) {
			dry_run(r, method, body);
		} else {
			answer = a->verb->id == CLI_LIST ? call_list(r, method, body)
							 : call(r, name, method, body);
			if (answer && a->verb->id == CLI_LIST)
				tell_list(r, answer);
			else if (answer)
				tell(r, name, answer);
			json_decref(answer);
		}
		json_decref(body);
	} while (++i < a->nnames);
	tell_json(r);
}

static bool is_version(const struct cli_args *a)
{
	return a->command && strcmp(a->command->name, "version") == 0;
}

/* Our own, and of the appliance what there is to know. */
static void version_json(struct run *r, const json_t *appliance)
{
	json_t *both = json_object();

	json_object_set_new(both, "outriggerctl", json_string(OUTRIGGER_VERSION));
	if (appliance)
		json_object_set_new(both, "appliance", json_string(text_of(appliance, "version", "")));
	json_array_append_new(r->answers, both);
	tell_json(r);
}

static void run_command(struct run *r)
{
	const struct cli_args *a = r->a;
	json_t *body, *answer = NULL;
	char method[160];

	cli_request(a, a->nnames ? a->names[0] : NULL, method, sizeof method, &body);
	if (a->dry_run)
		dry_run(r, method, body);
	else
		answer = call(r, NULL, method, body);
	json_decref(body);
	if (is_version(a) && a->output == CLI_JSON && !a->dry_run)
		version_json(r, answer);
	if (!answer)
		return;
	if (is_version(a) && a->output == CLI_JSON) {
		json_decref(answer);
		return;
	}
	if (a->output == CLI_JSON) {
		json_array_append(r->answers, answer);
		tell_json(r);
	} else if (strcmp(a->command->name, "counters") == 0) {
		cli_show_counters(r->out, json_object_get(answer, "counters"), &r->style);
	} else if (is_version(a)) {
		fprintf(r->out, "appliance     %s\n", text_of(answer, "version", "?"));
	} else {
		cli_show_message(r->out, &outrigger__v1__appliance__descriptor, answer, &r->style);
	}
	json_decref(answer);
}

int cli_run(const struct cli_args *a, FILE *out, FILE *err)
{
	const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
	struct run r = {.a = a, .out = out, .err = err, .answers = json_array()};
	bool version = is_version(a);
	char why[4600];
	int ret;

	r.style.wide = a->output == CLI_WIDE;
	r.style.counters = a->counters;
	r.style.now = (int64_t)time(NULL);
	r.style.color = !a->no_color && !(no_color && *no_color) && term && strcmp(term, "dumb") &&
			isatty(fileno(out));
	if (version && a->output != CLI_JSON)
		fprintf(out, "outriggerctl  %s\n", OUTRIGGER_VERSION);
	ret = context_load(&r.context, a, why, sizeof why);
	/* Neither a dry run nor our own version needs an appliance. */
	if (ret && !a->dry_run && !version) {
		fprintf(err, "outriggerctl: %s\n", why);
		r.status = CLI_USAGE;
	} else if (!ret || a->dry_run) {
		if (a->noun)
			run_noun(&r);
		else
			run_command(&r);
	} else if (a->output == CLI_JSON) {
		version_json(&r, NULL);
	}
	json_decref(r.answers);
	return r.status;
}
