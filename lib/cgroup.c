/* SPDX-License-Identifier: MIT */
#include "lib/cgroup.h"

#include <fcntl.h>
#include <mntent.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/state.h"

enum { PROCS_MAX = 1024 * 1024, END_MS = 10000 };

char *
cgroup_name(const struct settings *settings, const char *name)
{
	return xasprintf("starphleet/%s/%s", settings->bridge, name);
}

/*
 * Call visit with the directory of the group name in each hierarchy where it exists, until it
 * answers non-zero; that is returned. unified says that it is of version 2.
 */
static int
each(const struct settings *settings, const char *name,
    int (*visit)(const char *path, bool unified, void *context), void *context)
{
	auto_free char *group = cgroup_name(settings, name);
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	const struct mntent *mount;
	int result = 0;

	while (mounts != NULL && result == 0 && (mount = getmntent(mounts)) != NULL) {
		bool unified = strcmp(mount->mnt_type, "cgroup2") == 0;
		auto_free char *path = NULL;

		if (!unified && strcmp(mount->mnt_type, "cgroup") != 0)
			continue;
		path = xasprintf("%s/%s", mount->mnt_dir, group);
		if (path_exists(path))
			result = visit(path, unified, context);
	}
	if (mounts != NULL)
		(void)endmntent(mounts);
	return result;
}

/* The text of a file in the group; NULL if there is none. */
static char *
read_from(const char *path, const char *file)
{
	auto_failure struct failure ignored = {0};
	auto_free char *name = xasprintf("%s/%s", path, file);

	return file_read(name, PROCS_MAX, NULL, &ignored);
}

/* Call visit with each process of the group and those below, until it answers non-zero. */
static int
each_process(const char *path, int (*visit)(pid_t pid, void *context), void *context)
{
	auto_free char *text = read_from(path, "cgroup.procs");
	auto_closedir DIR *dir = opendir(path);
	const struct dirent *entry;
	char *rest = text, *line;
	int result = 0;

	while (result == 0 && rest != NULL && (line = strsep(&rest, "\n")) != NULL)
		if (atoi(line) > 0)
			result = visit(atoi(line), context);
	while (result == 0 && dir != NULL && (entry = readdir(dir)) != NULL) {
		auto_free char *below = xasprintf("%s/%s", path, entry->d_name);

		if (entry->d_type == DT_DIR && entry->d_name[0] != '.')
			result = each_process(below, visit, context);
		else if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".lxc") == 0)
			result = each_process(
			    below, visit, context); /* LXC's, where others have theirs */
	}
	return result;
}

static int
is_there(pid_t pid, void *context)
{
	(void)pid;
	(void)context;
	return 1;
}

static int
is_busy(const char *path, bool unified, void *context)
{
	auto_free char *events = unified ? read_from(path, "cgroup.events") : NULL;

	(void)context;
	if (events != NULL)
		return strstr(events, "populated 1") != NULL;
	return each_process(path, is_there, NULL);
}

bool
cgroup_busy(const struct settings *settings, const char *name)
{
	return each(settings, name, is_busy, NULL) != 0;
}

/* The kernel lists a process's pids from our namespace inwards; process 1 is 1 in its own. */
static int
find_init(pid_t pid, void *context)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = xasprintf("/proc/%d/status", (int)pid);
	auto_free char *text = file_read(path, PROCS_MAX, NULL, &ignored);
	const char *line = text == NULL ? NULL : strstr(text, "\nNSpid:");
	int outer, inner;

	if (line == NULL || sscanf(line, "\nNSpid: %d %d", &outer, &inner) != 2 || inner != 1)
		return 0;
	*(pid_t *)context = pid;
	return 1;
}

static int
find_init_in(const char *path, bool unified, void *context)
{
	(void)unified;
	return each_process(path, find_init, context);
}

pid_t
cgroup_init(const struct settings *settings, const char *name)
{
	pid_t pid = 0;

	(void)each(settings, name, find_init_in, &pid);
	return pid;
}

static int
kill_one(pid_t pid, void *context)
{
	(void)context;
	(void)kill(pid, SIGKILL);
	return 0;
}

static int
kill_in(const char *path, bool unified, void *context)
{
	auto_free char *all = xasprintf("%s/cgroup.kill", path);
	auto_close int fd = unified ? open(all, O_WRONLY | O_CLOEXEC) : -1;

	(void)context;
	/* Linux 5.14 kills all of them at once, forks under way included. */
	if (fd != -1 && write(fd, "1", 1) == 1)
		return 0;
	return each_process(path, kill_one, NULL);
}

/* Remove the group and those below; context counts what is still there. */
static int
remove_in(const char *path, bool unified, void *context)
{
	auto_closedir DIR *dir = opendir(path);
	const struct dirent *entry;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		auto_free char *below = xasprintf("%s/%s", path, entry->d_name);

		if (entry->d_type == DT_DIR && strcmp(entry->d_name, ".") != 0 &&
		    strcmp(entry->d_name, "..") != 0)
			(void)remove_in(below, unified, context);
	}
	if (rmdir(path) == -1 && errno != ENOENT)
		(*(int *)context)++;
	return 0;
}

static int
count_in(const char *path, bool unified, void *context)
{
	(void)path;
	(void)unified;
	(*(int *)context)++;
	return 0;
}

static void
pause_ms(long ms)
{
	(void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

int
cgroup_end(const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *monitor = xasprintf("%s.monitor", name);
	long long end = state_now_ms() + END_MS;

	for (;;) {
		int left = 0;

		(void)each(settings, name, kill_in, NULL);
		(void)each(settings, monitor, kill_in, NULL);
		(void)each(settings, name, remove_in, &left);
		(void)each(settings, monitor, remove_in, &left);
		if (left == 0)
			return 0;
		if (state_now_ms() >= end)
			return fail(why, EX_TEMPFAIL, "cannot end", name,
			    "processes that do not die, even of SIGKILL");
		pause_ms(
		    2); /* no event tells when the last of a group is gone in every hierarchy */
	}
}

void
cgroup_wait(const struct settings *settings, const char *name, long wait_ms)
{
	auto_free char *monitor = xasprintf("%s.monitor", name);
	long long end = state_now_ms() + wait_ms;

	for (;;) {
		int left = 0;

		(void)each(settings, name, count_in, &left);
		(void)each(settings, monitor, count_in, &left);
		if (left == 0 || state_now_ms() >= end)
			return;
		pause_ms(2);
	}
}
