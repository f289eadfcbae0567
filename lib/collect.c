/* SPDX-License-Identifier: MIT */
#include "lib/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/alloc.h"
#include "lib/container.h"
#include "lib/file.h"
#include "lib/layer.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/state.h"

enum { YOUNG_S = 60 * 60, LAYERS_KEPT = 10, LOGS_KEPT = 5, RECORDS_MAX_BYTES = 256 * 1024 * 1024 };

static void
say(const struct reap *reap, const char *what, const char *name)
{
	if (reap->say != NULL)
		reap->say(what, name);
}

/* Visit the entries of path by their whole paths; one that is not there has none. */
static int
each_entry(const char *path, int (*visit)(const char *path, void *context, struct failure *why),
    void *context, struct failure *why)
{
	auto_closedir DIR *dir = opendir(path);
	struct dirent *entry;

	if (dir == NULL)
		return errno == ENOENT || errno == ENOTDIR
			   ? 0
			   : fail(why, failure_code_of_errno(errno), "cannot read", path,
				 strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		auto_free char *each = xasprintf("%s/%s", path, entry->d_name);

		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    visit(each, context, why) == -1)
			return -1;
	}
	return 0;
}

struct trees {
	const struct reap *reap;
	json_t *wanted; /* paths that something names, as keys */
	json_t *unasked; /* trees that nobody has asked for of late */
};

/* The part of dir up to its commit: <...>/trees/<commit>. */
static void
want(json_t *wanted, const char *dir)
{
	const char *trees = dir == NULL ? NULL : strstr(dir, "/trees/");
	const char *commit = trees == NULL ? NULL : trees + strlen("/trees/");
	auto_free char *tree = NULL;

	if (commit == NULL)
		return;
	tree = xstrndup(dir, (size_t)(commit - dir) + strcspn(commit, "/"));
	(void)json_object_set_new(wanted, tree, json_true());
}

static void
want_record(json_t *wanted, const json_t *record)
{
	want(wanted, record_string(record, "dir", NULL));
	want(wanted, record_string(record, "service", "dir", NULL));
	want(wanted, record_string(record, "headquarters", "dir", NULL));
}

static int
want_order(const char *order, void *context, struct failure *why)
{
	struct trees *trees = context;
	auto_json json_t *record = state_load(trees->reap->settings, order, "wanted.json", why);

	if (record == NULL && why->code != 0)
		return -1; /* what it names is not known, so nothing is collected */
	want_record(trees->wanted, record);
	return 0;
}

/* The records that the last pulse worked with. */
static int
want_records(const struct trees *trees, struct failure *why)
{
	static const char *const names[] = {"records.jsonl", "headquarters", NULL};

	for (size_t i = 0; names[i] != NULL; i++) {
		auto_free char *path = xasprintf("%s/%s", trees->reap->settings->run, names[i]);
		auto_free char *text = file_read(path, RECORDS_MAX_BYTES, NULL, why);
		char *next = text;

		if (text == NULL && why->code != 0)
			return -1;
		for (char *line; next != NULL && (line = strsep(&next, "\n")) != NULL;) {
			auto_json json_t *record = json_loads(line, 0, NULL);

			want_record(trees->wanted, record);
		}
	}
	return 0;
}

static int
consider_tree(const char *path, void *context, struct failure *why)
{
	struct trees *trees = context;
	const char *name = strrchr(path, '/') + 1;
	struct stat st;

	if (strncmp(name, ".gone-", 6) == 0) { /* of a run that was killed */
		if (!trees->reap->dry_run)
			return tree_remove(path, why);
		return 0;
	}
	/* Its time says when it was last asked for. */
	if (*name != '.' && lstat(path, &st) == 0 && S_ISDIR(st.st_mode) &&
	    st.st_mtime < time(NULL) - YOUNG_S)
		(void)json_object_set_new(
		    trees->unasked, path, json_integer((json_int_t)st.st_mtime));
	return 0;
}

