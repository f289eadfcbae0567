/* SPDX-License-Identifier: MIT */
#include "lib/repository.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include <linux/openat2.h>

#include "lib/alloc.h"
#include "lib/checkout.h"
#include "lib/clone.h"
#include "lib/fetch.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/state.h"

enum { PASS_OVER_MS = 1000, USED_S = 300, NESTED_MAX = 4 };

void
tree_clear(struct tree *tree)
{
	free(tree->dir);
	free(tree->commit);
	free(tree->ref);
	*tree = (struct tree){0};
}

char *
repository_home(const struct settings *settings, const struct url *url)
{
	return xasprintf("%s/repos/%s", settings->root, url->digest);
}

/* Take a repository's lock by deadline_ms. Its descriptor; -1 with *why. */
static int
lock_by(const char *home, long long deadline_ms, struct failure *why)
{
	auto_free char *path = xasprintf("%s/lock", home);

	for (;;) {
		int fd = lock_take(path, false, why);

		if (fd != -1 || why->code != EX_TEMPFAIL || state_now_ms() >= deadline_ms)
			return fd;
		failure_clear(why);
		(void)poll(NULL, 0, 20);
	}
}

/* True if the tree is there; then it counts as used. */
static bool
tree_there(const char *dir)
{
	struct stat about;

	if (lstat(dir, &about) == -1 || !S_ISDIR(about.st_mode))
		return false;
	/* Not at each pulse: a write to the disk for each order would be the dearest part of it. */
	if (labs(time(NULL) - about.st_mtime) > USED_S)
		(void)utimensat(AT_FDCWD, dir, NULL, AT_SYMLINK_NOFOLLOW);
	return true;
}

/* Remove the trees that somebody was killed over: theirs are those that nobody holds a lock on. */
static void
remove_leftovers(const char *trees)
{
	auto_closedir DIR *list = opendir(trees);
	const struct dirent *entry;

	while (list != NULL && (entry = readdir(list)) != NULL) {
		auto_failure struct failure ignored = {0};
		auto_free char *path = xasprintf("%s/%s", trees, entry->d_name);
		auto_close int fd = -1;

		if (strncmp(entry->d_name, ".tmp.", 5) != 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)tree_remove(path, &ignored);
	}
}

/* A tree in the making: trees/.tmp.XXXXXX, locked as long as we live, and `tree` in it. */
struct making {
	char *outer, *tree;
	int lock;
};

static void
making_clear(struct making *making)
{
	auto_failure struct failure ignored = {0};

	if (making->outer != NULL)
		(void)tree_remove(making->outer, &ignored);
	if (making->lock >= 0)
		(void)close(making->lock);
	free(making->outer);
	free(making->tree);
}

/* Begin one; the caller holds the repository's lock, so that no leftover is made beside. */
static int
making_begin(struct making *making, const char *trees, struct failure *why)
{
	auto_free char *outer = xasprintf("%s/.tmp.XXXXXX", trees);

	if (dir_make(trees, 0711, why) == -1)
		return -1;
	remove_leftovers(trees);
	if (mkdtemp(outer) == NULL)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", outer, strerror(errno));
	making->outer = steal(outer);
	making->tree = xasprintf("%s/tree", making->outer);
	making->lock = open(making->outer, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (making->lock == -1 || flock(making->lock, LOCK_EX | LOCK_NB) == -1)
		return fail(why, EX_TEMPFAIL, "cannot lock", making->outer, strerror(errno));
	return 0;
}

/* All on disk, then under its name. Somebody else may have been as fast: one of the two goes. */
static int
making_finish(struct making *making, const char *dir, struct failure *why)
{
	if (syncfs(making->lock) == -1)
		return fail(why, EX_TEMPFAIL, "cannot sync", making->tree, strerror(errno));
	if (rename(making->tree, dir) == -1 && errno != EEXIST && errno != ENOTEMPTY)
		return fail(
		    why, failure_code_of_errno(errno), "cannot rename to", dir, strerror(errno));
	return dir_sync_parent(dir, why);
}

static int fill(const struct repository *parent, const char *dir,
    const struct submodules *submodules, struct budget *budget, int level, struct failure *why);

/* True if path below dir is a directory that is reached without a symbolic link. */
static bool
is_own_directory(const char *dir, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC | O_DIRECTORY,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS};
	auto_close int top = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	auto_close int fd = top == -1 ? -1 : (int)syscall(SYS_openat2, top, path, &how, sizeof how);

	return fd != -1;
}

