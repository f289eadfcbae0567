/* SPDX-License-Identifier: MIT */
#include "lib/build.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>

#include "lib/alloc.h"
#include "lib/base.h"
#include "lib/build-container.h"
#include "lib/buildpack.h"
#include "lib/digest.h"
#include "lib/file.h"
#include "lib/layer.h"
#include "lib/order.h"
#include "lib/own.h"

enum { TAIL_LINES = 20, TAIL_BYTES = 16 * 1024, LINE_MAX_SHOWN = 400 };

/* A build under way. */
struct making_of {
	const struct build *build;
	struct buildpack pack;
	char *log_path;
	int log_fd; /* -1: nothing was written yet */
};

/* The log, made anew at the first use. Its folder belongs to the containers' root: what may stand
   there under that name is removed, never followed. */
static int
log_open(struct making_of *of, struct failure *why)
{
	const struct build *build = of->build;
	auto_free char *word = order_word(build->order);
	auto_free char *all = xasprintf("%s/logs", build->settings->root);
	auto_free char *folder = xasprintf("%s/%s", all, word);

	if (of->log_fd != -1)
		return 0;
	if (dir_make(all, 0711, why) == -1 || idmap_dir(build->map, 0, folder, 0750, why) == -1)
		return -1;
	(void)unlink(of->log_path);
	of->log_fd =
	    open(of->log_path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_CLOEXEC, 0600);
	return of->log_fd == -1 ? fail(why, failure_code_of_errno(errno), "cannot make",
				      of->log_path, strerror(errno))
				: 0;
}

/* The last lines of the log as an array of printable strings. */
static json_t *
log_tail(const struct making_of *of)
{
	auto_free char *text = xcalloc(1, TAIL_BYTES + 1);
	off_t size = of->log_fd == -1 ? 0 : lseek(of->log_fd, 0, SEEK_END);
	ssize_t got = size <= 0 ? 0
				: pread(of->log_fd, text, TAIL_BYTES,
				      size > TAIL_BYTES ? size - TAIL_BYTES : 0);
	json_t *lines = json_array();
	char *rest = text, *line;

	/* A NUL would hide what follows it. */
	for (ssize_t i = 0; i < got; i++)
		if (text[i] == '\0')
			text[i] = ' ';
	while ((line = strsep(&rest, "\n")) != NULL) {
		auto_free char *cut = xstrndup(line, LINE_MAX_SHOWN);
		auto_free char *printable = failure_printable(cut);

		if (*line == '\0')
			continue;
		(void)json_array_append_new(lines, json_string(printable));
		if (json_array_size(lines) > TAIL_LINES)
			(void)json_array_remove(lines, 0);
	}
	return lines;
}

/* bin/compile and its like inherit the record's variables that shape a build: all but those that
   only tell the running service where and who it is. */
static bool
shapes_build(const char *name)
{
	static const char *const others[] = {"PORT", "ORDERS_NAME", "SHIP_NAME", "SOURCE_VERSION"};

	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(name, others[i]) == 0)
			return false;
	return true;
}

static json_t *
build_env(const json_t *env)
{
	json_t *shaping = json_object(), *value;
	const char *name;

	json_object_foreach((json_t *)env, name, value) if (shapes_build(name))(void)
	    json_object_set(shaping, name, value);
	return shaping;
}

/* Add a file or folder that belongs to what is digested. */
static int
add_tree(struct digest *digest, const char *path, struct failure *why)
{
	return digest_add_tree(digest, path) == -1
		   ? fail(why, failure_code_of_errno(errno), "cannot read", path, strerror(errno))
		   : 0;
}

/* What the stack is made of: the base, the packages, the scripts that run. */
static int
stack_digest(const struct making_of *of, const char *base, char hex[static DIGEST_HEX + 1],
    struct failure *why)
{
	auto_free char *packages = xasprintf("%s/packages", of->pack.dir);
	auto_free char *script = xasprintf("%s/bin/stack", of->pack.dir);
	auto_free char *recipe = xasprintf("%s/lxc/build", of->build->settings->share);
	struct digest *digest = digest_new();
	int result;

