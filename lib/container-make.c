/* SPDX-License-Identifier: MIT */
#include "lib/container-make.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/file.h"
#include "lib/lxc-config.h"
#include "lib/lxc-start.h"
#include "lib/making.h"
#include "lib/order.h"
#include "lib/own.h"

/* NAME=value of each member, NUL behind each; free() it. */
static char *
env_text(const json_t *env, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);
	const char *name;
	json_t *value;

	json_object_foreach((json_t *)env, name, value)
	{
		if (json_is_string(value))
			(void)fprintf(out, "%s=%s%c", name, json_string_value(value), '\0');
	}
	(void)fclose(out);
	return text;
}

/* A file of the delta; its folder is there. */
static int
put(const struct idmap *map, const char *delta, const char *name, const char *text, size_t length,
    mode_t mode, struct failure *why)
{
	auto_free char *path = xasprintf("%s/%s", delta, name);

	return idmap_file(map, 0, path, text, length, mode, why);
}

static int
put_dir(const struct idmap *map, const char *place, const char *name, uid_t id, mode_t mode,
    struct failure *why)
{
	auto_free char *path = xasprintf("%s/%s", place, name);

	return idmap_dir(map, id, path, mode, why);
}

/* What is this container's own: names, environment, the command. */
static int
fill_delta(const struct settings *settings, const struct idmap *map,
    const struct container_plan *plan, const char *delta, struct failure *why)
{
	auto_free char *hosts = lxc_hosts(settings, plan->name, plan->address);
	auto_free char *hostname = lxc_hostname(plan->name);
	size_t length;
	auto_free char *env = env_text(plan->env, &length);

	if (put_dir(map, delta, "etc", 0, 0755, why) == -1 ||
	    put(map, delta, "etc/hosts", hosts, strlen(hosts), 0644, why) == -1 ||
	    put(map, delta, "etc/hostname", hostname, strlen(hostname), 0644, why) == -1 ||
	    put_dir(map, delta, "etc/starphleet", 0, 0755, why) == -1 ||
	    put(map, delta, "etc/starphleet/env", env, length, 0600, why) == -1)
		return -1;
	if (plan->web != NULL &&
	    put(map, delta, "etc/starphleet/web", plan->web, strlen(plan->web), 0755, why) == -1)
		return -1;
	/* Without a repository nothing else makes the service's folder. */
	if (plan->commit == NULL &&
	    (put_dir(map, delta, "home", 0, 0755, why) == -1 ||
		put_dir(map, delta, "home/ubuntu", IDMAP_USER, 0755, why) == -1 ||
		put_dir(map, delta, "home/ubuntu/app", IDMAP_USER, 0755, why) == -1))
		return -1;
	return 0;
}

static char *
config_of(const struct settings *settings, const struct idmap *map,
    const struct container_plan *plan, struct failure *why)
{
	auto_free char *place = xasprintf("%s/%s", settings->lxc_root, plan->name);
	auto_free char *upper = xasprintf("%s/delta", place);
	auto_free char *log = xasprintf("%s/lxc.log", place);
	auto_free char *word = order_word(plan->order);
	auto_free char *logs = xasprintf("%s/logs/%s", settings->root, word);
	auto_free char *resolver = xasprintf("%s/resolv.conf", settings->root);
	auto_free char *program = xasprintf("%s/starphleet-init", settings->libexec);
	auto_free char *init =
	    xasprintf("/usr/sbin/starphleet-init --log /var/log/starphleet/%s.log", plan->name);
	const struct lxc_bind binds[] = {
	    {program, "usr/sbin/starphleet-init", false, false},
	    {resolver, "etc/resolv.conf", false, false},
	    {logs, "var/log/starphleet", true, true},
	    {settings->shared_data, "var/data", true, true},
	};
	const struct lxc_plan lxc = {
	    .name = plan->name,
	    .layers = plan->layers,
	    .upper = upper,
	    .address = plan->address,
	    .init = init,
	    .log = log,
	    .binds = binds,
	    .bind_count = sizeof binds / sizeof *binds,
	};

	return lxc_config(settings, map, &lxc, why);
}