static int
consider_repository(const char *path, void *context, struct failure *why)
{
	auto_free char *trees = xasprintf("%s/trees", path);

	return each_entry(trees, consider_tree, context, why);
}

/* Out of sight in one step, so that nobody ever reads half a tree, then away. */
static int
remove_tree(const struct reap *reap, const char *path, json_int_t seen, struct failure *why)
{
	const char *name = strrchr(path, '/') + 1;
	auto_free char *away = xasprintf("%.*s.gone-%s", (int)(name - path), path, name);
	struct stat st;

	say(reap, "tree", path);
	if (reap->dry_run)
		return 0;
	if (rename(path, away) == -1)
		return errno == ENOENT ? 0
				       : fail(why, failure_code_of_errno(errno), "cannot remove",
					     path, strerror(errno));
	/* Asked for in this very moment: back with it. */
	if (stat(away, &st) == 0 && st.st_mtime != (time_t)seen && rename(away, path) == 0)
		return 0;
	return tree_remove(away, why);
}

int
collect_trees(const struct reap *reap, struct failure *why)
{
	auto_free char *repos = xasprintf("%s/repos", reap->settings->root);
	auto_free char *headquarters = xasprintf("%s/headquarters", reap->settings->root);
	auto_json json_t *wanted = json_object();
	auto_json json_t *unasked = json_object();
	struct trees trees = {reap, wanted, unasked};
	const char *path;
	const json_t *seen;

	if (each_entry(repos, consider_repository, &trees, why) == -1 ||
	    consider_repository(headquarters, &trees, why) == -1)
		return -1;
	if (json_object_size(unasked) == 0)
		return 0; /* as a rule: then no record need be read */
	if (state_each(reap->settings, want_order, &trees, why) == -1 ||
	    want_records(&trees, why) == -1)
		return -1;
	json_object_foreach(unasked, path, seen)
	{
		if (json_object_get(wanted, path) == NULL &&
		    remove_tree(reap, path, json_integer_value(seen), why) == -1)
			return -1;
	}
	return 0;
}

struct layer {
	char *digest, *order;
	time_t used;
};

struct layers {
	struct layer *list;
	size_t count, room;
	json_t *held; /* digests that a container has, as keys */
};

static int
hold_layers(const char *name, const json_t *about, void *context, struct failure *why)
{
	struct layers *layers = context;
	const json_t *digest;
	size_t index;

	(void)name;
	(void)why;
	json_array_foreach(json_object_get(about, "layers"), index, digest)
	{
		if (json_is_string(digest))
			(void)json_object_set_new(
			    layers->held, json_string_value(digest), json_true());
	}
	return 0;
}

static int
list_layer(const char *digest, const json_t *about, time_t used, void *context, struct failure *why)
{
	struct layers *layers = context;
	const char *kind = record_string(about, "kind", NULL);
	const char *order = record_string(about, "order", NULL);

	(void)why;
	if (kind == NULL || strcmp(kind, "build") != 0)
		return 0;
	if (layers->count == layers->room) {
		layers->room = layers->room == 0 ? 64 : layers->room * 2;
		layers->list = xreallocarray(layers->list, layers->room, sizeof *layers->list);
	}
	layers->list[layers->count++] =
	    (struct layer){xstrdup(digest), xstrdup(order == NULL ? "" : order), used};
	return 0;
}

/* By order, and within it the newest first. */
static int
by_order(const void *left, const void *right)
{
	const struct layer *one = left, *other = right;
	int result = strcmp(one->order, other->order);

	if (result != 0)
		return result;
	return one->used < other->used	 ? 1
	       : one->used > other->used ? -1
					 : strcmp(one->digest, other->digest);
}

