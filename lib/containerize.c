/* SPDX-License-Identifier: MIT */
#include "lib/containerize.h"

#include <stdio.h>
#include <string.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/build.h"
#include "lib/container-make.h"
#include "lib/file.h"
#include "lib/layer.h"
#include "lib/netmap.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/ship-name.h"
#include "lib/state.h"

enum { PORT_DEFAULT = 3001, RESTART_GRACE_S = 10 };

/* Whoever makes, takes back or destroys a container of the order holds this. */
static int
order_lock(const struct settings *settings, const char *order, struct failure *why)
{
	auto_free char *path = state_path(settings, order, "lock");

	return lock_take(path, true, why);
}

/* What a record asks for. Strings are the record's, but for name. */
struct wish {
	const struct settings *settings;
	const json_t *record;
	const char *order, *orders_id, *commit, *tree;
	char *name;
	int port;
	long long build_ms; /* what the layers took, and the container on them; both 0: it was there */
	long long start_ms;
};

static int
wish_of(
    struct wish *wish, const struct settings *settings, const json_t *record, struct failure *why)
{
	long port;

	*wish = (struct wish){.settings = settings,
	    .record = record,
	    .order = record_order(record),
	    .orders_id = record_string(record, "orders_id", NULL),
	    .commit = record_string(record, "service", "commit", NULL),
	    .tree = record_string(record, "service", "dir", NULL)};
	if (wish->order == NULL || order_check(wish->order, why) == -1)
		return why->code != 0
			   ? -1
			   : fail(why, EX_CONFIG, "no order", "order", "the record names none");
	if (wish->orders_id == NULL || strlen(wish->orders_id) < 7)
		return fail(
		    why, EX_CONFIG, "no orders_id", wish->order, "orders-parse comes before");
	if (record_flag(record, "autodeploy") &&
	    (wish->commit == NULL || wish->tree == NULL || strlen(wish->commit) < 7))
		return fail(
		    why, EX_CONFIG, "no service", wish->order, "hq-sync --services comes before");
	if (record_setting_number(record, "PORT", 1, 65535, PORT_DEFAULT, &port, why) == -1)
		return -1;
	wish->port = (int)port;
	wish->name = order_container(wish->order, wish->orders_id, wish->commit);
	return 0;
}

/* The service's whole environment: what the orders export, and what it may count on. */
static json_t *
environment(const struct wish *wish)
{
	json_t *env = json_deep_copy(json_object_get(wish->record, "env"));
	auto_free char *port = xasprintf("%d", wish->port);
	auto_free char *ship = ship_name();
	const char *const given[][2] = {{"PORT", port}, {"ORDERS_NAME", wish->order},
	    {"SOURCE_VERSION", wish->commit == NULL ? "" : wish->commit}, {"HOME", "/home/ubuntu"},
	    {"USER", "ubuntu"}};
	const char *const defaults[][2] = {{"SHIP_NAME", ship}, {"LANG", "C.UTF-8"},
	    {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}};

	if (env == NULL)
		env = json_object();
	for (size_t i = 0; i < sizeof given / sizeof *given; i++)
		(void)json_object_set_new(env, given[i][0], json_string(given[i][1]));
	for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++)
		if (json_object_get(env, defaults[i][0]) == NULL)
			(void)json_object_set_new(env, defaults[i][0], json_string(defaults[i][1]));
	return env;
}

/* A program that runs command as a shell would; free() it. The shell is gone when a single program
   runs, which then gets the signals itself. NULL stays NULL. */
static char *
web_program(const char *command)
{
	char *text = NULL;
	size_t length;
	FILE *out;

	if (command == NULL || *command == '\0')
		return NULL;
	if ((out = open_memstream(&text, &length)) == NULL)
		return NULL;
	(void)fputs("#!/bin/sh\nexec /bin/bash -c '", out);
	for (const char *next = command; *next != '\0'; next++)
		(void)(*next == '\'' ? fputs("'\\''", out) : fputc(*next, out));
	(void)fputs("'\n", out);
	(void)fclose(out);
	return text;
}

