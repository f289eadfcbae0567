/* SPDX-License-Identifier: MIT */
#include "lib/watch.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/health.h"
#include "lib/own.h"
#include "lib/probe.h"
#include "lib/record.h"
#include "lib/state.h"

enum {
	SCAN_MS = 2000, /* between two looks for changed serving.json files: a stat each */
	LOOK_MS = 3000, /* between two looks whether a container runs that did not */
	SETTLE_MS = 1000, /* somebody may be restarting it: so long after its end the first look */
	EVENTS = 16,
	PAUSE_FIRST_MS = 10 * 1000,
	PAUSE_MAX_MS = 300 * 1000,
	STEADY_MS = 60 * 1000, /* so long well, or as long as the last pause: all is forgiven */
};

/* An order that serves. */
struct ward {
	struct ward *next;
	char *order, *container;
	struct stat file; /* of its serving.json, as it was read */
	struct health health;
	int pidfd; /* of its container's process 1; -1: to be looked for */
	bool seen; /* by the present scan */
	bool asked; /* it has a HEALTHCHECK */
	bool probing; /* its probe is with the set */
	long misses;
	long pause_ms; /* after the next report */
	long long probe_at_ms, look_at_ms;
	long long well_since_ms; /* 0: it is not */
	long long quiet_until_ms; /* no report before */
	long long grace_until_ms; /* no miss counts before, unless it has been well since */
};

struct watcher {
	const struct watch *watch;
	struct probe_set *set;
	int ends; /* epoll of all pidfds */
	struct ward *first;
};

static void
ward_clear(struct watcher *watcher, struct ward *ward)
{
	if (ward->probing)
		probe_cancel(watcher->set, &ward->health.probe);
	ward->probing = false;
	own_close(&ward->pidfd);
	ward->pidfd = -1;
	health_clear(&ward->health);
	free(ward->container);
	ward->container = NULL;
}

/*
 * Begin to watch what serving.json names now. Probes are spread over their pulse, for a hundred
 * services shall not be asked in the same moment.
 */
static int
ward_load(struct watcher *watcher, struct ward *ward, struct failure *why)
{
	auto_json json_t *serving =
	    state_load(watcher->watch->settings, ward->order, "serving.json", why);
	const char *container = record_string(serving, "container", NULL);
	long long now_ms = state_now_ms();

	if (serving == NULL)
		return -1;
	if (container == NULL)
		return fail(why, EX_CONFIG, "serving.json names no container", ward->order, NULL);
	ward_clear(watcher, ward);
	ward->container = xstrdup(container);
	ward->misses = 0;
	ward->well_since_ms = 0;
	ward->pause_ms = PAUSE_FIRST_MS;
	ward->look_at_ms = now_ms;
	ward->quiet_until_ms = now_ms + PAUSE_FIRST_MS;
	ward->asked = record_setting(serving, "HEALTHCHECK", NULL) != NULL &&
		      !json_is_false(json_object_get(serving, "published"));
	if (!ward->asked)
		return 0;
	if (health_of(&ward->health, serving, record_string(serving, "address", NULL),
		json_integer_value(json_object_get(serving, "port")), why) == -1) {
		ward->asked = false;
		return -1;
	}
	ward->grace_until_ms = now_ms + ward->health.probe.patience_ms;
	ward->health.probe.patience_ms = 0;
	ward->health.probe.owner = ward;
	ward->probe_at_ms = now_ms + random() % ward->health.pulse_ms;
	return 0;
}

static struct ward *
ward_find(struct watcher *watcher, const char *order)
{
	struct ward *ward = watcher->first;

	while (ward != NULL && strcmp(ward->order, order) != 0)
		ward = ward->next;
	return ward;
}

