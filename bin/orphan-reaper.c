/* SPDX-License-Identifier: MIT */
/* orphan-reaper - take away what is over: drained containers, orders that are gone, old trees */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/alloc.h"
#include "lib/collect.h"
#include "lib/file.h"
#include "lib/generation.h"
#include "lib/netmap.h"
#include "lib/own.h"
#include "lib/reap.h"
#include "lib/settings.h"

/* The reaper runs at each pulse; what is collected by age need not be looked at so often. */
enum { COLLECT_EVERY_S = 10 * 60 };

struct options {
	bool superseded;
	bool network_down;
	bool dry_run;
	bool verbose;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: orphan-reaper [-v] [--superseded | --network-down] [--dry-run]\n"
	    "\n"
	    "Purges the containers and all state of orders that are gone from the headquarters.\n"
	    "\n"
	    "  --dry-run          print what would be taken away, and change nothing\n"
	    "  --network-down     remove the ship's nftables table, route and bridge instead\n"
	    "  --superseded       destroy containers whose drain is over instead, and collect\n"
	    "                     addresses, trees, layers and logs that nothing refers to\n"
	    "  -v                 say what is taken away on standard error\n"
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
	    {"dry-run", no_argument, NULL, 'd'},
	    {"help", no_argument, NULL, 'h'},
	    {"network-down", no_argument, NULL, 'n'},
	    {"superseded", no_argument, NULL, 's'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	*opt = (struct options){0};
	while ((option = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		switch (option) {
		case 'd':
			opt->dry_run = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'n':
			opt->network_down = true;
			break;
		case 's':
			opt->superseded = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			(void)printf("orphan-reaper %s\n", PACKAGE_VERSION);
			exit(0);
		default:
			misuse();
		}
	}
	if (optind < argc || (opt->superseded && opt->network_down) ||
	    (opt->network_down && opt->dry_run))
		misuse();
}

static void
say_would(const char *what, const char *name)
{
	(void)printf("%s %s\n", what, name);
}

static void
say_does(const char *what, const char *name)
{
	(void)fprintf(stderr, "orphan-reaper: %s %s\n", what, name);
}

/* True once in a while; and always for somebody who only wants to see. */
static bool
collecting(const struct reap *reap)
{
	auto_free char *stamp = xasprintf("%s/collected", reap->settings->run);
	auto_failure struct failure ignored = {0};
	struct stat st;
	time_t now = time(NULL);

	if (reap->dry_run)
		return true;
	if (stat(stamp, &st) == 0 && st.st_mtime <= now && st.st_mtime > now - COLLECT_EVERY_S)
		return false;
	return file_replace(stamp, "", 0, 0600, &ignored) == 0;
}

typedef int (*part)(const struct reap *reap, struct failure *why);

/* Each part, whatever became of the ones before. -1: *why of the last that failed. */
static int
each_part(const struct reap *reap, const part parts[], struct failure *why)
{
	auto_failure struct failure last = {0};
	int result = 0;

	for (size_t i = 0; parts[i] != NULL; i++) {
		if (parts[i](reap, why) == 0)
			continue;
		if (result == -1)
			(void)failure_report(&last);
		(void)fail(&last, why->code, why->message, NULL, NULL);
		failure_clear(why);
		result = -1;
	}
	return result == -1 ? fail(why, last.code, last.message, NULL, NULL) : 0;
}

static int
rotate_log(const struct reap *reap, struct failure *why)
{
	return reap->dry_run ? 0 : generation_rotate_log(reap->settings, why);
}

static int
superseded(const struct reap *reap, struct failure *why)
{
	static const part often[] = {reap_drained, rotate_log, NULL};
	static const part seldom[] = {reap_drained, rotate_log, reap_addresses, collect_trees,
	    collect_layers, collect_logs, NULL};

	return each_part(reap, collecting(reap) ? seldom : often, why);
}

static int
orphans(const struct reap *reap, struct failure *why)
{
	static const part parts[] = {reap_gone, reap_addresses, NULL};

	return each_part(reap, parts, why);
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	auto_settings struct settings settings = {0};
	struct options opt;
	struct reap reap;
	int result;

	options_parse(&opt, argc, argv);
	if (settings_load(&settings, &why) == -1)
		return failure_report(&why);
	reap = (struct reap){.settings = &settings,
	    .dry_run = opt.dry_run,
	    .say = opt.dry_run	 ? say_would
		   : opt.verbose ? say_does
				 : NULL};
	if (opt.network_down)
		result = netmap_down(&settings, &why);
	else
		result = opt.superseded ? superseded(&reap, &why) : orphans(&reap, &why);
	if (result == 0 && (fflush(stdout) != 0 || ferror(stdout)))
		result =
		    fail(&why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
	return result == -1 ? failure_report(&why) : 0;
}
