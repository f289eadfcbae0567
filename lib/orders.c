/* SPDX-License-Identifier: MIT */
#include "lib/orders.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/orders-report.h"
#include "lib/orders-sandbox.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/ship-name.h"

enum { LAYER_MAX = 1024 * 1024, ORDERS_MAX = 4 * 1024 * 1024, CACHE_MAX = 8 * 1024 * 1024 };

static void
add_layer(struct orders *orders, const char *name, char *text)
{
	orders->layers =
	    xreallocarray(orders->layers, orders->layer_count + 1, sizeof *orders->layers);
	orders->layers[orders->layer_count++] =
	    (struct sandbox_place){SANDBOX_TEXT, text, xasprintf("%s/%s", ORDERS_SHIP, name)};
}

/* What bash would silently drop is refused: no file of shell holds NUL. */
static int
check_text(const char *path, const char *text, size_t length, struct failure *why)
{
	const char *nul = memchr(text, '\0', length);
	auto_free char *place = NULL;
	long line = 1;

	if (nul == NULL)
		return 0;
	for (const char *next = text; next < nul; next++)
		line += *next == '\n';
	place = xasprintf("%s:%ld", path, line);
	return fail(why, EX_CONFIG, place, "a NUL byte", NULL);
}

static int
load_layer(struct orders *orders, const char *name, struct failure *why)
{
	auto_free char *path = xasprintf("%s/%s", orders->etc, name);
	auto_free char *text = NULL;
	struct stat st;
	size_t length = 0;

	/* Hidden files and editors' copies are nobody's wish. */
	if (name[0] == '.' || name[strlen(name) - 1] == '~')
		return 0;
	if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
		return 0;
	text = file_read(path, LAYER_MAX, &length, why);
	if (text == NULL)
		return why->code == 0 ? 0 : -1;
	if (check_text(path, text, length, why) == -1)
		return -1;
	add_layer(orders, name, steal(text));
	return 0;
}

static int
by_bytes(const struct dirent **left, const struct dirent **right)
{
	return strcmp((*left)->d_name, (*right)->d_name);
}

static int
load_layers(struct orders *orders, struct failure *why)
{
	struct dirent **entries = NULL;
	int count = scandir(orders->etc, &entries, NULL, by_bytes), result = 0;

	if (count == -1 && errno == ENOENT)
		return 0;
	if (count == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot read", orders->etc, strerror(errno));
	for (int i = 0; i < count; i++) {
		if (result == 0)
			result = load_layer(orders, entries[i]->d_name, why);
		free(entries[i]);
	}
	free(entries);
	return result;
}

/* "debian bookworm": the distribution of the ship is that of its containers; free() it. */
static char *
base_name(void)
{
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read("/etc/os-release", LAYER_MAX, NULL, &ignored);
	char *rest = text, *line, id[64] = "linux", codename[64] = "";

	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		(void)sscanf(line, "ID=%63s", id);
		(void)sscanf(line, "VERSION_CODENAME=%63s", codename);
	}
	return xasprintf("%s %s", id, codename);
}

/* The digest of what all evaluations on this ship share. */
static int
digest_common(struct orders *orders, struct failure *why)
{
	struct digest *digest = digest_new();
	auto_view struct view files = {0};
	auto_free char *prelude = xasprintf("%s/orders", orders->settings->share);
	auto_free char *policy = orders_policy(orders->settings);
	int result;

	digest_add_string(digest, PACKAGE_VERSION " 1");
	digest_add_string(digest, orders->ship);
	digest_add_string(digest, orders->base);
	digest_add_string(digest, policy);
	digest_add_string(digest, orders->prefix);
	for (size_t i = 0; i < orders->layer_count; i++) {
		digest_add_string(digest, orders->layers[i].to);
		digest_add_string(digest, orders->layers[i].from);
	}
	result = view_shared(&files, orders->top, VIEW_FILES, why);
	if (result == 0)
		result = view_digest(&files, orders->top, digest, why);
	if (result == 0 && digest_add_tree(digest, prelude) == -1)
		result = fail(
		    why, failure_code_of_errno(errno), "cannot read", prelude, strerror(errno));
	digest_end(digest, orders->common);
	return result;
}