/* One order's folder: read its serving.json if that is new. */
static int
scan_order(const char *order, void *context, struct failure *why)
{
	struct watcher *watcher = context;
	auto_free char *path = state_path(watcher->watch->settings, order, "serving.json");
	struct ward *ward = ward_find(watcher, order);
	struct stat file;

	(void)why;
	if (stat(path, &file) == -1)
		return 0;
	if (ward == NULL) {
		ward = xcalloc(1, sizeof(*ward));
		ward->order = xstrdup(order);
		ward->pidfd = -1;
		ward->next = watcher->first;
		watcher->first = ward;
	}
	ward->seen = true;
	if (ward->file.st_ino != file.st_ino || ward->file.st_mtim.tv_sec != file.st_mtim.tv_sec ||
	    ward->file.st_mtim.tv_nsec != file.st_mtim.tv_nsec) {
		auto_failure struct failure bad = {0};

		ward->file = file;
		/* One bad file concerns one order; it is looked at again when it changes. */
		if (ward_load(watcher, ward, &bad) == -1 && bad.code != 0)
			(void)failure_report(&bad);
	}
	return 0;
}

static int
scan(struct watcher *watcher, struct failure *why)
{
	if (state_each(watcher->watch->settings, scan_order, watcher, why) != 0)
		return -1;
	for (struct ward **place = &watcher->first; *place != NULL;) {
		struct ward *ward = *place;

		if (ward->seen) {
			ward->seen = false;
			place = &ward->next;
			continue;
		}
		*place = ward->next;
		ward_clear(watcher, ward);
		free(ward->order);
		free(ward);
	}
	return 0;
}

/* Report the order, if it is still this container that serves and it is not to be left alone. */
static int
report(struct watcher *watcher, struct ward *ward, const char *reason, struct failure *why)
{
	auto_failure struct failure ignored = {0};
	long long now_ms = state_now_ms();
	auto_json json_t *serving = NULL;
	const char *container;

	ward->well_since_ms = 0;
	if (now_ms < ward->quiet_until_ms)
		return 0;
	serving = state_load(watcher->watch->settings, ward->order, "serving.json", &ignored);
	container = record_string(serving, "container", NULL);
	if (container == NULL || strcmp(container, ward->container) != 0)
		return 0; /* replaced meanwhile; the next scan sees it */
	ward->misses = 0;
	ward->quiet_until_ms = now_ms + ward->pause_ms;
	if (ward->asked) {
		long delay_s = 60;

		(void)record_setting_number(
		    serving, "HEALTHCHECK_INIT_DELAY", 1, 3600, 60, &delay_s, &ignored);
		ward->grace_until_ms = now_ms + delay_s * 1000;
	}
	ward->pause_ms = ward->pause_ms * 2 > PAUSE_MAX_MS ? PAUSE_MAX_MS : ward->pause_ms * 2;
	return watcher->watch->report(ward->order, reason, watcher->watch->context, why);
}

/* It is well, now or until now. */
static void
is_well(struct ward *ward)
{
	long long now_ms = state_now_ms();

	ward->misses = 0;
	ward->grace_until_ms = 0;
	if (ward->well_since_ms == 0)
		ward->well_since_ms = now_ms;
	if (now_ms - ward->well_since_ms >=
	    (ward->pause_ms > STEADY_MS ? ward->pause_ms : STEADY_MS))
		ward->pause_ms = PAUSE_FIRST_MS;
}

static int
probed(struct watcher *watcher, struct ward *ward, struct failure *why)
{
	const struct probe *probe = &ward->health.probe;
	auto_free char *reason = NULL;
	long long now_ms = state_now_ms();

	ward->probing = false;
	ward->probe_at_ms += ward->health.pulse_ms;
	if (ward->probe_at_ms < now_ms) /* a slow answer, or the machine slept: no volley */
		ward->probe_at_ms = now_ms + ward->health.pulse_ms;
	if (probe->well) {
		is_well(ward);
		return 0;
	}
	if (probe->error == EMFILE || probe->error == ENFILE || probe->error == ENOBUFS ||
	    probe->error == ENOMEM)
		return 0; /* our own trouble */
	ward->well_since_ms = 0;
	if (now_ms < ward->grace_until_ms || ++ward->misses <= ward->health.retry_count)
		return 0;
	reason =
	    xasprintf("%s: %s, %ld times in a row", ward->health.url, probe->seen, ward->misses);
	return report(watcher, ward, reason, why);
}

