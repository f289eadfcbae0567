/* SPDX-License-Identifier: MIT */
#include "lib/container.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/making.h"
#include "lib/order.h"

enum { ABOUT_MAX = 1024 * 1024, MONITOR_MS = 5000 };

static char *
place_of(const struct settings *settings, const char *name, const char *file)
{
	return xasprintf("%s/%s%s%s", settings->lxc_root, name, file == NULL ? "" : "/",
	    file == NULL ? "" : file);
}

bool
container_exists(const struct settings *settings, const char *name)
{
	auto_free char *place = place_of(settings, name, NULL);

	return path_exists(place);
}

/* starphleet.json, whoever's. NULL with why->code 0: there is none. */
static json_t *
about_load(const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *path = place_of(settings, name, "starphleet.json");
	auto_free char *text = file_read(path, ABOUT_MAX, NULL, why);
	json_error_t error;
	json_t *about;

	if (text == NULL)
		return NULL;
	if ((about = json_loads(text, 0, &error)) == NULL)
		(void)fail(why, EX_CONFIG, "cannot read", path, error.text);
	return about;
}

static bool
is_ours(const struct settings *settings, const json_t *about)
{
	const char *root = json_string_value(json_object_get(about, "root"));

	return root != NULL && strcmp(root, settings->root) == 0;
}

json_t *
container_about(const struct settings *settings, const char *name, struct failure *why)
{
	json_t *about = about_load(settings, name, why);

	if (about != NULL && is_ours(settings, about))
		return about;
	json_decref(about);
	if (why->code == 0 && container_exists(settings, name))
		(void)fail(why, EX_CONFIG, "not a container of this ship", name,
		    "somebody else has made one of this name");
	return NULL;
}

bool
container_running(const struct settings *settings, const char *name)
{
	return cgroup_busy(settings, name);
}

/* Wait until the process ends, at most so long. True: it has. */
static bool
wait_gone(int pidfd, int wait_ms)
{
	struct pollfd poll_fd = {.fd = pidfd, .events = POLLIN};

	return poll(&poll_fd, 1, wait_ms) == 1;
}

int
container_stop(const struct settings *settings, const char *name, int grace_s, struct failure *why)
{
	pid_t init = cgroup_init(settings, name);
	auto_close int pidfd = init == 0 ? -1 : (int)syscall(SYS_pidfd_open, init, 0);

	/* The number could be another's by now, but not while the descriptor names what the group
	 * has. */
	if (pidfd != -1 && cgroup_init(settings, name) == init) {
		if (grace_s > 0 && syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) == 0)
			(void)wait_gone(pidfd, grace_s * 1000);
		(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
		/* Process 1 is the last of its namespace to go. LXC's monitor then takes down the
		 * rest, if nobody has killed it. */
		if (wait_gone(pidfd, MONITOR_MS))
			cgroup_wait(settings, name, MONITOR_MS);
	}
	return cgroup_end(settings, name, why);
}

/* LXC keeps a lock file for each name that it was ever asked about. */
static void
remove_lock(const struct settings *settings, const char *name)
{
	auto_free char *path = xasprintf("/run/lxc/lock%s/.%s", settings->lxc_root, name);

	(void)unlink(path);
}

int
container_destroy(const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *place = place_of(settings, name, NULL);
	auto_json json_t *about = container_about(settings, name, why);

	if (about == NULL)
		return why->code == 0 ? 0 : -1;
	if (container_stop(settings, name, 0, why) == -1 || making_undo(place, why) == -1)
		return -1;
	remove_lock(settings, name);
	return 0;
}

int
container_each(const struct settings *settings,
    int (*visit)(const char *name, const json_t *about, void *context, struct failure *why),
    void *context, struct failure *why)
{
	auto_closedir DIR *dir = opendir(settings->lxc_root);
	const struct dirent *entry;

	if (dir == NULL && errno != ENOENT)
		return fail(why, failure_code_of_errno(errno), "cannot read", settings->lxc_root,
		    strerror(errno));
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		auto_json json_t *about = NULL;
		int result;

		if (entry->d_name[0] == '.')
			continue;
		about = about_load(settings, entry->d_name, why);
		if (about != NULL && is_ours(settings, about) &&
		    (result = visit(entry->d_name, about, context, why)) != 0)
			return result;
	}
	failure_clear(why);
	return 0;
}
