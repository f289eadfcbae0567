/* SPDX-License-Identifier: MIT */
/* orders-parse - evaluate orders files */
#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/filter.h"
#include "lib/order.h"
#include "lib/orders.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/settings.h"

struct options {
	struct settings settings;
	const char *headquarters, *ship; /* NULL: found */
	bool check;
	int jobs;
	char **files; /* NULL-terminated; none: a filter */
};

/* The headquarters that the last record came from, and the order that before has looked at. */
struct parsing {
	const struct options *opt;
	struct orders orders;
	struct orders_job job;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: orders-parse [-v] [-j N]\n"
	    "       orders-parse [-v] [--headquarters DIR] [--ship DIR] FILE ...\n"
	    "       orders-parse [-v] [--headquarters DIR] [--ship DIR] --check FILE ...\n"
	    "\n"
	    "Filter: evaluates the orders file of each record. With files: a record for each.\n"
	    "\n"
	    "  --check             print file:line: message for what is wrong; exit 1 if anything "
	    "is\n"
	    "  --headquarters DIR  the headquarters that the files belong to\n"
	    "  --ship DIR          the ship's own layers (STARPHLEET_ETC)\n"
	    "  -j N                so many at once (number of processors)\n"
	    "  -v                  say more on standard error\n"
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
	    {"check", no_argument, NULL, 'c'},
	    {"headquarters", required_argument, NULL, 'q'},
	    {"help", no_argument, NULL, 'h'},
	    {"ship", required_argument, NULL, 's'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	const char *bad = NULL;
	int letter;

	*opt = (struct options){.jobs = processors < 1 ? 1 : (int)processors};
	while ((letter = getopt_long(argc, argv, "j:v", longs, NULL)) != -1) {
		switch (letter) {
		case 'c':
			opt->check = true;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'j':
			opt->jobs = (int)strtonum(optarg, 1, 1024, &bad);
			if (bad != NULL)
				misuse();
			break;
		case 'q':
			opt->headquarters = optarg;
			break;
		case 's':
			opt->ship = optarg;
			break;
		case 'v':
			opt->settings.verbose = true;
			break;
		case 'V':
			(void)puts("orders-parse " PACKAGE_VERSION);
			exit(0);
		default:
			misuse();
		}
	}
	opt->files = argv + optind;
	if (*opt->files == NULL && (opt->check || opt->headquarters != NULL || opt->ship != NULL))
		misuse();
}

/* Forget what an order that is gone has left in the cache. */
static void
forget(const struct options *opt, const char *order)
{
	auto_free char *word = order_word(order);
	auto_free char *path = xasprintf("%s/orders/%s.json", opt->settings.run, word);

	(void)unlink(path);
}

/* The headquarters of a record: its dir without its order; free() it. */
static char *
top_of(const json_t *record, const char *order, struct failure *why)
{
	const char *dir = record_string(record, "dir", NULL);
	size_t length = dir == NULL ? 0 : strlen(dir), tail = strlen(order);

	if (dir == NULL || *dir != '/') {
		(void)fail(why, EX_CONFIG, "the record has no dir", order, NULL);
		return NULL;
	}
	if (tail == 0)
		return xstrdup(dir);
	if (length <= tail + 1 || strcmp(dir + length - tail, order) != 0 ||
	    dir[length - tail - 1] != '/') {
		(void)fail(why, EX_CONFIG, "dir does not end in the order's name", dir, order);
		return NULL;
	}
	return xstrndup(dir, length - tail - 1);
}

/* In the main process: look at the order; what the cache knows is done with that. */
static int
before(json_t *record, void *context, struct failure *why)
{
	struct parsing *parsing = context;
	const char *order = record_order(record);
	auto_free char *top = NULL;

	orders_job_clear(&parsing->job);
	if (order == NULL)
		return fail(why, EX_CONFIG, "the record has no order", NULL, NULL);
	if (order_check(order, why) == -1)
		return FILTER_FAILED;
	if (record_flag(record, "gone")) {
		forget(parsing->opt, order);
		return FILTER_DONE;
	}
	top = top_of(record, order, why);
	if (top == NULL)
		return FILTER_FAILED;
	if (parsing->orders.top == NULL || strcmp(parsing->orders.top, top) != 0) {
		orders_close(&parsing->orders);
		if (orders_open(&parsing->orders, &parsing->opt->settings, top,
			parsing->opt->settings.etc, NULL, why) == -1) {
			orders_close(&parsing->orders);
			return FILTER_FAILED;
		}
	}
	if (orders_find(&parsing->orders, order, NULL, true, &parsing->job, why) == -1)
		return FILTER_FAILED;
	if (parsing->job.outcome == NULL)
		return FILTER_PASS;
	return orders_apply(&parsing->job, record, why) == -1 ? FILTER_FAILED : FILTER_DONE;
}

/* In a worker: evaluate it. */
static int
step(json_t *record, void *context, struct failure *why)
{
	struct parsing *parsing = context;

	if (orders_evaluate(&parsing->orders, &parsing->job, true, why) == -1 ||
	    orders_apply(&parsing->job, record, why) == -1)
		return FILTER_FAILED;
	return FILTER_PASS;
}

static int
filter(struct options *opt, struct failure *why)
{
	struct parsing parsing = {.opt = opt};
	const struct filter filter = {
	    .before = before, .step = step, .context = &parsing, .jobs = opt->jobs};
	int result = filter_run(&filter, why);

	orders_job_clear(&parsing.job);
	orders_close(&parsing.orders);
	return result;
}

static bool
is_top(const char *path)
{
	auto_free char *git = xasprintf("%s/.git", path);
	auto_free char *global = xasprintf("%s/.starphleet", path);

	return path_exists(git) || path_exists(global);
}

/* The nearest directory from path upwards that looks like a headquarters, else path's parent. */
static char *
find_top(const char *path)
{
	size_t length = strlen(path);
	const char *slash = strrchr(path, '/');

	for (;;) {
		auto_free char *top = xstrndup(path, length);

		if (is_top(top))
			return steal(top);
		while (length > 0 && path[length - 1] != '/')
			length--;
		if (length <= 1)
			break;
		length--; /* the slash */
	}
	return slash == NULL || slash == path ? xstrdup(path)
					      : xstrndup(path, (size_t)(slash - path));
}

/* A file on the command line, taken apart. */
struct file {
	char *top, *order, *name, *prefix;
};

static void
file_clear(struct file *file)
{
	free(file->top);
	free(file->order);
	free(file->name);
	free(file->prefix);
}

#define auto_file __attribute__((cleanup(file_clear)))

static int
file_locate(const struct options *opt, const char *path, struct file *file, struct failure *why)
{
	const char *slash = strrchr(path, '/');
	auto_free char *named =
	    slash == NULL ? xstrdup(".") : xstrndup(path, (size_t)(slash - path) + 1);
	auto_free char *dir = realpath(named, NULL);
	auto_free char *below = NULL;
	size_t length;

	if (dir == NULL)
		return fail(why, EX_CONFIG, "cannot read", path, strerror(errno));
	file->name = xstrdup(slash == NULL ? path : slash + 1);
	file->top = opt->headquarters == NULL ? find_top(dir) : realpath(opt->headquarters, NULL);
	if (file->top == NULL)
		return fail(why, EX_CONFIG, "cannot read", opt->headquarters, strerror(errno));
	length = strlen(file->top);
	if (strncmp(dir, file->top, length) != 0 || (dir[length] != '/' && dir[length] != '\0'))
		return fail(why, EX_CONFIG, "not in the headquarters", path, file->top);
	file->order = xstrdup(dir[length] == '/' ? dir + length + 1 : "");
	/* Messages name files as the user did, where that can be. */
	below = xasprintf("%s%s%s", file->order, *file->order == '\0' ? "" : "/", file->name);
	length = strlen(path) < strlen(below) ? 0 : strlen(path) - strlen(below);
	file->prefix = strcmp(path + length, below) == 0 ? xstrndup(path, length)
							 : xasprintf("%s/", file->top);
	return 0;
}

/* Evaluate one file into record; with --check, print its problems instead of failing. */
static int
file_parse(const struct options *opt, const char *path, json_t *record, struct failure *why)
{
	auto_file struct file file = {0};
	auto_orders struct orders orders = {0};
	auto_orders_job struct orders_job job = {0};
	auto_free char *dir = NULL;
	json_t *problem;
	size_t i;

	if (file_locate(opt, path, &file, why) == -1)
		return -1;
	assert(file.top != NULL && file.order != NULL);
	dir = xasprintf("%s%s%s", file.top, *file.order == '\0' ? "" : "/", file.order);
	(void)json_object_set_new(record, "order", json_string(file.order));
	(void)json_object_set_new(record, "dir", json_string(dir));
	if (orders_open(&orders, &opt->settings, file.top,
		opt->ship == NULL ? opt->settings.etc : opt->ship, opt->check ? file.prefix : NULL,
		why) == -1 ||
	    orders_find(&orders, file.order, file.name, false, &job, why) == -1 ||
	    orders_evaluate(&orders, &job, false, why) == -1)
		return -1;
	if (!opt->check)
		return orders_apply(&job, record, why);
	json_array_foreach(json_object_get(job.outcome, "problems"), i, problem)(void)
	    puts(json_string_value(problem));
	return i == 0 ? 0 : -1;
}

static int
parse_files(const struct options *opt, struct failure *why)
{
	int failed = 0;

	for (char **path = opt->files; *path != NULL; path++) {
		auto_json json_t *record = json_object();
		auto_failure struct failure one = {0};

		if (file_parse(opt, *path, record, &one) == -1) {
			failed = 1;
			if (opt->check && one.code != 0)
				(void)puts(one.message);
			else if (!opt->check)
				record_fail(record, &one);
		}
		if (!opt->check && record_write(stdout, record, why) == -1)
			return -1;
	}
	if (fflush(stdout) == EOF || ferror(stdout))
		return fail(why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
	return failed;
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	struct options opt;
	bool verbose;
	int failed;

	options_parse(&opt, argc, argv);
	verbose = opt.settings.verbose;
	(void)signal(SIGPIPE, SIG_IGN);
	if (settings_load(&opt.settings, &why) == -1)
		return failure_report(&why);
	opt.settings.verbose = verbose;
	failed = *opt.files == NULL ? filter(&opt, &why) : parse_files(&opt, &why);
	settings_clear(&opt.settings);
	return failed == -1 ? failure_report(&why) : failed;
}
