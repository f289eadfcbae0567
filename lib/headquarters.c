/* SPDX-License-Identifier: MIT */
#include "lib/headquarters.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <linux/openat2.h>

#include "lib/alloc.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"

enum { DEEP_MAX = 80, ORDERS_MAX = 100000 };

struct walk {
	const char *tree;
	int top; /* its descriptor */
	json_t *records;
};

/* One directory on the way. */
struct place {
	int fd;
	const char *path; /* below the tree; "" is the top */
	int depth;
};

static bool
is_other(const char *name)
{
	static const char *const others[] = {
	    "authorized_keys", "beta_groups", "ldap_servers", "overlay", "shipscripts", "ssl"};

	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (strcmp(name, others[i]) == 0)
			return true;
	return false;
}

/* What makes path no name for an order. */
static int
name_check(const char *path, struct failure *why)
{
	size_t first = strcspn(path, "/");

	if (order_check(path, why) == -1)
		return -1;
	/* The ship's own places in nginx. */
	if ((first == 3 && strncmp(path, "git", 3) == 0) ||
	    (first == 10 && strncmp(path, "starphleet", 10) == 0))
		return fail(why, EX_CONFIG, "bad name of an order", path, "it is reserved");
	return 0;
}

static void
add(struct walk *walk, const char *path, const struct failure *fault)
{
	auto_failure struct failure why = {0};
	auto_free char *dir = xasprintf("%s%s%s", walk->tree, *path == '\0' ? "" : "/", path);
	auto_free char *shown = failure_printable(path);
	json_t *record = json_pack("{s:s}", "order", shown);

	if (fault != NULL)
		record_fail(record, fault);
	else if (name_check(path, &why) == -1)
		record_fail(record, &why);
	else
		(void)json_object_set_new(record, "dir", json_string(dir));
	(void)json_array_append_new(walk->records, record);
}

/* A symbolic link in the headquarters: a fault where it stands for an order or leads out. */
static void
look_at_link(struct walk *walk, const struct place *place, const char *name, const char *path)
{
	struct open_how how = {
	    .flags = O_PATH | O_CLOEXEC | O_DIRECTORY, .resolve = RESOLVE_BENEATH};
	auto_failure struct failure why = {0};
	auto_free char *orders = xasprintf("%s/orders", name);
	auto_close int inside = -1;
	struct stat about;

	if (strcmp(name, "orders") == 0) {
		(void)fail(&why, EX_CONFIG, "a symbolic link instead of a file", path, NULL);
		add(walk, place->path, &why);
		return;
	}
	if (fstatat(place->fd, name, &about, 0) == -1 || !S_ISDIR(about.st_mode))
		return;
	inside = (int)syscall(SYS_openat2, walk->top, path, &how, sizeof how);
	if (inside != -1 && faccessat(place->fd, orders, F_OK, 0) == -1)
		return;
	(void)fail(&why, EX_CONFIG, "a symbolic link instead of a directory", path, NULL);
	add(walk, path, &why);
}

static int
failed(const struct walk *walk, const char *path, struct failure *why)
{
	auto_free char *full = xasprintf("%s/%s", walk->tree, path);

	return fail(why, EX_TEMPFAIL, "cannot read", full, strerror(errno));
}

static int look(struct walk *walk, const struct place *place, struct failure *why);

static int
look_at(struct walk *walk, const struct place *place, const char *name, struct failure *why)
{
	auto_free char *path =
	    xasprintf("%s%s%s", place->path, *place->path == '\0' ? "" : "/", name);
	auto_close int fd = -1;
	struct stat about;

	if (fstatat(place->fd, name, &about, AT_SYMLINK_NOFOLLOW) == -1)
		return failed(walk, path, why);
	if (S_ISLNK(about.st_mode)) {
		look_at_link(walk, place, name, path);
		return 0;
	}
	if (S_ISREG(about.st_mode) && strcmp(name, "orders") == 0)
		add(walk, place->path, NULL);
	if (!S_ISDIR(about.st_mode))
		return 0;
	fd = openat(place->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return failed(walk, path, why);
	return look(walk, &(struct place){.fd = fd, .path = path, .depth = place->depth + 1}, why);
}

/* Look through one directory and what is below it. */
static int
look(struct walk *walk, const struct place *place, struct failure *why)
{
	struct dirent **entries = NULL;
	int count, result = 0;

	/* Deeper than any name may be; what is there cannot be an order. */
	if (place->depth > DEEP_MAX)
		return 0;
	count = scandirat(place->fd, ".", &entries, NULL, alphasort);
	if (count == -1)
		return failed(walk, place->path, why);
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;
		bool other = name[0] == '.' || (place->depth == 0 && is_other(name));

		if (result == 0 && !other)
			result = look_at(walk, place, name, why);
		if (result == 0 && json_array_size(walk->records) > ORDERS_MAX)
			result = fail(why, EX_CONFIG, "more than 100000 orders", walk->tree, NULL);
		free(entries[i]);
	}
	free(entries);
	return result;
}

static int
without_case(const void *a, const void *b)
{
	const char *left = record_order(*(json_t *const *)a),
		   *right = record_order(*(json_t *const *)b);
	int result = strcasecmp(left, right);

	return result != 0 ? result : strcmp(left, right);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(record_order(*(json_t *const *)a), record_order(*(json_t *const *)b));
}

/*
 * Names that differ only in case are too alike for people, and one on some disks: the last of
 * them, which has the more lower-case letters in front, is the order, the others are faults.
 */
static void
refuse_twins(json_t **records, size_t count)
{
	for (size_t i = 0; i + 1 < count; i++) {
		const char *name = record_order(records[i]), *next = record_order(records[i + 1]);
		auto_failure struct failure why = {0};

		if (strcasecmp(name, next) != 0 || strcmp(name, next) == 0)
			continue;
		(void)fail(&why, EX_CONFIG, "differs from another order only in case", name, next);
		(void)json_object_del(records[i], "dir");
		record_fail(records[i], &why);
	}
}

json_t *
headquarters_orders(const char *tree, struct failure *why)
{
	auto_close int top = open(tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_json json_t *found = json_array();
	auto_free json_t **records = NULL;
	struct walk walk = {.tree = tree, .top = top, .records = found};
	size_t count;
	json_t *sorted;

	if (top == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot read", tree, strerror(errno));
		return NULL;
	}
	if (look(&walk, &(struct place){.fd = top, .path = ""}, why) == -1)
		return NULL;
	count = json_array_size(found);
	records = xcalloc(count + 1, sizeof *records);
	for (size_t i = 0; i < count; i++)
		records[i] = json_array_get(found, i);
	qsort(records, count, sizeof *records, without_case);
	refuse_twins(records, count);
	qsort(records, count, sizeof *records, by_name);
	sorted = json_array();
	for (size_t i = 0; i < count; i++)
		(void)json_array_append(sorted, records[i]);
	return sorted;
}
