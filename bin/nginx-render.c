/* SPDX-License-Identifier: MIT */
/* nginx-render - publish: switch orders to their containers, keep nginx's routes in step */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/generation.h"
#include "lib/netmap.h"
#include "lib/nginx.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/publish.h"
#include "lib/record.h"
#include "lib/route.h"
#include "lib/settings.h"
#include "lib/state.h"

/* Records that are there at once share one rendering and one reload. */
enum { BATCH_MAX = 1024 };

struct options {
	struct settings settings;
	bool no_reload;
	bool verbose;
};

/* A record, whether nginx must learn of it, and why it failed here. */
struct item {
	json_t *record;
	bool routes;
	struct failure why;
};

struct batch {
	const struct options *opt;
	struct item items[BATCH_MAX];
	size_t count;
	bool some_failed;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: nginx-render [-v] [--no-reload]\n"
	    "\n"
	    "Filter: publishes each record's container at its order's path.\n"
	    "Without any record it puts the map and nginx's configuration back as they should be.\n"
	    "\n"
	    "  --no-reload        do not tell a running nginx\n"
	    "  -v                 say more on standard error\n"
	    "  --help, --version\n",
	    out);
}

static void
options_parse(struct options *opt, int argc, char *argv[])
{
	static const struct option longs[] = {
	    {"help", no_argument, NULL, 'h'},
	    {"no-reload", no_argument, NULL, 'n'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	*opt = (struct options){0};
	while ((option = getopt_long(argc, argv, "v", longs, NULL)) != -1) {
		switch (option) {
		case 'h':
			usage(stdout);
			exit(0);
		case 'n':
			opt->no_reload = true;
			break;
		case 'v':
			opt->verbose = true;
			break;
		case 'V':
			(void)printf("nginx-render %s\n", PACKAGE_VERSION);
			exit(0);
		default:
			usage(stderr);
			exit(EX_USAGE);
		}
	}
	if (optind < argc) {
		usage(stderr);
		exit(EX_USAGE);
	}
}

static void
item_fail(struct item *item, const struct failure *why)
{
	if (item->why.code == 0)
		(void)fail(&item->why, why->code, why->message, NULL, NULL);
}

/* nginx refuses the lines of order: say so on its record, or where it is none of this batch. */
static void
blame(struct batch *batch, const char *order, const struct failure *why)
{
	auto_free char *what = xasprintf("cannot publish: %s", *order == '\0' ? "/" : order);
	auto_failure struct failure blamed = {0};
	bool said = false;

	(void)fail(&blamed, why->code, what, why->message, NULL);
	for (size_t i = 0; i < batch->count; i++) {
		const char *name = record_order(batch->items[i].record);

		if (name == NULL || strcmp(name, order) != 0 ||
		    record_failed(batch->items[i].record))
			continue;
		item_fail(&batch->items[i], &blamed);
		said = true;
	}
	if (!said)
		(void)failure_report(&blamed);
}

/* One generation for everything that serves; orders that nginx refuses are left out of it. */
static int
render(struct batch *batch, struct failure *why)
{
	const struct settings *settings = &batch->opt->settings;
	auto_close int lock = generation_lock(settings, why);
	auto_routes struct routes routes = {0};

	if (lock == -1 || routes_load(settings, &routes, why) == -1)
		return -1;
	for (;;) {
		auto_free char *text = nginx_text(settings, &routes, why);
		auto_free char *order = NULL;
		size_t line = 0;

		if (text == NULL)
			return -1;
		switch (generation_make(settings, text, !batch->opt->no_reload, &line, why)) {
		case GENERATION_DONE:
			return 0;
		case GENERATION_FAILED:
			return -1;
		case GENERATION_REFUSED:
			break;
		}
		if (line == 0 || (order = nginx_order_at(text, line)) == NULL)
			return -1;
		blame(batch, order, why);
		failure_clear(why);
		routes_drop(&routes, order);
	}
}

/* Note how it ended, on the record and on disk, and pass the record on. */
static int
finish(struct batch *batch, struct item *item, struct failure *why)
{
	const struct settings *settings = &batch->opt->settings;
	const char *order = record_order(item->record);
	bool came_failed = record_failed(item->record);
	auto_failure struct failure unnamed = {0};

	if (item->why.code != 0 && !came_failed) {
		(void)json_object_del(item->record, "published");
		(void)json_object_set_new(item->record, "state", json_string("publish failed"));
		record_fail(item->record, &item->why);
	}
	/* An order that never was here, and is gone, leaves no folder. */
	if (order != NULL && !came_failed && order_check(order, &unnamed) == 0) {
		auto_free char *folder = state_path(settings, order, NULL);

		if (path_exists(folder))
			state_wanted(settings, item->record, NULL);
	}
	if (batch->opt->verbose && order != NULL && !record_failed(item->record))
		(void)fprintf(stderr, "nginx-render: %s: %s\n", *order == '\0' ? "/" : order,
		    record_flag(item->record, "gone") ? "gone"
						      : record_string(item->record, "state", NULL));
	batch->some_failed = batch->some_failed || record_failed(item->record);
	return record_write(stdout, item->record, why);
}

/* Switch each, render once, pass all on. */
static int
work(struct batch *batch, struct failure *why)
{
	const struct settings *settings = &batch->opt->settings;
	bool needed = generation_is_due(settings);
	int result = 0;

	for (size_t i = 0; i < batch->count; i++) {
		struct item *item = &batch->items[i];

		(void)publish_record(settings, item->record, &item->routes, &item->why);
		needed = needed || item->routes;
	}
	if (needed) {
		auto_failure struct failure unrendered = {0};

		if (render(batch, &unrendered) == -1) {
			for (size_t i = 0; i < batch->count; i++)
				if (batch->items[i].routes)
					item_fail(&batch->items[i], &unrendered);
			(void)failure_report(&unrendered);
		}
	}
	for (size_t i = 0; i < batch->count; i++) {
		if (result == 0)
			result = finish(batch, &batch->items[i], why);
		json_decref(batch->items[i].record);
		failure_clear(&batch->items[i].why);
	}
	batch->count = 0;
	return result;
}

/* Nothing is new: see to it that what serves is in force. */
static int
restore(struct batch *batch, struct failure *why)
{
	auto_failure struct failure unmapped = {0};
	int result = netmap_restore(&batch->opt->settings, &unmapped);

	if (render(batch, why) == -1)
		return -1;
	return result == -1 ? fail(why, unmapped.code, unmapped.message, NULL, NULL) : 0;
}

/* All records, gathered as they come. 0, 1 if some carries an error, -1 with *why. */
static int
filter(struct batch *batch, struct failure *why)
{
	struct record_reader *reader = record_reader_new(STDIN_FILENO);
	auto_failure struct failure unwritten = {0};
	bool none = true;
	int result = 0;

	while (result == 0) {
		json_t *record = record_read(reader, batch->count == 0, why);

		if (record != NULL) {
			none = false;
			batch->items[batch->count++] = (struct item){.record = record};
			if (batch->count < BATCH_MAX)
				continue;
		}
		if (batch->count == 0)
			break;
		result = work(batch, &unwritten);
	}
	record_reader_free(reader);
	if (why->code != 0)
		return -1;
	if (result == -1)
		return fail(why, unwritten.code, unwritten.message, NULL, NULL);
	return none ? restore(batch, why) : batch->some_failed;
}

int
main(int argc, char *argv[])
{
	auto_failure struct failure why = {0};
	auto_settings struct settings settings = {0};
	struct options opt;
	struct batch *batch;
	int result;

	options_parse(&opt, argc, argv);
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that left is a failed write, which we report */
	if (settings_load(&settings, &why) == -1)
		return failure_report(&why);
	opt.settings = settings; /* lent */
	batch = xcalloc(1, sizeof *batch);
	batch->opt = &opt;
	result = filter(batch, &why);
	free(batch);
	return result == -1 ? failure_report(&why) : result;
}