/* Make the container on these layers. The order's lock is held. */
static int
create(const struct wish *wish, const json_t *layers, const char *web, struct failure *why)
{
	auto_json json_t *env = environment(wish);
	auto_free char *program = web_program(web);
	struct container_plan plan = {.name = wish->name,
	    .order = wish->order,
	    .orders_id = wish->orders_id,
	    .commit = wish->commit,
	    .layers = layers,
	    .port = wish->port,
	    .env = env,
	    .web = program};
	struct idmap map;

	return idmap_load(&map, why) == -1 ||
		       address_take(wish->settings, wish->name, &plan.address, why) == -1
		   ? -1
		   : container_create(wish->settings, &map, &plan, why);
}

/* What exists is started. 1: it does not exist, or did but could not be started and is gone now. */
static int
start_existing(const struct wish *wish, struct failure *why)
{
	const struct settings *settings = wish->settings;
	auto_free char *draining = xasprintf("draining/%s", wish->name);
	auto_json json_t *about = container_about(settings, wish->name, why);

	if (about == NULL)
		return why->code == 0 ? 1 : -1;
	/* Before it is offered again: the reaper destroys what is named there. */
	if (state_remove(settings, wish->order, draining, why) == -1)
		return -1;
	if (container_running(settings, wish->name))
		return 0;
	if (netmap_ensure(settings, why) == -1)
		return -1;
	if (container_start(settings, wish->name, why) == 0)
		return 0;
	(void)fprintf(stderr, "container-build: %s; making it anew\n", why->message);
	failure_clear(why);
	/* Its address stays its own: perhaps the map leads there. */
	return container_destroy(settings, wish->name, why) == -1 ? -1 : 1;
}

/* Layers first, for they may take long and are nobody's; then the container, under the lock. */
static int
build_and_start(struct wish *wish, json_t **log, struct failure *why)
{
	const struct settings *settings = wish->settings;
	auto_json json_t *layers = NULL;
	auto_free char *web = NULL;
	auto_close int lock = -1;
	struct idmap map;
	const struct build build = {.settings = settings,
	    .map = &map,
	    .order = wish->order,
	    .container = wish->name,
	    .tree = wish->tree,
	    .env = json_object_get(wish->record, "env")};
	auto_failure struct failure ignored = {0};
	long long began = state_now_ms();
	uint32_t address;
	int existing;
	bool known;

	if (idmap_load(&map, why) == -1 || build_layers(&build, &layers, &web, log, why) == -1)
		return -1;
	wish->build_ms = state_now_ms() - began;
	if ((lock = order_lock(settings, wish->order, why)) == -1)
		return -1;
	/* Somebody else may have made it meanwhile. */
	if ((existing = start_existing(wish, why)) != 1)
		return existing;
	known = address_find(settings, wish->name, &address, &ignored) == 0;
	if (create(wish, layers, web, why) == 0 && netmap_ensure(settings, why) == 0 &&
	    container_start(settings, wish->name, why) == 0) {
		wish->start_ms = state_now_ms() - began - wish->build_ms;
		return 0;
	}
	(void)container_destroy(settings, wish->name, &ignored);
	/* An address that it had before may be what the map leads to; that one is the reaper's
	 * matter. */
	if (!known)
		(void)address_release(settings, wish->name, &ignored);
	return -1;
}

/* Add container{} from what the container itself says. */
static int
describe(const struct wish *wish, json_t *record, struct failure *why)
{
	auto_json json_t *about = container_about(wish->settings, wish->name, why);

	if (about == NULL)
		return why->code == 0 ? fail(why, EX_TEMPFAIL, "gone again", wish->name,
					    "somebody has destroyed it")
				      : -1;
	(void)json_object_set_new(record, "container",
	    json_pack("{s:s, s:O, s:O, s:O, s:I, s:I}", "name", wish->name, "address",
		json_object_get(about, "address"), "port", json_object_get(about, "port"), "layers",
		json_object_get(about, "layers"), "build_ms", (json_int_t)wish->build_ms, "start_ms",
		(json_int_t)wish->start_ms));
	(void)json_object_set_new(record, "state", json_string("checking"));
	return 0;
}

