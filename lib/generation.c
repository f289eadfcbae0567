/* SPDX-License-Identifier: MIT */
#include "lib/generation.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/run.h"

enum { CONF_MAX_BYTES = 256 * 1024 * 1024, GENERATIONS_KEPT = 3, LOG_MAX_BYTES = 1024 * 1024 };

static char *
prefix_path(const struct settings *settings, const char *rest)
{
	return xasprintf("%s/nginx/%s", settings->root, rest);
}

int
generation_lock(const struct settings *settings, struct failure *why)
{
	static const char *const places[] = {"generations", "logs", "tmp", NULL};
	auto_free char *lock = prefix_path(settings, "lock");

	for (size_t i = 0; places[i] != NULL; i++) {
		auto_free char *place = prefix_path(settings, places[i]);

		/* nginx's workers, of another user, go through these to the files they are given.
		 */
		if (dir_make(place, 0711, why) == -1)
			return -1;
	}
	return lock_take(lock, true, why);
}

int
generation_due(const struct settings *settings, struct failure *why)
{
	auto_free char *path = prefix_path(settings, "pending");

	return path_exists(path) ? 0 : file_replace(path, "", 0, 0600, why);
}

bool
generation_is_due(const struct settings *settings)
{
	auto_free char *path = prefix_path(settings, "pending");

	return path_exists(path);
}

/*
 * nginx -t's complaint: "nginx: [emerg] PID#PID: reason in FILE:LINE". Fills *why with the reason
 * alone, for FILE will not be there any more when it is read; the line, or 0.
 */
static size_t
complaint(const char *output, struct failure *why)
{
	const char *text = strstr(output, "[emerg] ");
	auto_free char *reason = NULL;
	char *place, *number;
	size_t line = 0;

	text = text == NULL ? output : text + strlen("[emerg] ");
	if (text[strspn(text, "0123456789#")] == ':' && strspn(text, "0123456789#") > 0)
		text += strspn(text, "0123456789#") + strlen(": ");
	reason = xstrndup(text, strcspn(text, "\n"));
	place = strstr(reason, " in /");
	number = strrchr(reason, ':');
	if (place != NULL && number != NULL && number > place) {
		line = (size_t)strtoul(number + 1, NULL, 10);
		*place = '\0';
	}
	(void)fail(why, EX_CONFIG, "nginx refuses the configuration", reason, NULL);
	return line;
}

static enum generation
test(const struct settings *settings, const char *conf, size_t *line, struct failure *why)
{
	auto_free char *prefix = xasprintf("%s/nginx", settings->root);
	const char *const argv[] = {"nginx", "-t", "-q", "-p", prefix, "-c", conf, NULL};
	struct run run = {.argv = argv, .merge = true, .limit_ms = 60 * 1000};
	auto_free char *output = NULL;

	if (run_program(&run, &output, why) == 0)
		return GENERATION_DONE;
	/* Not there, or not ended: that is no judgement on the text. */
	if (why->code == EX_TEMPFAIL || output == NULL || strstr(output, "nginx:") == NULL)
		return GENERATION_FAILED;
	failure_clear(why);
	*line = complaint(output, why);
	return GENERATION_REFUSED;
}

/* A generation's number, or 0 if name is none. */
static long
number_of(const char *name)
{
	const char *bad = NULL;
	long number = isdigit((unsigned char)*name) ? (long)strtonum(name, 1, 999999999, &bad) : 0;

	return bad == NULL ? number : 0;
}

/* The highest generation's number; with keep_from above 0, removes what is older, and leftovers. */
static long
sweep(const char *generations, long keep_from)
{
	auto_closedir DIR *dir = opendir(generations);
	auto_failure struct failure ignored = {0};
	struct dirent *entry;
	long highest = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		auto_free char *path = xasprintf("%s/%s", generations, entry->d_name);
		long number = number_of(entry->d_name);
		bool leftover = strncmp(entry->d_name, ".new.", 5) == 0;

		highest = number > highest ? number : highest;
		if (keep_from > 0 && (leftover || (number > 0 && number < keep_from)))
			(void)tree_remove(
			    path, &ignored); /* what stays is tried again the next time */
	}
	return highest;
}