/* starphleet.json; free() it. */
static char *
about_of(const struct settings *settings, const struct container_plan *plan)
{
	auto_free char *address = address_text(plan->address);
	auto_json json_t *about = json_pack("{s:s, s:s, s:O, s:s, s:i, s:s, s:s?}", "root",
	    settings->root, "order", plan->order, "layers", plan->layers, "address", address,
	    "port", plan->port, "orders_id", plan->orders_id, "commit", plan->commit);

	return json_dumps(about, JSON_INDENT(2) | JSON_SORT_KEYS);
}

/* A file of the container's folder, the ship's own. */
static int
put_plain(const char *place, const char *name, const char *text, mode_t mode, struct failure *why)
{
	static const struct idmap ship = {0};
	auto_free char *path = xasprintf("%s/%s", place, name);

	return idmap_file(&ship, 0, path, text, strlen(text), mode, why);
}

int
container_create(const struct settings *settings, const struct idmap *map,
    const struct container_plan *plan, struct failure *why)
{
	auto_making struct making making = {.lock = -1};
	auto_free char *place = xasprintf("%s/%s", settings->lxc_root, plan->name);
	auto_free char *config = config_of(settings, map, plan, why);
	auto_free char *about = about_of(settings, plan);
	auto_free char *delta = NULL;

	if (config == NULL || making_begin(settings->lxc_root, &making, why) == -1)
		return -1;
	/* What lies below is the container's; local users have no way in, its root just through. */
	if (fchown(making.lock, 0, map->gid) == -1 || fchmod(making.lock, 0710) == -1)
		return fail(
		    why, failure_code_of_errno(errno), "cannot make", making.path, strerror(errno));
	delta = xasprintf("%s/delta", making.path);
	if (put_dir(map, making.path, "delta", 0, 0755, why) == -1 ||
	    put_dir(map, making.path, "work", 0, 0700, why) == -1 ||
	    fill_delta(settings, map, plan, delta, why) == -1 ||
	    put_plain(making.path, "config", config, 0644, why) == -1 ||
	    put_plain(making.path, "starphleet.json", about, 0644, why) == -1)
		return -1;
	switch (making_finish(&making, place, why)) {
	case 0:
		return 0;
	case 1:
		return fail(
		    why, EX_CONFIG, "cannot make container", plan->name, "it is there already");
	default:
		return -1;
	}
}

/* The places that its config binds, which may be younger or older than itself. */
static int
prepare(const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *order = order_of_container(name);
	auto_free char *word = order == NULL ? NULL : order_word(order);
	auto_free char *all = xasprintf("%s/logs", settings->root);
	auto_free char *logs = word == NULL ? NULL : xasprintf("%s/%s", all, word);
	struct idmap map;

	if (idmap_load(&map, why) == -1 || lxc_resolver(settings, why) == -1)
		return -1;
	if (!path_exists(settings->shared_data) &&
	    (dir_make(settings->shared_data, 0755, why) == -1 ||
		idmap_dir(&map, IDMAP_USER, settings->shared_data, 0775, why) == -1))
		return -1;
	if (logs != NULL && !path_exists(logs) &&
	    (dir_make(all, 0711, why) == -1 || idmap_dir(&map, 0, logs, 0750, why) == -1))
		return -1;
	return 0;
}

int
container_start(const struct settings *settings, const char *name, struct failure *why)
{
	auto_free char *log = xasprintf("%s/%s/lxc.log", settings->lxc_root, name);
	auto_json json_t *about = container_about(settings, name, why);

	if (about == NULL)
		return why->code == 0
			   ? fail(why, EX_CONFIG, "cannot start", name, "no such container")
			   : -1;
	if (container_running(settings, name))
		return 0;
	if (prepare(settings, name, why) == -1)
		return -1;
	/* A monitor that was killed leaves its groups, and LXC would choose other names. */
	if (cgroup_end(settings, name, why) == -1)
		return -1;
	return lxc_start(settings->lxc_root, name, log, why);
}
