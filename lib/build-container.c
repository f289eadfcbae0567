/* SPDX-License-Identifier: MIT */
#include "lib/build-container.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/file.h"
#include "lib/lxc-start.h"
#include "lib/netmap.h"
#include "lib/own.h"

enum { LIMIT_S = 1800, LIMIT_MAX_S = 86400, NPMRC_MAX = 64 * 1024 };

/* One of settings.builds places, its lock held. */
struct slot {
	int lock;
	int number;
	char *name; /* of the container */
	char *place; /* its folder, which holds secrets while it is in use */
};

static void
slot_leave(struct slot *slot)
{
	auto_failure struct failure ignored = {0};

	if (slot->place != NULL)
		(void)tree_remove(slot->place, &ignored);
	if (slot->lock != -1)
		(void)close(slot->lock);
	free(slot->name);
	free(slot->place);
}

#define auto_slot __attribute__((cleanup(slot_leave)))

/* Take a free one, or wait for one; what a killed builder left in it goes. */
static int
slot_enter(const struct settings *settings, struct slot *slot, struct failure *why)
{
	for (int i = 0; slot->lock == -1; i++) {
		bool last = i == settings->builds;
		int number = last ? (int)getpid() % settings->builds : i;
		auto_free char *path = xasprintf("%s/slots/%d", settings->run, number);

		slot->number = number;
		slot->lock = lock_take(path, last, why);
		if (slot->lock == -1 && (last || why->code != EX_TEMPFAIL))
			return -1;
		failure_clear(why);
	}
	slot->name = xasprintf("build.%d", slot->number);
	slot->place = xasprintf("%s/builds/%s", settings->run, slot->name);
	return cgroup_end(settings, slot->name, why) == -1 || tree_remove(slot->place, why) == -1
		   ? -1
		   : 0;
}

/* The registry that the ship's npm is configured with, its own or all users'; free() it. */
static char *
npm_registry(void)
{
	static const char *const places[] = {
	    "/root/.npmrc", "/etc/npmrc", "/usr/etc/npmrc", "/usr/local/etc/npmrc"};
	const char *given = getenv("npm_config_registry");

	if (given != NULL && *given != '\0')
		return xstrdup(given);
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		auto_failure struct failure ignored = {0};
		auto_free char *text = file_read(places[i], NPMRC_MAX, NULL, &ignored);
		char *rest = text, *line, *value;

		while (rest != NULL && (line = strsep(&rest, "\n")) != NULL) {
			if (strncmp(line, "registry", 8) != 0 ||
			    (value = strchr(line, '=')) == NULL)
				continue;
			value += 1 + strspn(value + 1, " \t\"");
			value[strcspn(value, " \t\r\"")] = '\0';
			return xstrdup(value);
		}
	}
	return NULL;
}

static void
put_variable(FILE *out, const char *name, const char *value)
{
	if (value == NULL || *value == '\0')
		return;
	for (const char *next = value; *next != '\0'; next++)
		if (!isgraph((unsigned char)*next))
			return; /* no URL, and it would be another line of the config */
	(void)fprintf(out, "lxc.environment = %s=%s\n", name, value);
}

/* What builds need to know of the machine's way into the world; free() it. */
static char *
variables(void)
{
	static const char *const proxies[] = {"http_proxy", "https_proxy", "no_proxy"};
	auto_free char *registry = npm_registry();
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	put_variable(out, "npm_config_registry", registry);
	for (size_t i = 0; i < sizeof proxies / sizeof *proxies; i++)
		put_variable(out, proxies[i], getenv(proxies[i]));
	(void)fclose(out);
	return text;
}

/* A file for each variable, that bin/compile reads as the service's user. */
static int
put_env(const struct idmap *map, const char *dir, const json_t *env, struct failure *why)
{
	const char *name;
	json_t *value;

	if (idmap_dir(map, IDMAP_USER, dir, 0700, why) == -1)
		return -1;
	json_object_foreach((json_t *)env, name, value)
	{
		auto_free char *path = xasprintf("%s/%s", dir, name);
		const char *text = json_string_value(value);

		if (text != NULL && strchr(name, '/') == NULL && *name != '.' &&
		    idmap_file(map, IDMAP_USER, path, text, strlen(text), 0400, why) == -1)
			return -1;
	}
	return 0;
}

