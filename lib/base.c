/* SPDX-License-Identifier: MIT */
#include "lib/base.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/apt.h"
#include "lib/digest.h"
#include "lib/file.h"
#include "lib/layer.h"
#include "lib/own.h"
#include "lib/run.h"

enum { MAKE_MS = 60 * 60 * 1000 };

/* The machine's own certificate authorities: behind some proxies nothing works without them. */
static const char authorities[] = "/usr/local/share/ca-certificates";

static char *
link_path(const struct settings *settings)
{
	return xasprintf("%s/base", settings->layers);
}

char *
base_current(const struct settings *settings, struct failure *why)
{
	auto_free char *path = link_path(settings);
	auto_json json_t *about = NULL;
	char digest[DIGEST_HEX + 2];
	ssize_t length = readlink(path, digest, sizeof digest);

	failure_clear(why);
	if (length == DIGEST_HEX) {
		digest[length] = '\0';
		about = layer_use(settings, digest, why);
		if (about != NULL)
			return xstrdup(digest);
	}
	if (why->code == 0)
		(void)fail(
		    why, EX_UNAVAILABLE, "no base layer", path, "run container-build --base");
	return NULL;
}

/* Let <layers>/base lead to digest: atomically, like any other file. */
static int
point(const struct settings *settings, const char *digest, struct failure *why)
{
	auto_free char *path = link_path(settings);
	auto_free char *new = xasprintf("%s/.base.%d", settings->layers, (int)getpid());

	if ((unlink(new) == -1 && errno != ENOENT) || symlink(digest, new) == -1 ||
	    rename(new, path) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", path, strerror(errno));
	return dir_sync_parent(path, why);
}

static char *
recipe_path(const struct settings *settings)
{
	return xasprintf("%s/lxc/make-base", settings->share);
}

static int
digest_of(const struct settings *settings, const struct apt *apt, const struct idmap *map,
    char hex[static DIGEST_HEX + 1], struct failure *why)
{
	auto_free char *recipe = recipe_path(settings);
	auto_free char *ids = xasprintf("%u:%u", map->uid, map->gid);
	struct digest *digest = digest_new();
	int result;

	digest_add_string(digest, apt->id);
	digest_add_string(digest, apt->codename);
	digest_add_string(digest, apt->sources);
	digest_add_string(digest, apt->proxies);
	digest_add_string(digest, ids);
	result = digest_add_tree(digest, recipe);
	if (result == 0)
		result = digest_add_tree(digest, authorities);
	if (result == -1)
		(void)fail(why, EX_UNAVAILABLE, "cannot read", recipe, strerror(errno));
	digest_end(digest, hex);
	return result;
}

/* Have the recipe fill the layer's root. */
static int
fill(const struct settings *settings, const struct apt *apt, const struct idmap *map,
    const char *root, struct failure *why)
{
	auto_free char *recipe = recipe_path(settings);
	auto_free char *uids = xasprintf("u:0:%u:%d", map->uid, IDMAP_COUNT);
	auto_free char *gids = xasprintf("g:0:%u:%d", map->gid, IDMAP_COUNT);
	const char *argv[] = {
	    recipe, root, uids, gids, apt->codename, apt->sources, apt->keys, apt->proxies, NULL};
	const struct run run = {
	    .argv = argv, .output_fd = STDERR_FILENO, .merge = true, .limit_ms = MAKE_MS};

	return run_program(&run, NULL, why);
}

int
base_make(const struct settings *settings, const struct idmap *map, struct failure *why)
{
	auto_making struct making layer = {.lock = -1};
	auto_apt struct apt apt = {0};
	auto_json json_t *about = NULL;
	auto_free char *root = NULL;
	char digest[DIGEST_HEX + 1];
	int lock, result = 0;

	if (dir_make(settings->layers, 0711, why) == -1 || apt_load(&apt, why) == -1 ||
	    digest_of(settings, &apt, map, digest, why) == -1 ||
	    (lock = layer_lock(settings, digest, why)) == -1)
		return -1;
	about = layer_use(settings, digest, why);
	if (about == NULL && why->code != 0)
		result = -1;
	if (about == NULL && result == 0) {
		(void)fprintf(stderr,
		    "container-build: making the base layer: %s %s (about a minute)\n", apt.id,
		    apt.codename);
		result = layer_begin(settings, map, &layer, why);
		if (result == 0) {
			root = xasprintf("%s/root", layer.path);
			result = fill(settings, &apt, map, root, why);
		}
		about = json_pack("{s:s, s:s, s:s}", "kind", "base", "distribution", apt.id,
		    "suite", apt.codename);
		if (result == 0)
			result = layer_commit(settings, &layer, digest, about, why);
	}
	layer_unlock(settings, digest, lock);
	return result == -1 ? -1 : point(settings, digest, why);
}