/* True if its container runs; then the kernel will say when it ends. */
static bool
look(struct watcher *watcher, struct ward *ward)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = ward};
	pid_t pid = cgroup_init(watcher->watch->settings, ward->container);

	if (pid == 0)
		return false;
	if (!ward->asked)
		is_well(ward);
	ward->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	/* Without one (too many, or that process is gone again) it is looked at again. */
	if (ward->pidfd == -1)
		return true;
	if (epoll_ctl(watcher->ends, EPOLL_CTL_ADD, ward->pidfd, &event) == -1 ||
	    cgroup_init(watcher->watch->settings, ward->container) != pid) {
		(void)close(ward->pidfd);
		ward->pidfd = -1;
	}
	return true;
}

/* Containers whose process 1 ended are looked for again shortly. */
static void
take_ends(struct watcher *watcher)
{
	struct epoll_event events[EVENTS];
	int count = epoll_wait(watcher->ends, events, EVENTS, 0);

	for (int i = 0; i < count; i++) {
		struct ward *ward = events[i].data.ptr;

		if (!ward->asked)
			is_well(ward);
		own_close(&ward->pidfd);
		ward->pidfd = -1;
		ward->look_at_ms = state_now_ms() + SETTLE_MS;
	}
}

/* Do what is due for one order; *next_ms is lowered to the moment of what comes next. */
static int
attend(struct watcher *watcher, struct ward *ward, long long *next_ms, struct failure *why)
{
	long long now_ms = state_now_ms();

	if (ward->container == NULL)
		return 0;
	if (ward->pidfd == -1 && ward->look_at_ms <= now_ms) {
		ward->look_at_ms = now_ms + LOOK_MS;
		if (!look(watcher, ward) &&
		    report(watcher, ward, "its container does not run", why) == -1)
			return -1;
	}
	if (ward->asked && !ward->probing && ward->probe_at_ms <= now_ms) {
		ward->probing = true;
		probe_start(watcher->set, &ward->health.probe);
	}
	if (ward->pidfd == -1 && ward->look_at_ms < *next_ms)
		*next_ms = ward->look_at_ms;
	if (ward->asked && !ward->probing && ward->probe_at_ms < *next_ms)
		*next_ms = ward->probe_at_ms;
	return 0;
}

static int
run(struct watcher *watcher, struct failure *why)
{
	long long scan_at_ms = 0;

	for (;;) {
		long long now_ms = state_now_ms(), next_ms;
		struct probe *probe;

		if (scan_at_ms <= now_ms) {
			scan_at_ms = now_ms + SCAN_MS;
			if (scan(watcher, why) == -1)
				return -1;
		}
		next_ms = scan_at_ms;
		for (struct ward *ward = watcher->first; ward != NULL; ward = ward->next)
			if (attend(watcher, ward, &next_ms, why) == -1)
				return -1;
		now_ms = state_now_ms();
		if (probe_wait(watcher->set, watcher->ends,
			next_ms > now_ms ? (long)(next_ms - now_ms) : 0, why) == -1)
			return -1;
		take_ends(watcher);
		while ((probe = probe_next(watcher->set)) != NULL)
			if (probed(watcher, probe->owner, why) == -1)
				return -1;
	}
}

int
watch_run(const struct watch *watch, struct failure *why)
{
	auto_close int ends = epoll_create1(EPOLL_CLOEXEC);
	struct watcher watcher = {.watch = watch, .ends = ends};
	struct rlimit limit;
	int result;

	if (ends == -1)
		return fail(why, EX_TEMPFAIL, "cannot watch", NULL, strerror(errno));
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max; /* a descriptor for each container */
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	watcher.set = probe_set_new();
	result = run(&watcher, why);
	while (watcher.first != NULL) {
		struct ward *ward = watcher.first;

		watcher.first = ward->next;
		ward_clear(&watcher, ward);
		free(ward->order);
		free(ward);
	}
	probe_set_free(watcher.set);
	return result;
}
