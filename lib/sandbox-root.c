/* SPDX-License-Identifier: MIT */
#include "lib/sandbox-root.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <bsd/string.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

/*
 * mount_setattr(2), open_tree(2) and move_mount(2) by their numbers: glibc has them since 2.36, and
 * <linux/mount.h> cannot be included beside an older <sys/mount.h>.
 */
struct attributes {
	uint64_t set, clear, propagation, userns_fd;
};

enum {
	TREE_CLONE = 1,
	TREE_RECURSIVE = 0x8000,
	MOVE_FROM_EMPTY = 4,
	READ_ONLY = 1,
	NO_SUID = 2,
	NO_DEVICES = 4,
};

/* What a program needs to be loaded, on any ship with a merged /usr. */
static const char *const libraries[] = {
    "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libx32", "/etc/ld.so.cache", "/etc/alternatives"};
static const char *const top_links[] = {"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"};
static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/urandom"};

int
sandbox_trouble(struct sandbox_trouble *trouble, const char *what, const char *object)
{
	trouble->error = errno;
	(void)snprintf(trouble->text, sizeof trouble->text, "%s: %s", what, object);
	return -1;
}

static int
set_attributes(const char *path, uint64_t set, uint64_t clear, unsigned int flags)
{
	struct attributes attributes = {.set = set, .clear = clear};

	return (int)syscall(
	    SYS_mount_setattr, AT_FDCWD, path, flags, &attributes, sizeof attributes);
}

static int
tree_open(const char *path)
{
	return (int)syscall(SYS_open_tree, AT_FDCWD, path,
	    TREE_CLONE | O_CLOEXEC | AT_SYMLINK_NOFOLLOW | TREE_RECURSIVE);
}

int
sandbox_root_open(
    const struct sandbox_place *places, size_t count, int *fds, struct sandbox_trouble *trouble)
{
	for (size_t i = 0; i < count; i++) {
		fds[i] = places[i].kind == SANDBOX_BIND ? tree_open(places[i].from) : -1;
		if (places[i].kind == SANDBOX_BIND && fds[i] == -1)
			return sandbox_trouble(trouble, "cannot open", places[i].from);
	}
	return 0;
}

/* Make the directories on the way to path, which is absolute; root is put before it. */
static int
make_parents(const char *path)
{
	auto_free char *copy = xstrdup(path);

	for (char *slash = strchr(copy + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) == -1 && errno != EEXIST)
			return -1;
		*slash = '/';
	}
	return 0;
}

static int
make_file(const char *path, const char *text)
{
	auto_close int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	return fd == -1 ? -1 : write_all(fd, text, strlen(text));
}

/* Attach the detached mount tree at path, making the directory or file to mount on. */
static int
attach(int tree, const char *path)
{
	struct stat st;

	if (fstat(tree, &st) == -1)
		return -1;
	if (S_ISDIR(st.st_mode) ? mkdir(path, 0755) == -1 && errno != EEXIST
				: make_file(path, "") == -1)
		return -1;
	return (int)syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_FROM_EMPTY);
}

/* Put the places below root ("" or a directory). */
static int
fill(const char *root, const struct sandbox_place *places, size_t count, const int *fds,
    struct sandbox_trouble *trouble)
{
	for (size_t i = 0; i < count; i++) {
		auto_free char *to = xasprintf("%s%s", root, places[i].to);
		int result = make_parents(to);

		if (result == 0 && places[i].kind == SANDBOX_BIND)
			result = attach(fds[i], to);
		else if (result == 0 && places[i].kind == SANDBOX_LINK)
			result = symlink(places[i].from, to);
		else if (result == 0)
			result = make_file(to, places[i].from);
		if (result == -1)
			return sandbox_trouble(trouble, "cannot make in the sandbox", places[i].to);
		if (fds[i] != -1)
			(void)close(fds[i]);
	}
	return 0;
}

/* Bind path of the ship at the same path below root, if the ship has it. */
static int
bind_same(const char *root, const char *path, struct sandbox_trouble *trouble)
{
	auto_free char *to = xasprintf("%s%s", root, path);
	auto_close int tree = tree_open(path);

	if (tree == -1 && errno == ENOENT)
		return 0;
	if (tree == -1 || make_parents(to) == -1 || attach(tree, to) == -1)
		return sandbox_trouble(trouble, "cannot bind", path);
	return 0;
}

