/* SPDX-License-Identifier: MIT */
#include "lib/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/own.h"

int
write_all(int fd, const void *data, size_t length)
{
	const char *next = data;

	while (length > 0) {
		ssize_t done = write(fd, next, length);

		if (done == -1 && errno == EINTR)
			continue;
		if (done == -1)
			return -1;
		next += done;
		length -= (size_t)done;
	}
	return 0;
}

/* The directory part of path ("." if it has none); free() it. */
static char *
parent_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == NULL)
		return xstrdup(".");
	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

int
dir_sync_parent(const char *path, struct failure *why)
{
	auto_free char *parent = parent_of(path);
	auto_close int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1 || fsync(fd) == -1)
		return fail(why, failure_code_of_errno(errno), "cannot sync", parent, strerror(errno));
	return 0;
}

int
file_replace(const char *path, const void *data, size_t length, mode_t mode, struct failure *why)
{
	auto_free char *tmp = xasprintf("%s.XXXXXX", path);
	auto_close int fd = mkostemp(tmp, O_CLOEXEC);

	if (fd == -1)
		return fail(why, failure_code_of_errno(errno), "cannot create", tmp, strerror(errno));
	if (fchmod(fd, mode) == -1 || write_all(fd, data, length) == -1 || fsync(fd) == -1 ||
	    rename(tmp, path) == -1) {
		(void)fail(why, failure_code_of_errno(errno), "cannot replace", path, strerror(errno));
		(void)unlink(tmp);
		return -1;
	}
	return dir_sync_parent(path, why);
}

char *
file_read(const char *path, size_t limit, size_t *length, struct failure *why)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	auto_free char *data = NULL;
	size_t used = 0, room = 0;
	struct stat st;

	failure_clear(why);
	if (fd == -1 && errno == ENOENT)
		return NULL;
	if (fd == -1 || fstat(fd, &st) == -1) {
		(void)fail(why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
		return NULL;
	}
	/* A fifo or device would hang us or never end; what we read is always a file (or /proc's). */
	if (!S_ISREG(st.st_mode)) {
		(void)fail(why, EX_CONFIG, "cannot read", path, "not a regular file");
		return NULL;
	}
	for (;;) {
		ssize_t got;

		if (used + 1 >= room) {
			room = room == 0 ? 4096 : room * 2;
			data = xreallocarray(data, room, 1);
		}
		got = read(fd, data + used, room - used - 1);
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1) {
			(void)fail(why, failure_code_of_errno(errno), "cannot read", path, strerror(errno));
			return NULL;
		}
		if (got == 0)
			break;
		used += (size_t)got;
		if (used > limit) {
			auto_free char *reason = xasprintf("larger than %zu bytes", limit);

			(void)fail(why, EX_CONFIG, "cannot read", path, reason);
			return NULL;
		}
	}
	data[used] = '\0';
	if (length != NULL)
		*length = used;
	return steal(data);
}

int
file_remove(const char *path, struct failure *why)
{
	if (unlink(path) == -1) {
		if (errno == ENOENT)
			return 0;
		return fail(why, failure_code_of_errno(errno), "cannot remove", path, strerror(errno));
	}
	return dir_sync_parent(path, why);
}

int
dir_make(const char *path, mode_t mode, struct failure *why)
{
	auto_free char *copy = xstrdup(path);

	for (char *end = copy + 1;; end++) {
		char was = *end;

		if (was != '/' && was != '\0')
			continue;
		*end = '\0';
		if (mkdir(copy, mode) == 0) {
			if (chmod(copy, mode) == -1) /* whatever the umask says */
				return fail(why, failure_code_of_errno(errno), "cannot make", copy, strerror(errno));
			/* Without it a state file below may be durable in a folder that is not. */
			if (dir_sync_parent(copy, why) == -1)
				return -1;
		} else if (errno != EEXIST) {
			return fail(why, failure_code_of_errno(errno), "cannot make", copy, strerror(errno));
		}
		if (was == '\0')
			return 0;
		*end = was;
	}
}

/* Remove the entries of the directory dirfd; takes dirfd. -1 with errno. */
static int
remove_entries(int dirfd, dev_t device)
{
	auto_closedir DIR *dir = fdopendir(dirfd);
	struct dirent *entry;

	if (dir == NULL) {
		int saved = errno;

		(void)close(dirfd);
		errno = saved;
		return -1;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		struct stat st;
		int child;

		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd, entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -1;
		child = openat(dirfd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (child == -1 && errno == ENOENT)
			continue;
		if (child == -1)
			return -1;
		if (fstat(child, &st) == -1 || st.st_dev != device) {
			(void)close(child);
			errno = EXDEV; /* a mount: what lies there is not ours */
			return -1;
		}
		if (remove_entries(child, device) == -1)
			return -1;
		if (unlinkat(dirfd, entry->d_name, AT_REMOVEDIR) == -1 && errno != ENOENT)
			return -1;
	}
	return errno == 0 ? 0 : -1;
}

int
tree_remove(const char *path, struct failure *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd == -1 && errno == ENOENT)
		return 0;
	if (fd == -1 && (errno == ENOTDIR || errno == ELOOP))
		return file_remove(path, why);
	if (fd == -1 || fstat(fd, &st) == -1 || remove_entries(fd, st.st_dev) == -1 ||
	    (rmdir(path) == -1 && errno != ENOENT))
		return fail(why, failure_code_of_errno(errno), "cannot remove", path, strerror(errno));
	return 0;
}

bool
path_exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

int
lock_take(const char *path, bool wait, struct failure *why)
{
	auto_free char *parent = parent_of(path);

	for (;;) {
		auto_close int fd = -1;
		struct stat held, named;

		if (dir_make(parent, 0755, why) == -1)
			return -1;
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd == -1)
			return fail(why, failure_code_of_errno(errno), "cannot open", path, strerror(errno));
		while (flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == -1) {
			if (errno == EWOULDBLOCK)
				return fail(why, EX_TEMPFAIL, "is held by another process", path, NULL);
			if (errno != EINTR)
				return fail(why, failure_code_of_errno(errno), "cannot lock", path, strerror(errno));
		}
		/* The folder may have been reaped while we waited: then we hold a lock nobody sees. */
		if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
		    held.st_dev == named.st_dev) {
			int mine = fd;

			fd = -1;
			return mine;
		}
	}
}