	digest_add_string(digest, "stack 1");
	digest_add_string(digest, base);
	result = add_tree(digest, packages, why);
	if (result == 0)
		result = add_tree(digest, script, why);
	if (result == 0)
		result = add_tree(digest, recipe, why);
	digest_end(digest, hex);
	return result;
}

/* What the build is made of; not the order, so that two orders of one service share it. */
static int
service_digest(const struct making_of *of, const char *below, const json_t *env,
    char hex[static DIGEST_HEX + 1], struct failure *why)
{
	auto_free char *text = json_dumps(env, JSON_COMPACT | JSON_SORT_KEYS);
	struct digest *digest = digest_new();
	int result;

	digest_add_string(digest, "build 1");
	digest_add_string(digest, below);
	digest_add_string(digest, of->pack.source_only ? "" : text);
	result = add_tree(digest, of->pack.dir, why);
	if (result == 0)
		result = add_tree(digest, of->build->tree, why);
	digest_end(digest, hex);
	return result;
}

static int
make_stack(struct making_of *of, const char *digest, const json_t *below, struct failure *why)
{
	const struct build *build = of->build;
	auto_making struct making making = {.lock = -1};
	auto_json json_t *about =
	    json_pack("{s:s, s:s}", "kind", "stack", "buildpack", of->pack.name);
	struct build_step step = {
	    .what = "stack", .layers = below, .making = &making, .buildpack = of->pack.dir};

	if (log_open(of, why) == -1 || layer_begin(build->settings, build->map, &making, why) == -1)
		return -1;
	if (build->settings->verbose)
		(void)fprintf(stderr, "container-build: making the stack of %s: see %s\n",
		    of->pack.name, of->log_path);
	step.log_fd = of->log_fd;
	if (build_container_run(build->settings, build->map, &step, why) == -1) {
		/* The package source may be back soon; that is not the service's fault. */
		if (why->code == EX_CONFIG)
			why->code = EX_TEMPFAIL;
		return -1;
	}
	return layer_commit(build->settings, &making, digest, about, why);
}

/* What bin/compile keeps from one build to the next is the order's own. */
static char *
cache_folder(const struct making_of *of, struct failure *why)
{
	const struct build *build = of->build;
	auto_free char *word = order_word(build->order);
	auto_free char *all = xasprintf("%s/cache", build->settings->root);
	auto_free char *place = xasprintf("%s/%s", all, word);
	auto_free char *cache = xasprintf("%s/%s", place, of->pack.name);

	if (dir_make(all, 0711, why) == -1 || dir_make(place, 0711, why) == -1 ||
	    idmap_dir(build->map, IDMAP_USER, cache, 0700, why) == -1)
		return NULL;
	return steal(cache);
}

static int
compile(struct making_of *of, struct making *making, const json_t *below, const json_t *env,
    struct failure *why)
{
	const struct build *build = of->build;
	auto_free char *cache = cache_folder(of, why);
	struct build_step step = {.what = "compile",
	    .layers = below,
	    .making = making,
	    .buildpack = of->pack.dir,
	    .cache = cache,
	    .env = env};

	if (cache == NULL || log_open(of, why) == -1)
		return -1;
	if (build->settings->verbose)
		(void)fprintf(stderr, "container-build: building %s with %s: see %s\n",
		    build->container, of->pack.name, of->log_path);
	step.log_fd = of->log_fd;
	return build_container_run(build->settings, build->map, &step, why);
}

static int
make_build(struct making_of *of, const char *digest, const json_t *below, const json_t *env,
    struct failure *why)
{
	const struct build *build = of->build;
	auto_making struct making making = {.lock = -1};
	auto_json json_t *about = json_pack(
	    "{s:s, s:s, s:s}", "kind", "build", "order", build->order, "buildpack", of->pack.name);
	auto_free char *home = NULL, *user = NULL, *app = NULL, *web = NULL;