int
orders_open(struct orders *orders, const struct settings *settings, const char *top,
    const char *etc, const char *prefix, struct failure *why)
{
	*orders = (struct orders){.settings = settings, .ship = ship_name(), .base = base_name()};
	orders->top = xstrdup(top);
	orders->etc = xstrdup(etc);
	orders->prefix = xstrdup(prefix == NULL ? "" : prefix);
	if (load_layers(orders, why) == -1 ||
	    view_shared(&orders->shared, top, VIEW_PIECES, why) == -1)
		return -1;
	return digest_common(orders, why);
}

void
orders_close(struct orders *orders)
{
	for (size_t i = 0; i < orders->layer_count; i++) {
		free((void *)(uintptr_t)orders->layers[i].from);
		free((void *)(uintptr_t)orders->layers[i].to);
	}
	free(orders->layers);
	view_clear(&orders->shared);
	sandbox_free(orders->sandbox);
	free(orders->top);
	free(orders->etc);
	free(orders->prefix);
	free(orders->ship);
	free(orders->base);
	*orders = (struct orders){0};
}

void
orders_job_clear(struct orders_job *job)
{
	view_clear(&job->own);
	json_decref(job->outcome);
	free(job->order);
	free(job->file);
	free(job->text);
	*job = (struct orders_job){0};
}

