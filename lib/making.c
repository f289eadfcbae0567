/* SPDX-License-Identifier: MIT */
#include "lib/making.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

#define PREFIX ".tmp.starphleet."

/* Remove what makers that are dead left: what nobody locks. */
static void
sweep(const char *folder)
{
	auto_closedir DIR *dir = opendir(folder);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		auto_failure struct failure ignored = {0};
		auto_free char *path = xasprintf("%s/%s", folder, entry->d_name);
		auto_close int fd = -1;

		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)) != 0)
			continue;
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd != -1 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)tree_remove(path, &ignored);
	}
}

/* Make a folder of a free name and lock it. 1: a sweep took it from between our hands. */
static int
make_locked(const char *folder, struct making *making, struct failure *why)
{
	auto_free char *path = xasprintf("%s/" PREFIX "XXXXXX", folder);
	struct stat held, named;

	if (mkdtemp(path) == NULL)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", path, strerror(errno));
	making->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (making->lock == -1 && errno != ENOENT)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", path, strerror(errno));
	if (making->lock != -1 && flock(making->lock, LOCK_EX | LOCK_NB) == 0 &&
	    fstat(making->lock, &held) == 0 && lstat(path, &named) == 0 &&
	    held.st_ino == named.st_ino) {
		making->path = steal(path);
		return 0;
	}
	if (making->lock != -1)
		(void)close(making->lock);
	making->lock = -1;
	return 1;
}

int
making_begin(const char *folder, struct making *making, struct failure *why)
{
	int made;

	*making = (struct making){.lock = -1};
	if (dir_make(folder, 0711, why) == -1)
		return -1;
	sweep(folder);
	while ((made = make_locked(folder, making, why)) == 1)
		continue;
	return made;
}

int
making_finish(struct making *making, const char *final, struct failure *why)
{
	/* Before the name is given: what has a name is whole, after a power cut too. */
	if (syncfs(making->lock) == -1)
		return fail(why, EX_TEMPFAIL, "cannot sync", making->path, strerror(errno));
	if (rename(making->path, final) == -1) {
		if (errno == EEXIST || errno == ENOTEMPTY)
			return 1;
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", final, strerror(errno));
	}
	(void)close(making->lock);
	free(making->path);
	*making = (struct making){.lock = -1};
	return dir_sync_parent(final, why);
}

void
making_discard(struct making *making)
{
	auto_failure struct failure ignored = {0};
	int saved = errno;

	if (making->path != NULL) {
		(void)tree_remove(making->path, &ignored);
		(void)close(making->lock);
	}
	free(making->path);
	*making = (struct making){.lock = -1};
	errno = saved;
}

int
making_undo(const char *path, struct failure *why)
{
	const char *slash = strrchr(path, '/');
	auto_free char *away = xasprintf("%.*s/" PREFIX "%s", (int)(slash - path), path, slash + 1);

	/* What a killed remover left is in the way of the new name. */
	if (tree_remove(away, why) == -1)
		return -1;
	if (rename(path, away) == -1) {
		if (errno == ENOENT)
			return 0;
		return fail(
		    why, failure_code_of_errno(errno), "cannot remove", path, strerror(errno));
	}
	return tree_remove(away, why);
}
