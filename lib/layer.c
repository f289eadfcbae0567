/* SPDX-License-Identifier: MIT */
#include "lib/layer.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/digest.h"
#include "lib/file.h"
#include "lib/own.h"

enum { ABOUT_MAX = 1024 * 1024 };

char *
layer_path(const struct settings *settings, const char *digest)
{
	return xasprintf("%s/%s", settings->layers, digest);
}

static bool
is_digest(const char *name)
{
	return strlen(name) == DIGEST_HEX && strspn(name, "0123456789abcdef") == DIGEST_HEX;
}

/* layer.json of digest; NULL with why->code 0: there is none. */
static json_t *
about_load(const struct settings *settings, const char *digest, struct failure *why)
{
	auto_free char *path = xasprintf("%s/%s/layer.json", settings->layers, digest);
	auto_free char *text = file_read(path, ABOUT_MAX, NULL, why);
	json_error_t error;
	json_t *about;

	if (text == NULL)
		return NULL;
	if ((about = json_loads(text, 0, &error)) == NULL)
		(void)fail(why, EX_CONFIG, "cannot read", path, error.text);
	return about;
}

json_t *
layer_use(const struct settings *settings, const char *digest, struct failure *why)
{
	auto_free char *path = xasprintf("%s/%s/layer.json", settings->layers, digest);
	json_t *about = about_load(settings, digest, why);

	/* Kept by the reaper for as long as it was used lately; on a full disk that is no failure.
	 */
	if (about != NULL)
		(void)utimensat(AT_FDCWD, path, NULL, 0);
	return about;
}

static char *
lock_path(const struct settings *settings, const char *digest)
{
	return xasprintf("%s/.locks/%s", settings->layers, digest);
}

int
layer_lock(const struct settings *settings, const char *digest, struct failure *why)
{
	auto_free char *path = lock_path(settings, digest);

	return lock_take(path, true, why);
}

void
layer_unlock(const struct settings *settings, const char *digest, int lock)
{
	auto_free char *path = lock_path(settings, digest);

	/* Removed while held: whoever waits sees that the file it locked has no name any more. */
	(void)unlink(path);
	(void)close(lock);
}

int
layer_begin(const struct settings *settings, const struct idmap *map, struct making *layer,
    struct failure *why)
{
	auto_free char *root = NULL, *work = NULL;

	if (making_begin(settings->layers, layer, why) == -1)
		return -1;
	root = xasprintf("%s/root", layer->path);
	work = xasprintf("%s/work", layer->path);
	/* Only the mapped root may pass: there may be set-uid programs of the containers below,
	 * which are nothing for the ship's users. */
	if (fchown(layer->lock, 0, map->gid) == -1 || fchmod(layer->lock, 0710) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", layer->path, strerror(errno));
	if (idmap_dir(map, 0, root, 0755, why) == -1 || idmap_dir(map, 0, work, 0700, why) == -1)
		return -1;
	return 0;
}

int
layer_commit(const struct settings *settings, struct making *layer, const char *digest,
    json_t *about, struct failure *why)
{
	auto_free char *final = layer_path(settings, digest);
	auto_free char *path = xasprintf("%s/layer.json", layer->path);
	auto_free char *work = xasprintf("%s/work", layer->path);
	auto_free char *text = NULL;
	int result;

	(void)json_object_set_new(about, "root", json_string(settings->root));
	(void)json_object_set_new(about, "created", json_integer((json_int_t)time(NULL)));
	if ((text = json_dumps(about, JSON_INDENT(2) | JSON_SORT_KEYS)) == NULL)
		return fail(why, EX_SOFTWARE, "cannot describe", final, "no JSON");
	if (tree_remove(work, why) == -1 || file_replace(path, text, strlen(text), 0644, why) == -1)
		return -1;
	result = making_finish(layer, final, why);
	/* Somebody may have been faster; equal digests are equal layers. */
	return result == -1 ? -1 : 0;
}

int
layer_each(const struct settings *settings,
    int (*visit)(
	const char *digest, const json_t *about, time_t used, void *context, struct failure *why),
    void *context, struct failure *why)
{
	auto_closedir DIR *dir = opendir(settings->layers);
	const struct dirent *entry;

	if (dir == NULL && errno != ENOENT)
		return fail(why, failure_code_of_errno(errno), "cannot read", settings->layers,
		    strerror(errno));
	while (dir != NULL && (errno = 0, entry = readdir(dir)) != NULL) {
		auto_free char *path =
		    xasprintf("%s/%s/layer.json", settings->layers, entry->d_name);
		auto_json json_t *about = NULL;
		const char *root;
		struct stat st;
		int result;

		if (!is_digest(entry->d_name) || stat(path, &st) == -1 ||
		    (about = about_load(settings, entry->d_name, why)) == NULL)
			continue;
		/* Ships may share their layers, and each minds its own. */
		root = json_string_value(json_object_get(about, "root"));
		if (root == NULL || strcmp(root, settings->root) != 0)
			continue;
		if ((result = visit(entry->d_name, about, st.st_mtime, context, why)) != 0)
			return result;
	}
	failure_clear(why);
	return 0;
}

int
layer_remove(const struct settings *settings, const char *digest, struct failure *why)
{
	auto_free char *path = layer_path(settings, digest);

	return making_undo(path, why);
}
