/* SPDX-License-Identifier: MIT */
#include "lib/reap.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/container.h"
#include "lib/file.h"
#include "lib/generation.h"
#include "lib/netmap.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/state.h"

/*
 * What MUST hold:
 * 1. A container is destroyed only under its order's lock, after a look at serving.json under it.
 * 2. What cannot be read is no reason to destroy anything.
 * 3. An address is given back only after its container is gone, and netmap_forget with it.
 * 4. Killed at any line, the next run finishes: the note of what is to be done goes last.
 */

/* What starphleet-init gives a service to end in, after SIGTERM. */
enum { STOP_S = 10 };

static void
say(const struct reap *reap, const char *what, const char *name)
{
	if (reap->say != NULL)
		reap->say(what, name);
}

/* Report a failure and remember it for the end; the next thing may still be taken away. */
static int
remember(int result, struct failure *why, struct failure *last)
{
	if (result != -1)
		return 0;
	(void)failure_report(why);
	(void)fail(last, why->code, why->message, NULL, NULL);
	failure_clear(why);
	return 0;
}

/* What a walk of several things came to: failures were reported already, the last one counts. */
static int
conclude(const struct failure *last, struct failure *why)
{
	return last->code == 0 ? 0 : fail(why, last->code, last->message, NULL, NULL);
}

/* The order's lock, without waiting: -1 with *why empty means that somebody has it. */
static int
try_lock(const struct settings *settings, const char *order, const char *name, struct failure *why)
{
	auto_free char *path = state_path(settings, order, name);
	int lock = lock_take(path, false, why);

	if (lock == -1 && why->code == EX_TEMPFAIL)
		failure_clear(why);
	return lock;
}

/* 1 if container is what serves order; 0 if not; -1 if that cannot be known. */
static int
serves(
    const struct settings *settings, const char *order, const char *container, struct failure *why)
{
	auto_json json_t *serving = state_load(settings, order, "serving.json", why);
	const char *name = record_string(serving, "container", NULL);

	if (serving == NULL && why->code != 0)
		return -1;
	return name != NULL && strcmp(name, container) == 0;
}

static bool
container_there(const struct settings *settings, const char *container)
{
	auto_free char *path = xasprintf("%s/%s", settings->lxc_root, container);

	return path_exists(path);
}

/* Destroy container and give its address back. The order's lock is held. */
static int
destroy(const struct reap *reap, const char *container, struct failure *why)
{
	const struct settings *settings = reap->settings;
	uint32_t address;
	int found;

	say(reap, "container", container);
	if (reap->dry_run)
		return 0;
	if ((found = address_find(settings, container, &address, why)) == -1 ||
	    container_stop(settings, container, STOP_S, why) == -1 ||
	    container_destroy(settings, container, why) == -1)
		return -1;
	if (found != 0)
		return 0;
	return netmap_forget(settings, address, why) == -1
		   ? -1
		   : address_release(settings, container, why);
}

/* True if the drain that note tells of is over; a note that cannot be read tells nothing. */
static bool
over(const json_t *note)
{
	const char *boot = record_string(note, "boot_id", NULL);
	const json_t *deadline = json_object_get(note, "deadline_ms");
	auto_free char *now = state_boot_id();

	if (boot == NULL || !json_is_integer(deadline))
		return false;
	return strcmp(boot, now) != 0 || state_now_ms() >= json_integer_value(deadline);
}

static int
reap_one_drained(
    const struct reap *reap, const char *order, const char *container, struct failure *why)
{
	auto_free char *file = xasprintf("draining/%s", container);
	auto_json json_t *note = state_load(reap->settings, order, file, why);
	auto_json json_t *again = NULL;
	auto_close int lock = -1;

	if (note == NULL && why->code != 0)
		return -1;
	if (note == NULL || !over(note) ||
	    (lock = try_lock(reap->settings, order, "lock", why)) == -1)
		return why->code == 0 ? 0 : -1;
	/* Under the lock: it may have been taken back since. */
	again = state_load(reap->settings, order, file, why);
	if (again == NULL)
		return why->code == 0 ? 0 : -1;
	switch (serves(reap->settings, order, container, why)) {
	case -1:
		return -1;
	case 0:
		if (destroy(reap, container, why) == -1)
			return -1;
		break;
	default:
		break;
	}
	return reap->dry_run ? 0 : state_remove(reap->settings, order, file, why);
}