/* The base, below root; the ship's own files are still in sight. */
static int
make_base(const char *root, enum sandbox_base base, struct sandbox_trouble *trouble)
{
	static const struct sandbox_place links[] = {
	    {SANDBOX_LINK, "/proc/self/fd", "/dev/fd"},
	    {SANDBOX_LINK, "/proc/self/fd/0", "/dev/stdin"},
	    {SANDBOX_LINK, "/proc/self/fd/1", "/dev/stdout"},
	    {SANDBOX_LINK, "/proc/self/fd/2", "/dev/stderr"},
	};
	static const int none[] = {-1, -1, -1, -1};
	auto_free char *proc = xasprintf("%s/proc", root), *tmp = xasprintf("%s/tmp", root);

	if (base == SANDBOX_SYSTEM && bind_same(root, "/usr", trouble) == -1)
		return -1;
	for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
		bool below_usr = strncmp(libraries[i], "/usr/", 5) == 0;

		if (!(base == SANDBOX_SYSTEM && below_usr) &&
		    bind_same(root, libraries[i], trouble) == -1)
			return -1;
	}
	for (size_t i = 0; i < sizeof top_links / sizeof *top_links; i++) {
		auto_free char *to = xasprintf("%s%s", root, top_links[i]);
		char text[256];
		ssize_t length = readlink(top_links[i], text, sizeof text - 1);

		if (length == -1)
			continue; /* not on this kind of machine */
		text[length] = '\0';
		if (symlink(text, to) == -1)
			return sandbox_trouble(trouble, "cannot link", top_links[i]);
	}
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++)
		if (bind_same(root, devices[i], trouble) == -1)
			return -1;
	if (mkdir(proc, 0755) == -1 || mkdir(tmp, 0755) == -1)
		return sandbox_trouble(trouble, "cannot make", "/proc");
	return fill(root, links, sizeof links / sizeof *links, none, trouble);
}

/* Make all below root read-only, without set-uid and without devices but our own. */
static int
close_down(const char *root, struct sandbox_trouble *trouble)
{
	if (set_attributes(root, READ_ONLY | NO_SUID | NO_DEVICES, 0, TREE_RECURSIVE) == -1)
		return sandbox_trouble(trouble, "cannot make read-only", root);
	for (size_t i = 0; i < sizeof devices / sizeof *devices; i++) {
		auto_free char *path = xasprintf("%s%s", root, devices[i]);

		if (set_attributes(path, 0, NO_DEVICES, 0) == -1 && errno != ENOENT)
			return sandbox_trouble(trouble, "cannot allow", path);
	}
	return 0;
}

int
sandbox_root_make(enum sandbox_base base, const struct sandbox_place *places, size_t count,
    struct sandbox_trouble *trouble)
{
	/* Any directory that surely exists: only our own namespace sees what we mount on it. */
	static const char root[] = "/tmp";
	auto_free int *fds = xcalloc(count, sizeof *fds);

	if (unshare(CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS) == -1)
		return sandbox_trouble(trouble, "cannot enter namespaces", "of a sandbox");
	if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == -1)
		return sandbox_trouble(trouble, "cannot make mounts private", "/");
	/* The same on every ship. */
	if (sethostname("ship", 4) == -1)
		return sandbox_trouble(trouble, "cannot set", "the host's name");
	if (sandbox_root_open(places, count, fds, trouble) == -1)
		return -1;
	if (mount("sandbox", root, "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=64m") == -1)
		return sandbox_trouble(trouble, "cannot mount", root);
	(void)umask(022);
	if (make_base(root, base, trouble) == -1 || fill(root, places, count, fds, trouble) == -1 ||
	    close_down(root, trouble) == -1)
		return -1;
	/* The old root comes to lie over the new one and is taken off: pivot_root(2), NOTES. */
	if (chdir(root) == -1 || syscall(SYS_pivot_root, ".", ".") == -1 ||
	    umount2(".", MNT_DETACH) == -1 || chdir("/") == -1)
		return sandbox_trouble(trouble, "cannot change the root", root);
	return 0;
}

int
sandbox_root_enter(const struct sandbox_run *run, const int *fds, struct sandbox_trouble *trouble)
{
	if (run->top != NULL) {
		if (mount("sandbox", run->top, "tmpfs", MS_NOSUID | MS_NODEV,
			"mode=0755,size=1m") == -1)
			return sandbox_trouble(trouble, "cannot mount", run->top);
		(void)umask(022);
		if (fill("", run->places, run->place_count, fds, trouble) == -1)
			return -1;
		if (set_attributes(run->top, READ_ONLY | NO_SUID | NO_DEVICES, 0, TREE_RECURSIVE) ==
		    -1)
			return sandbox_trouble(trouble, "cannot make read-only", run->top);
	}
	/*
	 * Processes only (subset=pid): none of the ship's figures, no /proc/sys. Where a container
	 * that the ship itself lives in forbids it, there is no <(...), all else works.
	 */
	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
		"subset=pid,hidepid=2") == -1 &&
	    errno != EPERM && errno != EACCES)
		return sandbox_trouble(trouble, "cannot mount", "/proc");
	return 0;
}
