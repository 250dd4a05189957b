/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outriggerctl: the management API on a command line.
 *
 * One table (nouns.c) lists the kinds of resource with their columns and the words about their
 * fields. What fields there are, their types and the names of their values come from the API's
 * own descriptors, so that a new field of the API is a new option here. From the table come
 * parsing, requests, output, help, completion and the reference part of the manual page.
 *
 *	args.c		words -> struct cli_args, with the resource as JSON
 *	request.c	struct cli_args -> the calls to make
 *	https.c, http.c	one call over TLS
 *	show.c, table.c	answers for people; -o json passes the API's JSON on
 *	help.c		what --help says, completion, the reference
 *
 * The program is single-threaded and ends after one command; strings it makes live until then.
 */
#ifndef OUTRIGGER_CLI_CLI_H
#define OUTRIGGER_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>

/* Exit status, by what the API answered. */
enum cli_exit {
	CLI_OK = 0,
	CLI_OTHER = 1,	  /* also internal, resource_exhausted, unimplemented */
	CLI_USAGE = 2,	  /* the command line */
	CLI_ABSENT = 3,	  /* not_found */
	CLI_CONFLICT = 4, /* already_exists, aborted */
	CLI_INVALID = 5,  /* invalid_argument, failed_precondition, out_of_range */
	CLI_DENIED = 6,	  /* unauthenticated, permission_denied */
	CLI_NOWHERE = 7,  /* unavailable, deadline_exceeded, no connection */
};

/* ---- nouns.c: the table ---- */

enum cli_verb_id {
	CLI_LIST,
	CLI_SHOW,
	CLI_CREATE,
	CLI_SET,
	CLI_DELETE,
	CLI_MOVE,
	CLI_ENROLL_TOKEN,
	CLI_REVOKE,
	CLI_NVERBS
};

struct cli_verb {
	enum cli_verb_id id;
	const char *name;
	const char *aliases; /* " get show " */
	const char *usage;   /* what follows the verb */
	const char *about;
	unsigned names_min, names_max;
	bool fields; /* takes --field value */
};

struct cli_column {
	const char *head;
	const char *path; /* of the field, by its name in the API: "status.link" */
	bool wide;	  /* with -o wide alone */
};

/* Words about a field; a field without them is an option all the same. */
struct cli_field {
	const char *name;  /* in the API */
	const char *alias; /* a second spelling of the option, or NULL */
	const char *value; /* what to give, for help: "SIZE" */
	const char *about;
};

struct cli_noun {
	const char *name;
	const char *type, *types; /* CreateVNic, ListVNics */
	const char *key, *keys;	  /* of the resource in requests and lists, as JSON has them */
	const char *about;	  /* one line */
	const char *more;	  /* a paragraph or two */
	const char *examples;
	unsigned verbs; /* bit per enum cli_verb_id */
	const ProtobufCMessageDescriptor *desc;
	const struct cli_column *columns; /* ends with head NULL */
	const struct cli_field *fields;	  /* ends with name NULL */
};

/* Commands that are no noun. */
struct cli_command {
	const char *name, *usage, *about, *examples;
};

struct cli_option {
	const char *name;  /* "--output" */
	const char *brief; /* "-o" or NULL */
	const char *value; /* NULL: a switch */
	const char *about;
};

extern const struct cli_verb cli_verbs[CLI_NVERBS];
extern const struct cli_noun cli_nouns[];	/* ends with name NULL */
extern const struct cli_command cli_commands[]; /* ends with name NULL */
extern const struct cli_option cli_options[];	/* of every command; ends with name NULL */

const struct cli_noun *cli_noun_find(const char *word); /* NULL: no such noun; plurals are understood */
const struct cli_verb *cli_verb_find(const struct cli_noun *n, const char *word);
const struct cli_command *cli_command_find(const char *word);

