/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "appliance/cli/cli.h"

static int run(const struct cli_args *a)
{
	const char *name = a->command ? a->command->name : "";

	if (a->help || (a->noun && !a->verb) || (!a->noun && !a->command)) {
		cli_help(stdout, a);
		return CLI_OK;
	}
	if (strcmp(name, "completion") == 0) {
		/* The manual page's reference is completion for eyes: same table, same door. */
		if (a->nnames && strcmp(a->names[0], "scdoc") == 0) {
			cli_reference(stdout);
			return CLI_OK;
		}
		if (a->nnames && cli_completion(stdout, a->names[0]) == 0)
			return CLI_OK;
		fprintf(stderr, "outriggerctl: completion: give a shell: bash\n");
		return CLI_USAGE;
	}
	return cli_run(a, stdout, stderr);
}

int main(int argc, char **argv)
{
	struct cli_args a;
	char why[512];
	int status;

	/* A closed connection is an error to tell, not a reason to die. */
	signal(SIGPIPE, SIG_IGN);
	status = cli_args_parse(&a, argc - 1, argv + 1, why, sizeof why);
	if (status)
		fprintf(stderr, "outriggerctl: %s\n", why);
	else
		status = run(&a);
	cli_args_fini(&a);
	if ((fflush(stdout) || ferror(stdout)) && errno != EPIPE && !status) {
		fprintf(stderr, "outriggerctl: standard output: %s\n", strerror(errno));
		status = CLI_OTHER;
	}
	return status;
}