static int
remove_layers(const struct reap *reap, const struct layers *layers, struct failure *why)
{
	size_t rank = 0;

	for (size_t i = 0; i < layers->count; i++) {
		const struct layer *layer = &layers->list[i];

		rank = i > 0 && strcmp(layer->order, layer[-1].order) == 0 ? rank + 1 : 0;
		if (rank < LAYERS_KEPT || layer->used > time(NULL) - YOUNG_S ||
		    json_object_get(layers->held, layer->digest) != NULL)
			continue;
		say(reap, "layer", layer->digest);
		if (!reap->dry_run && layer_remove(reap->settings, layer->digest, why) == -1)
			return -1;
	}
	return 0;
}

int
collect_layers(const struct reap *reap, struct failure *why)
{
	auto_json json_t *held = json_object();
	struct layers layers = {.held = held};
	int result = container_each(reap->settings, hold_layers, &layers, why);

	if (result == 0)
		result = layer_each(reap->settings, list_layer, &layers, why);
	if (result == 0 && layers.count > 0) {
		qsort(layers.list, layers.count, sizeof *layers.list, by_order);
		result = remove_layers(reap, &layers, why);
	}
	for (size_t i = 0; i < layers.count; i++) {
		free(layers.list[i].digest);
		free(layers.list[i].order);
	}
	free(layers.list);
	return result;
}

/* The newest logs of an order: {container: time}, for containers that are not there any more. */
struct logs {
	const struct reap *reap;
	json_t *times;
};

/* <container>.log, <container>.build.log and what was rotated away from them; free() the name. */
static char *
container_of_log(const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	auto_free char *container = xstrdup(name);
	char *log = strstr(container, ".log");
	auto_free char *order = NULL;

	if (log == NULL)
		return NULL;
	*log = '\0';
	if (log - container > 6 && strcmp(log - 6, ".build") == 0)
		log[-6] = '\0';
	order = order_of_container(container);
	return order == NULL ? NULL : steal(container);
}

static int
consider_log(const char *path, void *context, struct failure *why)
{
	struct logs *logs = context;
	auto_free char *container = container_of_log(path);
	auto_free char *place = NULL;
	struct stat st;

	(void)why;
	if (container == NULL || lstat(path, &st) == -1)
		return 0;
	place = xasprintf("%s/%s", logs->reap->settings->lxc_root, container);
	if (!path_exists(place) &&
	    st.st_mtime > json_integer_value(json_object_get(logs->times, container)))
		(void)json_object_set_new(
		    logs->times, container, json_integer((json_int_t)st.st_mtime));
	return 0;
}

/* Remove path if its container's logs are older than those of LOGS_KEPT others. */
static int
remove_log(const char *path, void *context, struct failure *why)
{
	struct logs *logs = context;
	auto_free char *container = container_of_log(path);
	const json_t *mine = container == NULL ? NULL : json_object_get(logs->times, container);
	const char *other;
	const json_t *theirs;
	int newer = 0;

	if (mine == NULL)
		return 0;
	json_object_foreach(logs->times, other, theirs)
	{
		json_int_t difference = json_integer_value(theirs) - json_integer_value(mine);

		newer += difference > 0 || (difference == 0 && strcmp(other, container) > 0);
	}
	if (newer < LOGS_KEPT)
		return 0;
	say(logs->reap, "log", path);
	/* The folder belongs to the containers' root: what lies there may be anything but a file.
	 */
	return logs->reap->dry_run ? 0 : tree_remove(path, why);
}

static int
collect_order_logs(const char *path, void *context, struct failure *why)
{
	auto_json json_t *times = json_object();
	struct logs logs = {.reap = context, .times = times};

	if (each_entry(path, consider_log, &logs, why) == -1)
		return -1;
	return json_object_size(times) <= LOGS_KEPT ? 0 : each_entry(path, remove_log, &logs, why);
}

int
collect_logs(const struct reap *reap, struct failure *why)
{
	auto_free char *path = xasprintf("%s/logs", reap->settings->root);
	struct reap own = *reap;

	return each_entry(path, collect_order_logs, &own, why);
}