	if (layer_begin(build->settings, build->map, &making, why) == -1)
		return -1;
	home = xasprintf("%s/root/home", making.path);
	user = xasprintf("%s/ubuntu", home);
	app = xasprintf("%s/app", user);
	if (idmap_dir(build->map, 0, home, 0755, why) == -1 ||
	    idmap_dir(build->map, IDMAP_USER, user, 0755, why) == -1 ||
	    idmap_copy(build->map, IDMAP_USER, build->tree, app, why) == -1)
		return -1;
	if (!of->pack.source_only && compile(of, &making, below, env, why) == -1)
		return -1;
	if ((web = buildpack_web(&of->pack, app, why)) == NULL)
		return -1;
	(void)json_object_set_new(about, "web", json_string(web));
	return layer_commit(build->settings, &making, digest, about, why);
}

/*
 * See that the layer digest is there, and put it on top of layers. *about is its layer.json. env:
 * for the build layer; NULL: it is the stack.
 */
static int
provide(struct making_of *of, const char *digest, const json_t *env, json_t *layers, json_t **about,
    struct failure *why)
{
	const struct settings *settings = of->build->settings;
	int lock, result = 0;

	*about = layer_use(settings, digest, why);
	if (*about == NULL && why->code == 0) {
		/* One makes it, the others wait and find it. */
		if ((lock = layer_lock(settings, digest, why)) == -1)
			return -1;
		*about = layer_use(settings, digest, why);
		if (*about == NULL && why->code == 0)
			result = env == NULL ? make_stack(of, digest, layers, why)
					     : make_build(of, digest, layers, env, why);
		layer_unlock(settings, digest, lock);
		if (result == 0 && *about == NULL && why->code == 0)
			*about = layer_use(settings, digest, why);
	}
	if (*about == NULL)
		return why->code == 0 ? fail(why, EX_TEMPFAIL, "a layer is gone", digest, NULL)
				      : -1;
	(void)json_array_insert_new(layers, 0, json_string(digest));
	return 0;
}

static int
provide_all(struct making_of *of, json_t *layers, char **web, struct failure *why)
{
	const struct build *build = of->build;
	auto_free char *base = base_current(build->settings, why);
	auto_json json_t *env = build_env(build->env), *stack = NULL, *about = NULL;
	char digest[DIGEST_HEX + 1];

	if (base == NULL)
		return -1;
	(void)json_array_append_new(layers, json_string(base));
	if (build->tree == NULL)
		return 0;
	if (buildpack_find(build->settings, build->tree, &of->pack, why) == -1)
		return -1;
	(void)strlcpy(digest, base, sizeof digest);
	if (of->pack.stack && (stack_digest(of, base, digest, why) == -1 ||
				  provide(of, digest, NULL, layers, &stack, why) == -1))
		return -1;
	if (service_digest(of, digest, env, digest, why) == -1 ||
	    provide(of, digest, env, layers, &about, why) == -1)
		return -1;
	*web = xstrdup(json_string_value(json_object_get(about, "web")) == NULL
			   ? ""
			   : json_string_value(json_object_get(about, "web")));
	return 0;
}

int
build_layers(
    const struct build *build, json_t **layers, char **web, json_t **log, struct failure *why)
{
	auto_free char *word = order_word(build->order);
	struct making_of of = {.build = build, .log_fd = -1};
	int result;

	of.log_path =
	    xasprintf("%s/logs/%s/%s.build.log", build->settings->root, word, build->container);
	*layers = json_array();
	*web = NULL;
	*log = NULL;
	result = provide_all(&of, *layers, web, why);
	if (result == -1 && of.log_fd != -1)
		*log = log_tail(&of);
	if (of.log_fd != -1)
		(void)close(of.log_fd);
	buildpack_clear(&of.pack);
	free(of.log_path);
	return result;
}
