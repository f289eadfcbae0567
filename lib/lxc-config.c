/* SPDX-License-Identifier: MIT */
#include "lib/lxc-config.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/cgroup.h"
#include "lib/file.h"
#include "lib/layer.h"
#include "lib/own.h"

enum { TEXT_MAX = 1024 * 1024, HOSTNAME_MAX = 63 };

char *
lxc_hostname(const char *name)
{
	char *hostname = xstrndup(name, HOSTNAME_MAX), *end = hostname + strlen(hostname);

	for (char *next = hostname; *next != '\0'; next++)
		if (!isalnum((unsigned char)*next))
			*next = next == hostname ? 'r' : '-'; /* the root order's name is `+` */
	while (end > hostname && end[-1] == '-')
		*--end = '\0';
	return hostname;
}

char *
lxc_hosts(const struct settings *settings, const char *name, uint32_t address)
{
	auto_free char *ship = address_text(address_ship(settings));
	auto_free char *own = address_text(address);
	auto_free char *hostname = lxc_hostname(name);

	return xasprintf("127.0.0.1\tlocalhost\n%s\t%s\n%s\tlocalship\n", own, hostname, ship);
}

/* Where AppArmor is on and LXC's usual profile is loaded, it applies. */
static const char *
apparmor_profile(void)
{
	auto_failure struct failure ignored = {0};
	auto_free char *enabled =
	    file_read("/sys/module/apparmor/parameters/enabled", TEXT_MAX, NULL, &ignored);
	auto_free char *profiles = NULL;

	if (enabled == NULL || enabled[0] != 'Y')
		return "unconfined";
	profiles = file_read("/sys/kernel/security/apparmor/profiles", TEXT_MAX, NULL, &ignored);
	return profiles != NULL && strstr(profiles, "lxc-container-default-cgns ") != NULL
		   ? "lxc-container-default-cgns"
		   : "unconfined";
}

static void
put_rootfs(FILE *out, const struct settings *settings, const struct lxc_plan *plan)
{
	const json_t *digest;
	size_t index;

	(void)fprintf(out, "lxc.rootfs.path = overlay");
	json_array_foreach(plan->layers, index, digest)
	{
		auto_free char *path = layer_path(settings, json_string_value(digest));

		(void)fprintf(out, ":%s/root", path);
	}
	/* LXC mounts as the container's root, who may write no trusted.* attributes: without
	 * userxattr no folder of a layer below could be removed or replaced. */
	(void)fprintf(out, ":%s\nlxc.rootfs.options = userxattr%s\n", plan->upper,
	    plan->build ? ",volatile" : "");
}

static void
put_network(FILE *out, const struct settings *settings, uint32_t address)
{
	auto_free char *own = address_text(address);
	auto_free char *ship = address_text(address_ship(settings));

	/* The MAC follows from the address: neighbours that remember it stay right. */
	(void)fprintf(out,
	    "lxc.net.0.type = veth\n"
	    "lxc.net.0.link = %s\n"
	    "lxc.net.0.flags = up\n"
	    "lxc.net.0.name = eth0\n"
	    "lxc.net.0.hwaddr = 02:50:%02x:%02x:%02x:%02x\n"
	    "lxc.net.0.ipv4.address = %s/%u\n"
	    "lxc.net.0.ipv4.gateway = %s\n",
	    settings->bridge, address >> 24, address >> 16 & 255, address >> 8 & 255, address & 255,
	    own, settings->subnet.prefix, ship);
}

char *
lxc_config(const struct settings *settings, const struct idmap *map, const struct lxc_plan *plan,
    struct failure *why)
{
	auto_free char *path = xasprintf("%s/lxc/container.conf", settings->share);
	auto_free char *common = file_read(path, TEXT_MAX, NULL, why);
	auto_free char *group = cgroup_name(settings, plan->name);
	auto_free char *all = cgroup_name(settings, "pivot");
	auto_free char *hostname = lxc_hostname(plan->name);
	char *text = NULL;
	size_t length;
	FILE *out;