/* Is it for the client to set? name, uid, revision and status are not. */
bool cli_field_writable(const ProtobufCFieldDescriptor *f);
const struct cli_field *cli_field_words(const struct cli_noun *n, const char *name); /* NULL: none */
/* The option of a field, without leading dashes or unit: "ip-addresses", "size" of size_bytes. */
void cli_field_option(const ProtobufCFieldDescriptor *f, char *out, size_t size);
/* By option or alias; NULL: no such writable field. */
const ProtobufCFieldDescriptor *cli_field_find(const struct cli_noun *n, const char *option);
void cli_json_name(const char *name, char *out, size_t size); /* lowerCamelCase */
/* The words of an enum's value: "up" of LINK_STATE_UP. */
void cli_enum_word(const ProtobufCEnumDescriptor *e, const char *name, char *out, size_t size);

/* ---- args.c: the command line ---- */

enum cli_output { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_NAME };

#define CLI_NAMES_MAX 256u

struct cli_args {
	const struct cli_noun *noun;
	const struct cli_verb *verb;	   /* NULL: help about the noun */
	const struct cli_command *command; /* instead of a noun */
	const char *names[CLI_NAMES_MAX];
	unsigned nnames;
	json_t *fields; /* resource without its name; owned */
	char *mask;	/* names of the fields given, comma-separated; owned, NULL: none */

	enum cli_output output;
	bool help, dry_run, counters, no_color;
	uint64_t revision; /* 0: not given */
	uint32_t ttl;	   /* 0: not given */
	uint32_t timeout;  /* seconds */
	const char *api, *cert, *key, *cacert, *token, *context, *server_name;
};

/*
 * Read the words behind the program's name. 0, or CLI_USAGE with a line in why that names the word
 * and says what would be right. cli_args_fini() in either case.
 */
int cli_args_parse(struct cli_args *a, int n, char *const *words, char *why, size_t why_size);
void cli_args_fini(struct cli_args *a);

/* ---- request.c ---- */

/* "outrigger.v1.VNicService/CreateVNic" and the body of the name'th name's call. *body: a new reference. */
void cli_request(const struct cli_args *a, const char *name, char *method, size_t size, json_t **body);
int cli_run(const struct cli_args *a, FILE *out, FILE *err); /* the exit status */
enum cli_exit cli_exit_of(const char *code);		     /* "not_found" -> CLI_ABSENT */

/* ---- show.c ---- */

struct cli_style {
	bool wide, color, counters;
	int64_t now; /* Unix seconds */
};

void cli_show_list(FILE *out, const struct cli_noun *n, const json_t *items, const struct cli_style *s);
void cli_show_one(FILE *out, const struct cli_noun *n, const json_t *item, const struct cli_style *s);
void cli_show_message(FILE *out, const ProtobufCMessageDescriptor *d, const json_t *item,
		      const struct cli_style *s);
void cli_show_counters(FILE *out, const json_t *counters, const struct cli_style *s);

/* ---- format.c: numbers with units ---- */

/* "512M", "10G", "1.5T", "4096": binary multiples. -EINVAL, -ERANGE. */
int cli_size_parse(const char *text, uint64_t *bytes);
/* The same way back, rounded to one decimal when it does not divide. */
void cli_size_text(uint64_t bytes, char *out, size_t size);
void cli_span_text(int64_t seconds, char *out, size_t size);	     /* "3d4h", "12m", "8s" */
void cli_time_text(int64_t t, int64_t now, char *out, size_t size);  /* "2026-11-22 15:04:05Z (3h ago)" */
int cli_uint_parse(const char *text, uint64_t max, uint64_t *value); /* -EINVAL, -ERANGE */

/* ---- help.c ---- */

void cli_help(FILE *out, const struct cli_args *a);
int cli_completion(FILE *out, const char *shell); /* -EINVAL: not a shell we know */
void cli_reference(FILE *out);			  /* scdoc */
/* The known word nearest to a mistyped one, or NULL when none is near. */
const char *cli_nearest(const char *word, const char *const *known, size_t n);

#endif
