/* SPDX-License-Identifier: MIT */
#include "lib/orders-view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/alloc.h"
#include "lib/own.h"

enum { DEPTH_MAX = 64 };

/* Directories of the headquarters' top that mean something to the ship itself. */
static const char *const reserved[] = {"authorized_keys", "beta_groups", "ldap_servers", "overlay",
    "private_keys", "shipscripts", "ssl"};

void
view_clear(struct view *view)
{
	for (size_t i = 0; i < view->count; i++)
		free(view->paths[i]);
	free(view->paths);
	free(view->kinds);
	*view = (struct view){0};
}

static void
add(struct view *view, char *path, enum view_kind kind)
{
	view->paths = xreallocarray(view->paths, view->count + 1, sizeof *view->paths);
	view->kinds = xreallocarray(view->kinds, view->count + 1, sizeof *view->kinds);
	view->paths[view->count] = path;
	view->kinds[view->count++] = kind;
}

static void
cut(struct view *view, size_t count)
{
	while (view->count > count)
		free(view->paths[--view->count]);
}

static bool
is_reserved(const char *name)
{
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		if (strcmp(name, reserved[i]) == 0)
			return true;
	return false;
}

/* A file that makes its directory an order: whoever may not see the directory may not see it. */
static bool
is_marker(const char *name)
{
	return strcmp(name, "orders") == 0 || strcmp(name, "remote") == 0;
}

static bool
has_marker(int dirfd)
{
	struct stat st;

	return (fstatat(dirfd, "orders", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode)) ||
	       (fstatat(dirfd, "remote", &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode));
}

struct scan {
	struct view *view;
	enum view_grain grain;
	bool own; /* the markers of the directory that we begin with are seen */
	struct failure *why;
};

static int scan_directory(const struct scan *scan, int fd, const char *path, int depth);

/*
 * One entry of the directory dirfd. 1: something is hidden below it, so its directory cannot be
 * one piece; 0: nothing is; -1: *why.
 */
static int
scan_entry(const struct scan *scan, int dirfd, const char *path, const char *name, int depth)
{
	auto_free char *below = *path == '\0' ? xstrdup(name) : xasprintf("%s/%s", path, name);
	size_t before = scan->view->count;
	struct stat st;
	int hidden, fd;

	if (*path == '\0' &&
	    ((name[0] == '.' && strcmp(name, ".starphleet") != 0) || is_reserved(name)))
		return 1;
	if (depth == 0 && !scan->own && is_marker(name))
		return 1;
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return fail(
		    scan->why, failure_code_of_errno(errno), "cannot read", below, strerror(errno));
	if (S_ISLNK(st.st_mode)) {
		add(scan->view, steal(below), VIEW_LINK);
		return 0;
	}
	if (S_ISREG(st.st_mode)) {
		add(scan->view, steal(below), (st.st_mode & 0111) != 0 ? VIEW_PROGRAM : VIEW_FILE);
		return 0;
	}
	if (!S_ISDIR(st.st_mode))
		return 1; /* a socket or the like, which no commit holds */
	fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1)
		return fail(
		    scan->why, failure_code_of_errno(errno), "cannot read", below, strerror(errno));
	hidden = scan_directory(scan, fd, below, depth + 1);
	if (hidden == 0 && scan->grain == VIEW_PIECES) {
		cut(scan->view, before);
		add(scan->view, steal(below), VIEW_DIRECTORY);
	}
	return hidden;
}

static int
by_name(const struct dirent **left, const struct dirent **right)
{
	return strcmp((*left)->d_name, (*right)->d_name);
}

/* Takes fd. 1, 0 or -1 as scan_entry. */
static int
scan_directory(const struct scan *scan, int fd, const char *path, int depth)
{
	auto_close int own = fd;
	struct dirent **entries = NULL;
	int count, hidden = 0;

	if (depth > 0 && has_marker(own))
		return 1;
	if (depth > DEPTH_MAX)
		return fail(scan->why, EX_CONFIG, "too many directories in each other", path, NULL);
	count = scandirat(own, ".", &entries, NULL, by_name);
	if (count == -1)
		return fail(
		    scan->why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
	for (int i = 0; i < count; i++) {
		const char *name = entries[i]->d_name;

		if (hidden != -1 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0) {
			int found = scan_entry(scan, own, path, name, depth);

			hidden = found == -1 ? -1 : hidden | found;
		}
		free(entries[i]);
	}
	free(entries);
	return hidden;
}

int
view_shared(struct view *view, const char *top, enum view_grain grain, struct failure *why)
{
	const struct scan scan = {.view = view, .grain = grain, .why = why};
	int fd = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		return fail(why, failure_code_of_errno(errno), "cannot read", top, strerror(errno));
	return scan_directory(&scan, fd, "", 0) == -1 ? -1 : 0;
}

int
view_own(struct view *view, const char *top, const char *order, enum view_grain grain,
    struct failure *why)
{
	const struct scan scan = {.view = view, .grain = grain, .own = true, .why = why};
	auto_free char *path = xasprintf("%s/%s", top, order);
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int hidden;

	if (fd == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
	hidden = scan_directory(&scan, fd, order, 0);
	if (hidden == 0 && *order != '\0' && grain == VIEW_PIECES) {
		cut(view, 0);
		add(view, xstrdup(order), VIEW_DIRECTORY);
	}
	return hidden == -1 ? -1 : 0;
}

int
view_digest(const struct view *view, const char *top, struct digest *digest, struct failure *why)
{
	for (size_t i = 0; i < view->count; i++) {
		auto_free char *path = xasprintf("%s/%s", top, view->paths[i]);
		char target[4096] = "";

		digest_add_string(digest, view->paths[i]);
		digest_add_string(digest, view->kinds[i] == VIEW_PROGRAM ? "x" : "-");
		/* A link stands for its text: what it leads to is seen, or not, by itself. */
		if (view->kinds[i] == VIEW_LINK ? readlink(path, target, sizeof target - 1) == -1
						: digest_add_tree(digest, path) == -1)
			return fail(why, failure_code_of_errno(errno), "cannot read", path,
			    strerror(errno));
		digest_add_string(digest, target);
	}
	return 0;
}