	if (common == NULL) {
		if (why->code == 0)
			(void)fail(why, EX_UNAVAILABLE, "cannot read", path, "no such file");
		return NULL;
	}
	if ((out = open_memstream(&text, &length)) == NULL) {
		(void)fail(why, EX_TEMPFAIL, "no memory", NULL, NULL);
		return NULL;
	}
	(void)fprintf(out, "%slxc.uts.name = %s\nlxc.log.file = %s\n", common, hostname, plan->log);
	put_rootfs(out, settings, plan);
	(void)fprintf(out, "lxc.idmap = u 0 %u %d\nlxc.idmap = g 0 %u %d\n", map->uid, IDMAP_COUNT,
	    map->gid, IDMAP_COUNT);
	put_network(out, settings, plan->address);
	(void)fprintf(out,
	    "lxc.cgroup.dir.container = %s\n"
	    "lxc.cgroup.dir.monitor = %s.monitor\n"
	    "lxc.cgroup.dir.monitor.pivot = %s\n"
	    "lxc.apparmor.profile = %s\n"
	    "lxc.init.cmd = %s\n",
	    group, group, all, apparmor_profile(), plan->init);
	/* Of a bind's options LXC applies only `ro`; set-uid programs and devices mean nothing
	 * behind no_new_privs and in a user namespace anyway. */
	for (size_t i = 0; i < plan->bind_count; i++)
		(void)fprintf(out, "lxc.mount.entry = %s %s none bind%s,create=%s 0 0\n",
		    plan->binds[i].from, plan->binds[i].to, plan->binds[i].writable ? "" : ",ro",
		    plan->binds[i].folder ? "dir" : "file");
	if (fclose(out) != 0) {
		free(text);
		(void)fail(why, EX_TEMPFAIL, "no memory", NULL, NULL);
		return NULL;
	}
	return text;
}

/* The lines of a resolv.conf that a container can use; free() it. NULL: it names no server for it.
 */
static char *
usable_resolver(const char *path)
{
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read(path, TEXT_MAX, NULL, &ignored);
	char *rest = text, *line, *result = NULL;
	bool usable = false;
	size_t length;
	FILE *out = text == NULL ? NULL : open_memstream(&result, &length);

	while (out != NULL && (line = strsep(&rest, "\n")) != NULL) {
		char server[64];

		if (sscanf(line, "nameserver %63s", server) == 1) {
			if (strncmp(server, "127.", 4) == 0 || strcmp(server, "::1") == 0)
				continue;
			usable = true;
		}
		if (line[0] != '\0' && line[0] != '#' && line[0] != ';')
			(void)fprintf(out, "%s\n", line);
	}
	if (out != NULL)
		(void)fclose(out);
	if (!usable) {
		free(result);
		return NULL;
	}
	return result;
}

int
lxc_resolver(const struct settings *settings, struct failure *why)
{
	static const char *const places[] = {"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf",
	    "/run/NetworkManager/no-stub-resolv.conf",
	    "/run/resolvconf/interface/original.resolvconf"};
	auto_free char *path = xasprintf("%s/resolv.conf", settings->root);
	auto_free char *text = NULL, *old = NULL;

	for (size_t i = 0; text == NULL && i < sizeof places / sizeof *places; i++)
		text = usable_resolver(places[i]);
	if (text == NULL) {
		/* A resolver on loopback of which nothing is known: perhaps it listens on the
		 * bridge. */
		auto_free char *ship = address_text(address_ship(settings));

		text = xasprintf("nameserver %s\n", ship);
	}
	old = file_read(path, TEXT_MAX, NULL, why);
	if (old == NULL && why->code != 0)
		return -1;
	if (old != NULL && strcmp(old, text) == 0)
		return 0;
	return file_replace(path, text, strlen(text), 0644, why);
}
