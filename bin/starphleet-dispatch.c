/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/digest.h"
#include "lib/failure.h"
#include "lib/file.h"
#include "lib/filter.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/run.h"
#include "lib/settings.h"
#include "lib/state.h"

/*
 * So many deploys of one pulse at once. Those beyond wait here, where they cost nothing; and since
 * each pulse starts a dispatch of its own, a few that hang never hold up the others for long.
 */
enum { DEPLOYS = 64, RECORD_MAX = 8 * 1024 * 1024 };

/* What was said this long ago is said again: it had passed in between. */
static const long long QUIET_MS = 5 * 60 * 1000LL;

struct dispatch {
	struct settings settings;
	const char *command;
	bool verbose;
};

static const char *
order_shown(const char *order)
{
	return order == NULL ? "?" : *order == '\0' ? "(root)" : order;
}

/* The file that keeps what was said last about order; without a usable name, this very text. */
static char *
said_path(const struct settings *settings, const char *order, const char *text)
{
	auto_free char *word = order == NULL ? NULL : order_word(order);
	char hex[DIGEST_HEX + 1];

	if (word != NULL)
		return xasprintf("%s/said/%s", settings->run, word);
	digest_of_string(text, hex);
	return xasprintf("%s/said/.nameless-%.16s", settings->run, hex);
}

/*
 * Say "order: text" on standard error, but only once: the same text about the same order is not
 * repeated at each pulse. What was said is kept in <run>/said/<word>, for that and for status.
 */
static void
say_once(const struct settings *settings, const char *order, const char *text)
{
	auto_failure struct failure why = {0};
	auto_free char *path = said_path(settings, order, text);
	auto_free char *folder = xasprintf("%s/said", settings->run);
	auto_free char *before = file_read(path, RECORD_MAX, NULL, &why);
	auto_free char *now = NULL;
	char *said = NULL;
	long long at = before == NULL ? 0 : strtoll(before, &said, 10);

	failure_clear(&why);
	if (said == NULL || *said != ' ' || strcmp(said + 1, text) != 0 ||
	    state_now_ms() - at > QUIET_MS)
		(void)fprintf(stderr, "%s: %s\n", order_shown(order), text);
	now = xasprintf("%lld %s", state_now_ms(), text);
	/* Where it cannot be kept, it is said again at the next pulse: that is the lesser evil. */
	if (dir_make(folder, 0700, &why) == 0)
		(void)file_replace(path, now, strlen(now), 0600, &why);
}

/* The deploy went well: forget what was wrong, and say so. */
static void
say_done(
    const struct settings *settings, const json_t *record, const char *order, long long took_ms)
{
	auto_failure struct failure why = {0};
	auto_free char *path = said_path(settings, order, "");
	const char *state = record_string(record, "state", NULL);
	const char *location = record_string(record, "published", "location", NULL);
	const char *commit = record_string(record, "service", "commit", NULL);

	(void)unlink(path);
	(void)fprintf(stderr, "%s: %s%s%s%s%.7s (%lld.%02lld s)\n", order_shown(order),
	    record_flag(record, "gone") ? "gone"
	    : state == NULL		? "done"
					: state,
	    location == NULL ? "" : " at ", location == NULL ? "" : location,
	    commit == NULL ? "" : ", version ", commit == NULL ? "" : commit, took_ms / 1000,
	    took_ms % 1000 / 10);
}

static void
say_error(const struct settings *settings, const json_t *record, const char *order)
{
	const char *tool = record_string(record, "error", "tool", NULL);
	const char *message = record_string(record, "error", "message", NULL);
	auto_free char *plain =
	    xasprintf("%s: %s", tool == NULL ? "?" : tool, message == NULL ? "?" : message);
	auto_free char *text = failure_printable(plain);

	say_once(settings, order, text);
}

static json_int_t
error_status(const json_t *record)
{
	return json_integer_value(json_object_get(json_object_get(record, "error"), "status"));
}

