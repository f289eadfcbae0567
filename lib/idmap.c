/* SPDX-License-Identifier: MIT */
#include "lib/idmap.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

enum { SUBID_MAX = 1024 * 1024 };

/* The first id of root's first range in path that is long enough. */
static int
first_of_root(const char *path, unsigned int *first, struct failure *why)
{
	auto_free char *text = file_read(path, SUBID_MAX, NULL, why);
	char *rest = text, *line;

	if (text == NULL && why->code != 0)
		return -1;
	while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
		unsigned int from, count;

		if ((sscanf(line, "root:%u:%u", &from, &count) == 2 ||
			sscanf(line, "0:%u:%u", &from, &count) == 2) &&
		    from > 0 && count >= IDMAP_COUNT && from <= UINT32_MAX - IDMAP_COUNT) {
			*first = from;
			return 0;
		}
	}
	return fail(why, EX_CONFIG, "no ids for containers", path,
	    "root has no range of 65536: add a line such as root:100000:65536");
}

int
idmap_load(struct idmap *map, struct failure *why)
{
	return first_of_root("/etc/subuid", &map->uid, why) == -1 ||
		       first_of_root("/etc/subgid", &map->gid, why) == -1
		   ? -1
		   : 0;
}

int
idmap_dir(const struct idmap *map, uid_t id, const char *path, mode_t mode, struct failure *why)
{
	auto_close int fd = -1;

	if (mkdir(path, mode) == -1 && errno != EEXIST)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || fchown(fd, map->uid + id, map->gid + id) == -1 || fchmod(fd, mode) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", path, strerror(errno));
	return 0;
}

int
idmap_file(const struct idmap *map, uid_t id, const char *path, const char *text, size_t length,
    mode_t mode, struct failure *why)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd == -1 || fchown(fd, map->uid + id, map->gid + id) == -1 || fchmod(fd, mode) == -1 ||
	    write_all(fd, text, length) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot write", path, strerror(errno));
	return 0;
}

struct copy {
	uid_t uid;
	gid_t gid;
};

/* All bytes of one file to another. */
static int
copy_bytes(int from, int to)
{
	ssize_t got;

	/* The kernel copies by itself, or shares the blocks where the file system can. */
	while ((got = copy_file_range(from, NULL, to, NULL, 1 << 30, 0)) > 0)
		continue;
	if (got == -1 &&
	    (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP)) {
		static const size_t size = 64 * 1024;
		auto_free char *bytes = xcalloc(1, size);

		while ((got = read(from, bytes, size)) > 0)
			if (write_all(to, bytes, (size_t)got) == -1)
				return -1;
	}
	return got == -1 ? -1 : 0;
}

static int
copy_file(const struct copy *copy, int from_dir, int to_dir, const char *name, mode_t mode)
{
	auto_close int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	auto_close int to = -1;

	if (from == -1)
		return -1;
	to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to == -1 || copy_bytes(from, to) == -1 || fchown(to, copy->uid, copy->gid) == -1)
		return -1;
	return fchmod(to, (mode & 0111) != 0 ? 0755 : 0644);
}

static int
copy_link(const struct copy *copy, int from_dir, int to_dir, const char *name)
{
	char target[4096];
	ssize_t length = readlinkat(from_dir, name, target, sizeof target - 1);

	if (length == -1)
		return -1;
	target[length] = '\0';
	if (symlinkat(target, to_dir, name) == -1)
		return -1;
	return fchownat(to_dir, name, copy->uid, copy->gid, AT_SYMLINK_NOFOLLOW);
}

/* The entries of the directory from, which is taken, to the directory to, which is lent. */
static int
copy_entries(const struct copy *copy, int from, int to)
{
	auto_closedir DIR *dir = fdopendir(from);
	struct dirent *entry;

	if (dir == NULL) {
		int saved = errno;

		(void)close(from);
		errno = saved;
		return -1;
	}
	while ((errno = 0, entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		struct stat st;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
			return -1;
		if (S_ISREG(st.st_mode)) {
			if (copy_file(copy, from, to, name, st.st_mode) == -1)
				return -1;
		} else if (S_ISLNK(st.st_mode)) {
			if (copy_link(copy, from, to, name) == -1)
				return -1;
		} else if (S_ISDIR(st.st_mode)) {
			auto_close int made = -1;
			int below;

			if (mkdirat(to, name, 0755) == -1)
				return -1;
			made = openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			below = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
			if (made == -1 || below == -1 || fchmod(made, 0755) == -1 ||
			    fchown(made, copy->uid, copy->gid) == -1) {
				if (below != -1)
					(void)close(below);
				return -1;
			}
			if (copy_entries(copy, below, made) == -1)
				return -1;
		}
	}
	return errno == 0 ? 0 : -1;
}

int
idmap_copy(const struct idmap *map, uid_t id, const char *from, const char *to, struct failure *why)
{
	struct copy copy = {.uid = map->uid + id, .gid = map->gid + id};
	auto_close int target = -1;
	int source;

	if (idmap_dir(map, id, to, 0755, why) == -1)
		return -1;
	target = open(to, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	source = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (target == -1 || source == -1) {
		(void)fail(why, failure_code_of_errno(errno), "cannot copy", from, strerror(errno));
		if (source != -1)
			(void)close(source);
		return -1;
	}
	if (copy_entries(&copy, source, target) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot copy", from, strerror(errno));
	return 0;
}