/* One submodule, and those in it, into its empty folder below the tree dir. */
static int
fill_one(const struct repository *parent, const char *dir, const struct submodule *module,
    struct budget *budget, int level, struct failure *why)
{
	auto_free char *given = url_relative(parent->url, module->url);
	auto_free char *into = xasprintf("%s/%s", dir, module->path);
	auto_free char *home = NULL;
	auto_url struct url url = {0};
	auto_wanted struct wanted wanted = {.shown = xstrdup(module->commit)};
	auto_submodules struct submodules inner = {0};
	struct repository repository = *parent;
	auto_close int lock = -1;

	if (strncmp(given, "file:", 5) == 0)
		return fail(
		    why, EX_CONFIG, "bad URL", given, "file:// is not allowed for submodules");
	if (url_parse(&url, given, false, why) == -1)
		return -1;
	if (url.ref != NULL)
		return fail(why, EX_CONFIG, "bad URL of a submodule", url.shown, "it has a #");
	home = repository_home(parent->settings, &url);
	if (!is_own_directory(dir, module->path))
		return fail(why, EX_CONFIG, "cannot check out a submodule", parent->url->shown,
		    module->path);
	repository.url = &url;
	repository.home = home;
	memcpy(wanted.commit, module->commit, sizeof wanted.commit);
	if (dir_make(home, 0711, why) == -1 ||
	    (lock = lock_by(home, parent->deadline_ms, why)) == -1)
		return -1;
	if (clone_checkout(&repository, &wanted, into, budget, &inner, why) == -1)
		return -1;
	(void)close(lock); /* never two at once: two repositories may name each other */
	lock = -1;
	return fill(&repository, into, &inner, budget, level + 1, why);
}

static int
fill(const struct repository *parent, const char *dir, const struct submodules *submodules,
    struct budget *budget, int level, struct failure *why)
{
	if (submodules->count > 0 && level > NESTED_MAX)
		return fail(why, EX_CONFIG, "cannot check out", parent->url->shown,
		    "submodules in submodules, more than 4 deep");
	for (size_t i = 0; i < submodules->count; i++)
		if (fill_one(parent, dir, &submodules->list[i], budget, level, why) == -1)
			return -1;
	return 0;
}

/* Fetch and check out what wanted means. 0, 1: passed over, -1. */
static int
get(const struct repository *repository, struct wanted *wanted, struct failure *why)
{
	auto_free char *trees = xasprintf("%s/trees", repository->home);
	struct making making __attribute__((cleanup(making_clear))) = {.lock = -1};
	auto_submodules struct submodules submodules = {0};
	struct budget budget = {
	    .files = CHECKOUT_FILES_MAX, .bytes = repository->size_mib * 1048576LL};
	long long patience_ms = repository->deadline_ms;
	auto_close int lock = -1;
	auto_free char *dir = NULL;

	if (repository->pass_over)
		patience_ms =
		    state_now_ms() +
		    PASS_OVER_MS; /* another order of the same repository is done by then */
	if (dir_make(repository->home, 0711, why) == -1)
		return -1;
	lock = lock_by(repository->home, patience_ms, why);
	if (lock == -1)
		return repository->pass_over && why->code == EX_TEMPFAIL ? 1 : -1;
	if (wanted->abbreviated == NULL) {
		dir = xasprintf("%s/%s", trees, wanted->commit);
		if (tree_there(dir))
			return 0; /* made while we waited */
	}
	if (making_begin(&making, trees, why) == -1 ||
	    clone_checkout(repository, wanted, making.tree, &budget, &submodules, why) == -1)
		return -1;
	(void)close(lock);
	lock = -1;
	if (fill(repository, making.tree, &submodules, &budget, 1, why) == -1)
		return -1;
	free(dir);
	dir = xasprintf("%s/%s", trees, wanted->commit);
	return making_finish(&making, dir, why);
}

int
repository_sync(const struct repository *repository, struct tree *tree, struct failure *why)
{
	const struct git git = {.settings = repository->settings,
	    .url = repository->url,
	    .deadline_ms = repository->deadline_ms,
	    .size_mib = repository->size_mib};
	auto_wanted struct wanted wanted = {0};
	auto_free char *dir = NULL;
	int result = 0;

	*tree = (struct tree){0};
	if (fetch_ask(&git, &wanted, why) == -1)
		return -1;
	dir = xasprintf("%s/trees/%s", repository->home, wanted.commit);
	if (wanted.abbreviated != NULL || !tree_there(dir))
		result = get(repository, &wanted, why);
	if (result != 0)
		return result;
	tree->dir = xasprintf("%s/trees/%s", repository->home, wanted.commit);
	tree->commit = xstrdup(wanted.commit);
	tree->ref = steal(wanted.shown);
	return 0;
}