/* Let the command work on record, and take over what it made of it. */
static int
deploy(const struct dispatch *dispatch, json_t *record, struct failure *why)
{
	auto_free char *line = json_dumps(record, JSON_COMPACT);
	auto_free char *input = line == NULL ? NULL : xasprintf("%s\n", line);
	const char *argv[] = {dispatch->command, record_flag(record, "gone") ? "gone" : NULL, NULL};
	const struct run run = {.argv = argv,
	    .env = (const char *const *)environ,
	    .input = input,
	    .output_limit = RECORD_MAX + 1};
	auto_free char *output = NULL;
	auto_json json_t *result = NULL;
	int ran = input == NULL ? fail(why, EX_SOFTWARE, "cannot write the record", NULL, NULL)
				: run_program(&run, &output, why);

	result = output == NULL ? NULL : json_loads(output, JSON_DISABLE_EOF_CHECK, NULL);
	if (!json_is_object(result))
		return ran == -1
			   ? -1
			   : fail(why, EX_SOFTWARE, "no record came back", dispatch->command, NULL);
	failure_clear(why); /* the record itself says what went wrong */
	if (json_object_clear(record) == -1 || json_object_update(record, result) == -1)
		return fail(why, EX_SOFTWARE, "cannot take the record over", NULL, NULL);
	return 0;
}

/* One record; in a process of its own. */
static int
step(json_t *record, void *context, struct failure *why)
{
	const struct dispatch *dispatch = context;
	const struct settings *settings = &dispatch->settings;
	auto_free char *order = record_order(record) == NULL ? NULL : xstrdup(record_order(record));
	auto_free char *path = NULL, *serving = NULL;
	auto_close int lock = -1;
	long long start = state_now_ms();
	int result;

	if (order != NULL && order_check(order, why) == -1) {
		free(order);
		order = NULL; /* no name that could be one of a file */
	}
	failure_clear(why);
	if (record_failed(record) || order == NULL) {
		say_error(settings, record, order);
		/* Kept, so that it is not passed on again at each pulse. What may pass by itself is
		 * not: a remote that is away for a minute would mean a deploy when it is back. */
		if (order != NULL && error_status(record) != EX_TEMPFAIL)
			state_wanted(settings, record, NULL);
		return FILTER_PASS;
	}
	serving = state_path(settings, order, "serving.json");
	if (record_flag(record, "gone") && !path_exists(serving))
		return FILTER_DROP; /* its route went at an earlier pulse */
	path = state_path(settings, order, "deploy.lock");
	lock = lock_take(path, false, why);
	if (lock == -1 && why->code == EX_TEMPFAIL && path_exists(path)) {
		failure_clear(why);
		return FILTER_DROP; /* it is being deployed; the next pulse looks again */
	}
	if (lock != -1 && dispatch->verbose)
		(void)fprintf(stderr, "%s: deploying\n", order_shown(order));
	result = lock == -1 ? -1 : deploy(dispatch, record, why);
	if (result == -1)
		record_fail(record, why);
	if (record_failed(record))
		say_error(settings, record, order);
	else
		say_done(settings, record, order, state_now_ms() - start);
	failure_clear(why);
	return FILTER_PASS;
}

static void
usage(FILE *out)
{
	(void)fputs("usage: starphleet-dispatch [--help] [--version] [-v] COMMAND\n", out);
}

int
main(int argc, char *argv[])
{
	static const struct option options[] = {{"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'V'}, {NULL, 0, NULL, 0}};
	auto_failure struct failure why = {0};
	struct dispatch dispatch = {0};
	struct filter filter = {.step = step,
	    .context = &dispatch,
	    .jobs = DEPLOYS,
	    .always_fork = true,
	    .sees_errors = true};
	int option, failed;

	while ((option = getopt_long(argc, argv, "+hv", options, NULL)) != -1) {
		switch (option) {
		case 'h':
			usage(stdout);
			return 0;
		case 'V':
			(void)puts("starphleet-dispatch " PACKAGE_VERSION);
			return 0;
		case 'v':
			dispatch.verbose = true;
			break;
		default:
			usage(stderr);
			return EX_USAGE;
		}
	}
	if (argc - optind != 1) {
		usage(stderr);
		return EX_USAGE;
	}
	dispatch.command = argv[optind];
	if (settings_load(&dispatch.settings, &why) == -1 ||
	    (failed = filter_run(&filter, &why)) == -1)
		failed = failure_report(&why);
	settings_clear(&dispatch.settings);
	return failed;
}
