/* SPDX-License-Identifier: MIT */
/* healthcheck - wait until a container's service is well; watch those that serve */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/health.h"
#include "lib/listening.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/probe.h"
#include "lib/record.h"
#include "lib/settings.h"
#include "lib/state.h"
#include "lib/watch.h"

enum { AT_ONCE = 500, ONCE_S = 30 };

struct options {
	struct settings settings;
	const char *once;
	long timeout_ms;
	bool watch;
	bool verbose;
};

/* A record whose service is being asked. */
struct check {
	json_t *record;
	struct health health;
};

struct filtering {
	const struct options *opt;
	struct probe_set *set;
	struct record_reader *reader;
	int busy;
	bool some_failed;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: healthcheck [-v]\n"
	    "       healthcheck [-v] --once URL [--timeout SECONDS]\n"
	    "       healthcheck [-v] --watch\n"
	    "\n"
	    "Filter: waits until the service in each record's container is well.\n"
	    "\n"
	    "  --once URL         ask once; exit 0 if the answer is 200, else 1\n"
	    "  --timeout SECONDS  for that (30)\n"
	    "  --watch            watch what serves; print each order to restart on a line\n"
	    "  -v                 say more on standard error\n"
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
	    {"help", no_argument, NULL, 'h'},
	    {"once", required_argument, NULL, 'o'},
	    {"timeout", required_argument, NULL, 't'},
	    {"version", no_argument, NULL, 'V'},
	    {"watch", no_argument, NULL, 'w'},
	    {NULL, 0, NULL, 0},
	};
	const char *bad = NULL;
	int option;

	*opt = (struct options){0};
	while ((option = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		switch (option) {
		case 'h':
			usage(stdout);
			exit(0);
		case 'o':
			opt->once = optarg;
			break;
		case 't':
			opt->timeout_ms = (long)strtonum(optarg, 1, 3600, &bad) * 1000;
			if (bad != NULL)
				misuse();
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			(void)printf("healthcheck %s\n", PACKAGE_VERSION);
			exit(0);
		case 'w':
			opt->watch = true;
			break;
		default:
			misuse();
		}
	}
	if (optind < argc || (opt->once != NULL && opt->watch) ||
	    (opt->timeout_ms != 0 && opt->once == NULL))
		misuse();
}

/* --once: 0 well, 1 not, -1 with *why if it cannot be asked. */
static int
once(const struct options *opt, struct failure *why)
{
	auto_failure struct failure unwell = {0};
	auto_health struct health health = {0};
	struct probe_set *set;
	int result = 0;

	if (health_of_url(&health, opt->once, why) == -1)
		return -1;
	health.probe.timeout_ms = opt->timeout_ms != 0 ? opt->timeout_ms : ONCE_S * 1000L;
	set = probe_set_new();
	probe_start(set, &health.probe);
	while (result == 0 && probe_next(set) == NULL)
		result = probe_wait(set, -1, -1, why);
	probe_set_free(set);
	if (result == -1)
		return -1;
	if (!health.probe.well) {
		(void)fail(&unwell, 1, "not well", opt->once, health.probe.seen);
		return failure_report(&unwell);
	}
	if (opt->verbose)
		(void)fprintf(stderr, "healthcheck: %s: %s in %ld ms\n", opt->once,
		    health.probe.seen, health.probe.ms);
	return 0;
}

static int
emit(struct filtering *filtering, const json_t *record, struct failure *why)
{
	filtering->some_failed = filtering->some_failed || record_failed(record);
	return record_write(stdout, record, why);
}

static void
check_free(struct check *check)
{
	json_decref(check->record);
	health_clear(&check->health);
	free(check);
}

/* The record's health is known, or bad says why it cannot be: on with it. Frees check. */
static int
finish(struct filtering *filtering, struct check *check, const struct failure *bad,
    struct failure *why)
{
	json_t *record = check->record;
	const char *order = record_order(record);
	const char *container = record_string(record, "container", "name", NULL);
	json_t *words = NULL;
	int result;

	if (bad != NULL) {
		record_fail(record, bad);
		if (container != NULL)
			words = health_last_words(&filtering->opt->settings, order, container);
		if (json_array_size(words) > 0)
			(void)json_object_set(json_object_get(record, "error"), "log", words);
		json_decref(words);
	}
	(void)json_object_set_new(
	    record, "state", json_string(bad == NULL ? "checking" : "failed"));
	state_wanted(&filtering->opt->settings, record, NULL);
	result = emit(filtering, record, why);
	check_free(check);
	return result;
}