/* Let current name generation number, in one step. */
static int
flip(const struct settings *settings, long number, struct failure *why)
{
	auto_free char *current = prefix_path(settings, "current");
	auto_free char *next = prefix_path(settings, "current.new");
	auto_free char *target = xasprintf("generations/%ld", number);

	/* We hold the lock: one that is there is from a process that died. */
	if ((unlink(next) == -1 && errno != ENOENT) || symlink(target, next) == -1 ||
	    rename(next, current) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot replace", current, strerror(errno));
	return dir_sync_parent(current, why);
}

/* The pid of our nginx's master, or 0: its title names our prefix. */
static pid_t
master(const struct settings *settings)
{
	auto_failure struct failure ignored = {0};
	auto_free char *path = xasprintf("%s/nginx.pid", settings->run);
	auto_free char *text = file_read(path, 64, NULL, &ignored);
	auto_free char *prefix = xasprintf("-p %s/nginx ", settings->root);
	auto_free char *place = NULL;
	auto_free char *title = NULL;
	long pid = text == NULL ? 0 : strtol(text, NULL, 10);

	if (pid <= 1)
		return 0;
	place = xasprintf("/proc/%ld/cmdline", pid);
	title = file_read(place, 65536, NULL, &ignored);
	return title != NULL && strncmp(title, "nginx: master process", 21) == 0 &&
		       strstr(title, prefix) != NULL
		   ? (pid_t)pid
		   : 0;
}

static int
reload(const struct settings *settings, struct failure *why)
{
	pid_t pid = master(settings);

	if (pid != 0 && kill(pid, SIGHUP) == -1 && errno != ESRCH)
		return fail(why, EX_UNAVAILABLE, "cannot reload nginx", NULL, strerror(errno));
	return 0;
}

/* Write, test and install text as a new generation. */
static enum generation
install(const struct settings *settings, const char *text, size_t *line, struct failure *why)
{
	auto_free char *generations = prefix_path(settings, "generations");
	auto_free char *fresh = xasprintf("%s/.new.XXXXXX", generations);
	auto_free char *conf = NULL;
	auto_free char *final = NULL;
	long number = sweep(generations, 0) + 1;
	enum generation result = GENERATION_FAILED;

	if (mkdtemp(fresh) == NULL) {
		(void)fail(
		    why, failure_code_of_errno(errno), "cannot create", fresh, strerror(errno));
		return GENERATION_FAILED;
	}
	conf = xasprintf("%s/nginx.conf", fresh);
	final = xasprintf("%s/%ld", generations, number);
	if (file_replace(conf, text, strlen(text), 0600, why) == 0)
		result = test(settings, conf, line, why);
	if (result == GENERATION_DONE && rename(fresh, final) == -1) {
		(void)fail(
		    why, failure_code_of_errno(errno), "cannot replace", final, strerror(errno));
		result = GENERATION_FAILED;
	}
	if (result != GENERATION_DONE) {
		auto_failure struct failure ignored = {0};

		(void)tree_remove(fresh, &ignored);
		return result;
	}
	if (dir_sync_parent(final, why) == -1 || flip(settings, number, why) == -1)
		return GENERATION_FAILED;
	(void)sweep(generations, number - GENERATIONS_KEPT + 1);
	return GENERATION_DONE;
}

enum generation
generation_make(
    const struct settings *settings, const char *text, bool tell, size_t *line, struct failure *why)
{
	auto_free char *current = prefix_path(settings, "current/nginx.conf");
	auto_free char *pending = prefix_path(settings, "pending");
	auto_free char *old = file_read(current, CONF_MAX_BYTES, NULL, why);
	bool same = old != NULL && strcmp(old, text) == 0;

	*line = 0;
	failure_clear(why); /* one that cannot be read is replaced */
	if (!same) {
		enum generation result = install(settings, text, line, why);

		if (result != GENERATION_DONE)
			return result;
	}
	/* Due and yet the same: somebody died between flip and reload. */
	if (tell && (!same || path_exists(pending)) && reload(settings, why) == -1)
		return GENERATION_FAILED;
	return file_remove(pending, why) == -1 ? GENERATION_FAILED : GENERATION_DONE;
}

int
generation_rotate_log(const struct settings *settings, struct failure *why)
{
	auto_free char *log = prefix_path(settings, "logs/error.log");
	auto_free char *old = prefix_path(settings, "logs/error.log.1");
	struct stat st;
	pid_t pid;

	if (stat(log, &st) == -1 || st.st_size <= LOG_MAX_BYTES)
		return 0;
	if (rename(log, old) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot replace", old, strerror(errno));
	if ((pid = master(settings)) != 0 && kill(pid, SIGUSR1) == -1 && errno != ESRCH)
		return fail(
		    why, EX_UNAVAILABLE, "cannot tell nginx of its new log", NULL, strerror(errno));
	return 0;
}

bool
generation_old_workers(void)
{
	auto_closedir DIR *proc = opendir("/proc");
	struct dirent *entry;

	while (proc != NULL && (entry = readdir(proc)) != NULL) {
		auto_failure struct failure ignored = {0};
		auto_free char *path = NULL;
		auto_free char *title = NULL;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		path = xasprintf("/proc/%s/cmdline", entry->d_name);
		title = file_read(path, 65536, NULL, &ignored);
		if (title != NULL &&
		    strncmp(title, "nginx: worker process is shutting down", 38) == 0)
			return true;
	}
	return proc == NULL;
}