struct walk {
	const struct reap *reap;
	struct failure last;
};

static int
reap_order_drained(const char *order, void *context, struct failure *why)
{
	struct walk *walk = context;
	auto_free char *path = state_path(walk->reap->settings, order, "draining");
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL)
		return errno == ENOENT
			   ? 0
			   : fail(&walk->last, EX_TEMPFAIL, "cannot read", path, strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		auto_free char *owner = order_of_container(entry->d_name);

		if (owner == NULL || strcmp(owner, order) != 0)
			continue;
		(void)remember(
		    reap_one_drained(walk->reap, order, entry->d_name, why), why, &walk->last);
	}
	return 0;
}

int
reap_drained(const struct reap *reap, struct failure *why)
{
	struct walk walk = {.reap = reap};
	int result = state_each(reap->settings, reap_order_drained, &walk, why);

	result = result == -1 ? -1 : conclude(&walk.last, why);
	failure_clear(&walk.last);
	return result;
}

/* The containers of this ship, by name: {"echo-1234567-89abcde": "echo"}. */
static int
list_one(const char *name, const json_t *about, void *context, struct failure *why)
{
	auto_free char *order = order_of_container(name);

	(void)about;
	(void)why;
	if (order != NULL)
		(void)json_object_set_new(context, name, json_string(order));
	return 0;
}

static int
destroy_all(
    const struct reap *reap, const json_t *containers, const char *order, struct failure *why)
{
	const char *name;
	const json_t *owner;

	json_object_foreach((json_t *)(uintptr_t)containers, name, owner)
	{
		if (strcmp(json_string_value(owner), order) == 0 && destroy(reap, name, why) == -1)
			return -1;
	}
	return 0;
}

/* Move the order's folder out of sight in one step, then take it apart. */
static int
remove_state(const struct reap *reap, const char *order, struct failure *why)
{
	const struct settings *settings = reap->settings;
	auto_free char *word = order_word(order);
	auto_free char *logs = xasprintf("%s/logs/%s", settings->root, word);
	auto_free char *folder = state_path(settings, order, NULL);
	auto_free char *away = xasprintf("%s/current_orders/.gone-%s", settings->root, word);

	say(reap, "state", *order == '\0' ? "/" : order);
	if (reap->dry_run)
		return 0;
	if (tree_remove(logs, why) == -1 || tree_remove(away, why) == -1)
		return -1;
	if (rename(folder, away) == -1 && errno != ENOENT)
		return fail(
		    why, failure_code_of_errno(errno), "cannot remove", folder, strerror(errno));
	return tree_remove(away, why);
}

/* Everything of an order. Its folder exists; both locks keep deploys away. */
static int
purge(const struct reap *reap, const json_t *containers, const char *order, struct failure *why)
{
	const struct settings *settings = reap->settings;
	auto_close int deploy = try_lock(settings, order, "deploy.lock", why);
	auto_close int lock = deploy == -1 ? -1 : try_lock(settings, order, "lock", why);
	auto_json json_t *serving = NULL;
	auto_json json_t *wanted = NULL;
	uint32_t service;
	int found;

	if (lock == -1)
		return why->code == 0 ? 0 : -1;
	/* Under the locks: the order may have come back. */
	serving = state_load(settings, order, "serving.json", why);
	if (serving != NULL || why->code != 0)
		return why->code == 0 ? 0 : -1;
	wanted = state_load(settings, order, "wanted.json", why);
	if ((wanted == NULL && why->code != 0) || (wanted != NULL && !record_flag(wanted, "gone")))
		return why->code == 0 ? 0 : -1;
	if ((found = address_service_find(settings, order, &service, why)) == -1 ||
	    (found == 0 && !reap->dry_run && netmap_remove(settings, service, why) == -1) ||
	    destroy_all(reap, containers, order, why) == -1)
		return -1;
	return remove_state(reap, order, why);
}

struct purging {
	const struct reap *reap;
	json_t *containers;
	struct failure last;
};

static int
purge_one(const char *order, void *context, struct failure *why)
{
	struct purging *purging = context;
	auto_json json_t *wanted = state_load(purging->reap->settings, order, "wanted.json", why);

	if (wanted == NULL)
		return remember(why->code == 0 ? 0 : -1, why, &purging->last);
	if (!record_flag(wanted, "gone"))
		return 0;
	return remember(purge(purging->reap, purging->containers, order, why), why, &purging->last);
}