/* Read the orders file, which no symbolic link may stand for or lie on the way to. */
static int
read_orders(const struct orders *orders, struct orders_job *job, struct failure *why)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
	auto_close int top = open(orders->top, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd =
	    top == -1 ? -1 : (int)syscall(SYS_openat2, top, job->file, &how, sizeof how);
	auto_free char *shown = xasprintf("%s%s", orders->prefix, job->file), *path = NULL;
	size_t length = 0;
	struct stat st;

	if (fd == -1 && errno == ELOOP)
		return fail(why, EX_CONFIG, "refused", shown, "a symbolic link");
	if (fd == -1 || fstat(fd, &st) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot read", shown, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(why, EX_CONFIG, "refused", shown, "not a regular file");
	path = xasprintf("/proc/self/fd/%d",
	    fd); /* the file that we looked at, whatever the name leads to now */
	job->text = file_read(path, ORDERS_MAX, &length, why);
	if (job->text == NULL && why->code == 0)
		return fail(why, EX_TEMPFAIL, "cannot read", shown, NULL);
	return job->text == NULL ? -1 : check_text(shown, job->text, length, why);
}

static int
digest_job(const struct orders *orders, struct orders_job *job, struct failure *why)
{
	struct digest *digest = digest_new();
	auto_view struct view files = {0};
	int result = view_own(&files, orders->top, job->order, VIEW_FILES, why);

	if (result == 0)
		result = view_digest(&files, orders->top, digest, why);
	digest_end(digest, job->tree);
	digest = digest_new();
	digest_add_string(digest, orders->common);
	digest_add_string(digest, job->order);
	digest_add_string(digest, job->file);
	digest_add_string(digest, job->tree);
	digest_end(digest, job->key);
	return result;
}

/* <run>/orders/<word>.json: on a tmpfs, since it holds secrets and is cheap to make again. */
static char *
cache_path(const struct orders *orders, const char *order)
{
	auto_free char *word = order_word(order);

	return xasprintf("%s/orders/%s.json", orders->settings->run, word);
}

/* The kept outcome of the same input, or NULL. */
static json_t *
cache_load(const struct orders *orders, const struct orders_job *job)
{
	auto_free char *path = cache_path(orders, job->order);
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read(path, CACHE_MAX, NULL, &ignored);
	auto_json json_t *kept = text == NULL ? NULL : json_loads(text, 0, NULL);
	const char *key = json_string_value(json_object_get(kept, "key"));

	if (key == NULL || strcmp(key, job->key) != 0)
		return NULL;
	return json_incref(json_object_get(kept, "outcome"));
}

/* A full or read-only disk costs the next run some time, and nothing else. */
static void
cache_save(const struct orders *orders, const struct orders_job *job)
{
	auto_free char *path = cache_path(orders, job->order);
	auto_free char *folder = xasprintf("%s/orders", orders->settings->run);
	auto_json json_t *kept = json_pack("{s:s,s:O}", "key", job->key, "outcome", job->outcome);
	auto_free char *text = json_dumps(kept, JSON_COMPACT);
	auto_failure struct failure ignored = {0};

	if (text != NULL && dir_make(orders->settings->run, 0755, &ignored) == 0 &&
	    dir_make(folder, 0700, &ignored) == 0)
		(void)file_replace(path, text, strlen(text), 0600, &ignored);
}

int
orders_find(struct orders *orders, const char *order, const char *name, bool cache,
    struct orders_job *job, struct failure *why)
{
	name = name == NULL ? "orders" : name;
	*job = (struct orders_job){.order = xstrdup(order)};
	job->file = *order == '\0' ? xstrdup(name) : xasprintf("%s/%s", order, name);
	if (order_check(order, why) == -1 || read_orders(orders, job, why) == -1 ||
	    view_own(&job->own, orders->top, order, VIEW_PIECES, why) == -1 ||
	    digest_job(orders, job, why) == -1)
		return -1;
	if (cache)
		job->outcome = cache_load(orders, job);
	if (job->outcome == NULL && orders->sandbox == NULL)
		orders->sandbox = orders_sandbox(orders, why);
	return job->outcome == NULL && orders->sandbox == NULL ? -1 : 0;
}

/* Add the members of object to digest, but for the ship's own policy and name. */
static void
digest_variables(const struct orders *orders, struct digest *digest, const json_t *object)
{
	auto_json json_t *own = json_deep_copy(object);
	auto_free char *text = NULL;
	const char *name, *ship = json_string_value(json_object_get(own, "SHIP_NAME"));
	void *next;
	json_t *value;

	if (ship != NULL && strcmp(ship, orders->ship) == 0)
		(void)json_object_del(own, "SHIP_NAME");
	json_object_foreach_safe(own, next, name, value) if (strncmp(name, "STARPHLEET_", 11) == 0)(
	    void) json_object_del(own, name);
	text = json_dumps(own, JSON_COMPACT | JSON_SORT_KEYS);
	digest_add_string(digest, text);
}

/* The identity of all that shapes the container but the service's commit. */
static void
set_id(const struct orders *orders, const struct orders_job *job)
{
	json_t *fields = json_object_get(job->outcome, "fields");
	struct digest *digest = digest_new();
	char hex[DIGEST_HEX + 1];

	digest_add_string(digest, job->order);
	digest_add_string(digest, job->tree);
	digest_add_string(digest, orders->base);
	digest_variables(orders, digest, json_object_get(fields, "env"));
	digest_variables(orders, digest, json_object_get(fields, "settings"));
	digest_end(digest, hex);
	(void)json_object_set_new(fields, "orders_id", json_string(hex));
}

int
orders_evaluate(
    const struct orders *orders, struct orders_job *job, bool cache, struct failure *why)
{
	const struct orders_names names = {.headquarters = orders->prefix,
	    .etc = orders->etc,
	    .orders = job->file,
	    .text = job->text};
	auto_sandbox_result struct sandbox_result result = {0};

	if (orders_sandbox_run(orders, job, &result, why) == -1)
		return -1;
	job->outcome = orders_report_judge(&result, &names);
	if (json_array_size(json_object_get(job->outcome, "problems")) == 0)
		set_id(orders, job);
	if (cache && json_integer_value(json_object_get(job->outcome, "status")) != EX_TEMPFAIL)
		cache_save(orders, job);
	return 0;
}

int
orders_apply(const struct orders_job *job, json_t *record, struct failure *why)
{
	const json_t *problems = json_object_get(job->outcome, "problems");
	const char *first = json_string_value(json_array_get(problems, 0));
	size_t count = json_array_size(problems);
	auto_free char *more = count > 1 ? xasprintf(" (and %zu more)", count - 1) : xstrdup("");
	auto_free char *text = NULL;

	if (first == NULL)
		return json_object_update(record, json_object_get(job->outcome, "fields"));
	text = xasprintf("%s%s", first, more);
	return fail(why, (int)json_integer_value(json_object_get(job->outcome, "status")), text,
	    NULL, NULL);
}
