/* SPDX-License-Identifier: MIT */
/* container-build - the container of each record's version exists and runs, built if need be */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/base.h"
#include "lib/containerize.h"
#include "lib/filter.h"
#include "lib/idmap.h"
#include "lib/netmap.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/settings.h"
#include "lib/state.h"

struct options {
	struct settings settings;
	int jobs; /* 0: not said */
	bool base;
	bool serving;
	bool restart;
	bool verbose;
	char **orders; /* behind the options */
	int order_count;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: container-build [-v] [-j N]\n"
	    "       container-build [-v] --base\n"
	    "       container-build [-v] [-j N] --serving [--restart] [ORDER...]\n"
	    "\n"
	    "Filter: the container of each record's version exists and runs.\n"
	    "\n"
	    "  -j N        so many records at once (1; with --serving, the number of processors)\n"
	    "  --base      make the base layer that all containers stand on, if it is not there\n"
	    "  --serving   start what served, all orders or those named; nothing is built\n"
	    "  --restart   with --serving: stop them first\n"
	    "  -v          say more on standard error\n"
	    "  --help, --version\n",
	    out);
}

static _Noreturn void
misuse(void)
{
	usage(stderr);
	exit(EX_USAGE);
}

static void
options_parse(struct options *opt, int argc, char *argv[])
{
	static const struct option longs[] = {
	    {"base", no_argument, NULL, 'b'},
	    {"help", no_argument, NULL, 'h'},
	    {"jobs", required_argument, NULL, 'j'},
	    {"restart", no_argument, NULL, 'r'},
	    {"serving", no_argument, NULL, 's'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	const char *bad = NULL;
	int option;

	*opt = (struct options){0};
	while ((option = getopt_long(argc, argv, "j:v", longs, NULL)) != -1) {
		switch (option) {
		case 'b':
			opt->base = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'j':
			opt->jobs = (int)strtonum(optarg, 1, 1024, &bad);
			if (bad != NULL)
				misuse();
			break;
		case 'r':
			opt->restart = true;
			break;
		case 's':
			opt->serving = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			(void)printf("container-build %s\n", PACKAGE_VERSION);
			exit(0);
		default:
			misuse();
		}
	}
	opt->orders = argv + optind;
	opt->order_count = argc - optind;
	if ((opt->base && (opt->serving || opt->jobs != 0)) || (opt->restart && !opt->serving) ||
	    (!opt->serving && opt->order_count > 0))
		misuse();
}

/* --serving: the orders are started side by side, each by a process of its own. */
struct starting {
	const struct options *opt;
	int jobs;
	int busy;
	bool some_failed;
};

static void
finish_one(struct starting *starting)
{
	int status = 0;

	while (wait(&status) == -1 && errno == EINTR)
		continue;
	starting->busy--;
	if (status != 0)
		starting->some_failed = true;
}

static int
start_one(const char *order, void *context, struct failure *why)
{
	struct starting *starting = context;
	pid_t pid;

	if (starting->busy == starting->jobs)
		finish_one(starting);
	pid = fork();
	if (pid == -1)
		return fail(why, EX_TEMPFAIL, "cannot start a process", NULL, strerror(errno));
	if (pid == 0) {
		auto_failure struct failure own = {0};

		if (containerize_serving(
			&starting->opt->settings, order, starting->opt->restart, &own) == 0)
			_exit(0);
		(void)fprintf(stderr, "container-build: %s: %s\n",
		    *order == '\0' ? "(root)" : order, own.message);
		_exit(1);
	}
	starting->busy++;
	return 0;
}

static int
serve(const struct options *opt, struct failure *why)
{
	struct starting starting = {
	    .opt = opt, .jobs = opt->jobs != 0 ? opt->jobs : (int)sysconf(_SC_NPROCESSORS_ONLN)};
	int result = 0;

	/* Without the network nobody reaches them, but it may be whole again before they would be.
	 */
	if (netmap_restore(&opt->settings, why) == -1) {
		(void)failure_report(why);
		failure_clear(why);
		starting.some_failed = true;
	}

	for (int i = 0; result == 0 && i < opt->order_count; i++)
		if ((result = order_check(opt->orders[i], why)) == 0)
			result = start_one(opt->orders[i], &starting, why);
	if (result == 0 && opt->order_count == 0)
		result = state_each(&opt->settings, start_one, &starting, why);
	while (starting.busy > 0)
		finish_one(&starting);
	return result == -1 ? -1 : starting.some_failed;
}

static int
make_base(const struct options *opt, struct failure *why)
{
	struct idmap map;

	return idmap_load(&map, why) == -1 ? -1 : base_make(&opt->settings, &map, why);
}

/* Each record in a process of its own: what liblxc or a build leaves behind goes with it. */
static int
filter(struct options *opt, struct failure *why)
{
	const struct filter filter = {.step = containerize_step,
	    .context = &opt->settings,
	    .jobs = opt->jobs,
	    .always_fork = true};

	return filter_run(&filter, why);
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	struct options opt;
	int result;

	options_parse(&opt, argc, argv); /* exits on --help, --version and misuse */
	if (settings_load(&opt.settings, &why) == -1)
		return failure_report(&why);
	opt.settings.verbose = opt.verbose;
	result = opt.base      ? make_base(&opt, &why)
		 : opt.serving ? serve(&opt, &why)
			       : filter(&opt, &why);
	settings_clear(&opt.settings);
	return result == -1 ? failure_report(&why) : result;
}