/* A record came in: pass it, or begin to ask. */
static int
begin(struct filtering *filtering, json_t *record, struct failure *why)
{
	auto_failure struct failure bad = {0};
	const char *order = record_order(record);
	struct check *check;
	int result;

	/* What is gone has no health; what is unpublished needs none to be online. A record that no
	 * order's name is in leaves no trace of itself on disk. */
	if (!record_failed(record) && order_check(order == NULL ? "?" : order, &bad) == -1)
		record_fail(record, &bad);
	if (record_failed(record) || record_flag(record, "gone") ||
	    record_flag(record, "unpublished")) {
		result = emit(filtering, record, why);
		json_decref(record);
		return result;
	}
	check = xcalloc(1, sizeof(*check));
	check->record = record;
	if (health_of(&check->health, record, record_string(record, "container", "address", NULL),
		json_integer_value(json_object_get(json_object_get(record, "container"), "port")),
		&bad) == -1)
		return finish(filtering, check, &bad, why);
	check->health.probe.owner = check;
	probe_start(filtering->set, &check->health.probe);
	filtering->busy++;
	return 0;
}

/* A verdict: add it to the record. */
static int
judge(struct filtering *filtering, struct check *check, struct failure *why)
{
	const struct probe *probe = &check->health.probe;
	const char *container = record_string(check->record, "container", "name", NULL);
	auto_failure struct failure bad = {0};
	auto_free char *what = NULL, *seen = NULL, *sockets = NULL;
	pid_t pid;

	filtering->busy--;
	(void)json_object_set_new(check->record, "health",
	    json_pack("{s:o, s:I, s:i}", "status",
		probe->request == NULL ? json_null() : json_integer(probe->status), "ms",
		(json_int_t)probe->ms, "tries", probe->tries));
	if (filtering->opt->verbose)
		(void)fprintf(stderr, "healthcheck: %s: %s in %ld ms, %d tries\n",
		    check->health.url, probe->seen, probe->ms, probe->tries);
	if (probe->well)
		return finish(filtering, check, NULL, why);
	/* A container that somebody took away says nothing about this version: try again. */
	pid = container == NULL ? 0 : cgroup_init(&filtering->opt->settings, container);
	what = xasprintf(
	    probe->request == NULL ? "not listening within %ld s" : "not well within %ld s",
	    probe->patience_ms / 1000);
	sockets = pid == 0 || probe->status != 0 ? NULL : listening_at(pid);
	if (pid == 0)
		seen = xasprintf("the container does not run any more; %s", probe->seen);
	else if (sockets == NULL)
		seen = xstrdup(probe->seen);
	else
		seen = xasprintf("%s; the container listens %s%s", probe->seen,
		    *sockets == '\0' ? "nowhere" : "at ", sockets);
	(void)fail(&bad, pid != 0 ? EX_CONFIG : EX_TEMPFAIL, what, check->health.url, seen);
	return finish(filtering, check, &bad, why);
}

/* Ask for all records at once, up to AT_ONCE: one that never answers holds up none. */
static int
filter_loop(struct filtering *filtering, struct failure *why)
{
	for (;;) {
		bool room = filtering->busy < AT_ONCE;
		struct probe *probe;

		while (room) {
			json_t *record = record_read(filtering->reader, false, why);

			if (record == NULL && why->code != 0)
				return -1;
			if (record == NULL)
				break;
			if (begin(filtering, record, why) == -1)
				return -1;
			room = filtering->busy < AT_ONCE;
		}
		room = room && !record_reader_ended(filtering->reader);
		if (!room && filtering->busy == 0)
			return filtering->some_failed;
		if (probe_wait(filtering->set, room ? STDIN_FILENO : -1, -1, why) == -1)
			return -1;
		while ((probe = probe_next(filtering->set)) != NULL)
			if (judge(filtering, probe->owner, why) == -1)
				return -1;
	}
}

static int
filter(const struct options *opt, struct failure *why)
{
	struct filtering filtering = {.opt = opt, .set = probe_set_new()};
	int result;

	filtering.reader = record_reader_new(STDIN_FILENO);
	result = filter_loop(&filtering, why);
	record_reader_free(filtering.reader);
	probe_set_free(filtering.set);
	return result;
}

/* --watch: an order's name on a line. */
static int
report(const char *order, const char *reason, void *context, struct failure *why)
{
	(void)context;
	(void)fprintf(stderr, "healthcheck: %s: to be restarted: %s\n", order, reason);
	if (printf("%s\n", order) < 0 || fflush(stdout) == EOF)
		return fail(why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
	return 0;
}

static int
watch(const struct options *opt, struct failure *why)
{
	const struct watch watching = {.settings = &opt->settings, .report = report};

	return watch_run(&watching, why);
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	struct options opt;
	int result;

	options_parse(&opt, argc, argv);
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that left is a failed write, which we report */
	if (opt.once != NULL) {
		result = once(&opt, &why);
		return result == -1 ? failure_report(&why) : result;
	}
	if (settings_load(&opt.settings, &why) == -1)
		result = -1;
	else
		result = opt.watch ? watch(&opt, &why) : filter(&opt, &why);
	settings_clear(&opt.settings);
	return result == -1 ? failure_report(&why) : result;
}