/* Containers whose order has no folder: a purge that was killed, or a folder removed by hand. */
static void
purge_stateless(struct purging *purging, struct failure *why)
{
	const char *name;
	const json_t *owner;

	json_object_foreach(purging->containers, name, owner)
	{
		auto_free char *folder =
		    state_path(purging->reap->settings, json_string_value(owner), NULL);

		if (path_exists(folder) || !container_there(purging->reap->settings, name))
			continue;
		if (purging->reap->dry_run)
			say(purging->reap, "container", name);
		else
			(void)remember(purge(purging->reap, purging->containers,
					   json_string_value(owner), why),
			    why, &purging->last);
	}
}

/* What a purge that was killed had moved out of sight. */
static void
purge_leftovers(struct purging *purging, struct failure *why)
{
	auto_free char *path = xasprintf("%s/current_orders", purging->reap->settings->root);
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	while (dir != NULL && !purging->reap->dry_run && (entry = readdir(dir)) != NULL) {
		auto_free char *away = xasprintf("%s/%s", path, entry->d_name);

		if (strncmp(entry->d_name, ".gone-", 6) == 0)
			(void)remember(tree_remove(away, why), why, &purging->last);
	}
}

int
reap_gone(const struct reap *reap, struct failure *why)
{
	auto_json json_t *containers = json_object();
	struct purging purging = {.reap = reap, .containers = containers};
	int result;

	if (container_each(reap->settings, list_one, containers, why) == -1 ||
	    state_each(reap->settings, purge_one, &purging, why) == -1)
		return -1;
	purge_stateless(&purging, why);
	purge_leftovers(&purging, why);
	result = conclude(&purging.last, why);
	failure_clear(&purging.last);
	return result;
}

/* The claim of a container that is not there: its maker or its reaper was killed. */
static int
reap_claim(const char *container, uint32_t address, void *context, struct failure *why)
{
	struct walk *walk = context;
	const struct settings *settings = walk->reap->settings;
	auto_free char *order = order_of_container(container);
	auto_free char *folder = order == NULL ? NULL : state_path(settings, order, NULL);
	auto_close int lock = -1;

	if (order == NULL || container_there(settings, container))
		return 0;
	/* Under the lock: a container takes its address before it is there. */
	if (path_exists(folder) && (lock = try_lock(settings, order, "lock", why)) == -1)
		return remember(why->code == 0 ? 0 : -1, why, &walk->last);
	if (container_there(settings, container))
		return 0;
	switch (serves(settings, order, container, why)) {
	case 0:
		break;
	case 1:
		return 0;
	default:
		return remember(-1, why, &walk->last);
	}
	say(walk->reap, "address", container);
	if (walk->reap->dry_run)
		return 0;
	if (netmap_forget(settings, address, why) == -1)
		return remember(-1, why, &walk->last);
	return remember(address_release(settings, container, why), why, &walk->last);
}

static int
reap_service_claim(const char *word, uint32_t address, void *context, struct failure *why)
{
	struct walk *walk = context;
	const struct settings *settings = walk->reap->settings;
	auto_free char *order = order_of_word(word);
	auto_free char *folder = order == NULL ? NULL : state_path(settings, order, NULL);

	if (order == NULL || path_exists(folder) || generation_is_due(settings) ||
	    generation_old_workers())
		return 0;
	say(walk->reap, "service address", *order == '\0' ? "/" : order);
	if (walk->reap->dry_run)
		return 0;
	if (netmap_remove(settings, address, why) == -1)
		return remember(-1, why, &walk->last);
	return remember(address_service_release(settings, order, why), why, &walk->last);
}

int
reap_addresses(const struct reap *reap, struct failure *why)
{
	struct walk walk = {.reap = reap};
	int result = address_each(reap->settings, reap_claim, &walk, why);

	/* Under nginx's lock, for with it a route comes into being. */
	if (result != -1) {
		auto_close int lock = generation_lock(reap->settings, why);

		result = lock == -1
			     ? -1
			     : address_service_each(reap->settings, reap_service_claim, &walk, why);
	}
	result = result == -1 ? -1 : conclude(&walk.last, why);
	failure_clear(&walk.last);
	return result;
}