/* Write the container's folder. */
static int
prepare(const struct settings *settings, const struct idmap *map, const struct build_step *step,
    const struct slot *slot, const char *log, struct failure *why)
{
	auto_free char *upper = xasprintf("%s/root", step->making->path);
	auto_free char *all = xasprintf("%s/builds", settings->run);
	auto_free char *script = xasprintf("%s/lxc/build", settings->share);
	auto_free char *init = xasprintf("/usr/sbin/starphleet-init %s", step->what);
	auto_free char *resolver = xasprintf("%s/resolv.conf", settings->root);
	auto_free char *hosts = xasprintf("%s/hosts", slot->place);
	auto_free char *env = xasprintf("%s/env", slot->place);
	auto_free char *path = xasprintf("%s/config", slot->place);
	auto_free char *config = NULL, *text = NULL, *more = variables(), *names = NULL;
	struct lxc_bind binds[6] = {
	    {script, "usr/sbin/starphleet-init", false, false},
	    {resolver, "etc/resolv.conf", false, false},
	    {hosts, "etc/hosts", false, false},
	    {step->buildpack, "opt/starphleet/buildpack", true, false},
	};
	struct lxc_plan plan = {.name = slot->name,
	    .layers = step->layers,
	    .upper = upper,
	    .init = init,
	    .log = log,
	    .binds = binds,
	    .bind_count = 4,
	    .build = true};

	if (dir_make(all, 0711, why) == -1 ||
	    idmap_dir(&(struct idmap){.gid = map->gid}, 0, slot->place, 0710, why) == -1 ||
	    lxc_resolver(settings, why) == -1 ||
	    address_take(settings, slot->name, &plan.address, why) == -1)
		return -1;
	names = lxc_hosts(settings, slot->name, plan.address);
	if (idmap_file(map, 0, hosts, names, strlen(names), 0644, why) == -1)
		return -1;
	if (step->cache != NULL)
		binds[plan.bind_count++] =
		    (struct lxc_bind){step->cache, "opt/starphleet/cache", true, true};
	if (step->env != NULL) {
		if (put_env(map, env, step->env, why) == -1)
			return -1;
		binds[plan.bind_count++] =
		    (struct lxc_bind){env, "opt/starphleet/env", true, false};
	}
	if ((config = lxc_config(settings, map, &plan, why)) == NULL)
		return -1;
	text = xasprintf("%s%s", config, more);
	return idmap_file(&(struct idmap){0}, 0, path, text, strlen(text), 0600, why);
}

static long
limit_s(void)
{
	const char *given = getenv("STARPHLEET_BUILD_TIMEOUT"), *bad = NULL;
	long limit = given == NULL ? 0 : (long)strtonum(given, 1, LIMIT_MAX_S, &bad);

	return given == NULL || bad != NULL ? LIMIT_S : limit;
}

int
build_container_run(const struct settings *settings, const struct idmap *map,
    const struct build_step *step, struct failure *why)
{
	auto_slot struct slot slot = {.lock = -1};
	auto_failure struct failure ignored = {0};
	auto_free char *all = xasprintf("%s/builds", settings->run);
	auto_free char *log = NULL, *reason = NULL, *lock = NULL;
	long limit = limit_s();
	int status = 0, result;

	if (slot_enter(settings, &slot, why) == -1)
		return -1;
	log = xasprintf("%s/lxc.log", slot.place);
	lock = xasprintf("/run/lxc/lock%s/.%s", all, slot.name);
	result = netmap_ensure(settings, why);
	if (result == 0)
		result = prepare(settings, map, step, &slot, log, why);
	if (result == 0)
		result = lxc_run(all, slot.name, log, step->log_fd, limit * 1000, &status, why);
	/* Whatever became of it, and of LXC's monitor: nothing of it runs on. The address stays the
	 * slot's: nothing was published under it. */
	if (cgroup_end(settings, slot.name, &ignored) == -1 && result == 0)
		result = fail(why, EX_TEMPFAIL, "cannot end", slot.name, ignored.message);
	(void)unlink(lock);
	if (result == -1 || status == 0)
		return result;
	reason = status == -1 ? xasprintf("not done within %ld s", limit)
			      : xasprintf(status > 128 ? "ended by signal %d" : "exit status %d",
				    status > 128 ? status - 128 : status);
	return fail(why, EX_CONFIG, "build failed", step->what, reason);
}