static int
containerize(struct wish *wish, json_t *record, json_t **log, struct failure *why)
{
	long long began = state_now_ms();
	int existing;

	{
		auto_close int lock = order_lock(wish->settings, wish->order, why);

		if (lock == -1)
			return -1;
		existing = start_existing(wish, why);
	}
	if (existing == 1) {
		(void)json_object_set_new(record, "state", json_string("building"));
		state_wanted(wish->settings, record, NULL);
		existing = build_and_start(wish, log, why);
	}
	if (existing == 0 && wish->settings->verbose)
		(void)fprintf(stderr, "container-build: %s runs: %lld ms\n", wish->name,
		    state_now_ms() - began);
	return existing == -1 ? -1 : describe(wish, record, why);
}

int
containerize_step(json_t *record, void *context, struct failure *why)
{
	const struct settings *settings = context;
	auto_json json_t *log = NULL;
	struct wish wish;
	int result;

	if (record_flag(record, "gone") ||
	    (!record_flag(record, "autodeploy") && !record_flag(record, "unpublished")))
		return 0;
	result = wish_of(&wish, settings, record, why);
	if (result == 0)
		result = containerize(&wish, record, &log, why);
	if (result == -1) {
		record_fail(record, why);
		if (log != NULL)
			(void)json_object_set(json_object_get(record, "error"), "log", log);
		(void)json_object_set_new(record, "state", json_string("building failed"));
	}
	if (wish.name != NULL) /* else it is no order's record, and leaves no trace on disk */
		state_wanted(settings, record, NULL);
	free(wish.name);
	return 0;
}

/* Make the serving container anew, from the layers that it stood on; first what is there of it
   goes, but only if there is what to make it from. */
static int
recreate(const struct settings *settings, const char *order, const char *name, struct failure *why)
{
	auto_json json_t *wanted = state_load(settings, order, "wanted.json", why);
	const json_t *layers = json_object_get(json_object_get(wanted, "container"), "layers");
	const char *top = json_string_value(json_array_get(layers, 0));
	auto_json json_t *about = NULL;
	struct wish wish = {0};
	int result = -1;

	if (wanted == NULL && why->code != 0)
		return -1;
	if (wanted == NULL || top == NULL || wish_of(&wish, settings, wanted, why) == -1 ||
	    strcmp(wish.name, name) != 0)
		(void)fail(why, EX_CONFIG, "cannot make anew", name,
		    "it is damaged or gone, and wanted.json is of another version");
	else if ((about = layer_use(settings, top, why)) == NULL)
		(void)fail(why, EX_CONFIG, "cannot make anew", name, "its layers are gone");
	else if (container_stop(settings, name, 0, why) == 0 &&
		 container_destroy(settings, name, why) == 0) /* it may run on without its folder */
		result =
		    create(&wish, layers, json_string_value(json_object_get(about, "web")), why);
	free(wish.name);
	return result;
}

int
containerize_serving(
    const struct settings *settings, const char *order, bool restart, struct failure *why)
{
	auto_close int lock = order_lock(settings, order, why);
	auto_json json_t *serving =
	    lock == -1 ? NULL : state_load(settings, order, "serving.json", why);
	const char *name = record_string(serving, "container", NULL);
	auto_json json_t *about = NULL;
	auto_free char *of = NULL;

	if (serving == NULL)
		return why->code == 0 ? 0 : -1;
	of = name == NULL ? NULL : order_of_container(name);
	if (of == NULL || strcmp(of, order) != 0)
		return fail(why, EX_CONFIG, "cannot start what served", order,
		    "serving.json names no container of it");
	about = container_about(settings, name, why);
	if (about == NULL && why->code != 0)
		return -1;
	if (about != NULL) {
		if (restart && container_stop(settings, name, RESTART_GRACE_S, why) == -1)
			return -1;
		if (container_start(settings, name, why) == 0)
			return 0;
		(void)fprintf(stderr, "container-build: %s\n", why->message);
		failure_clear(why);
	}
	return recreate(settings, order, name, why) == -1 ? -1
							  : container_start(settings, name, why);
}
