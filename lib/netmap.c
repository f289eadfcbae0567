/* SPDX-License-Identifier: MIT */
#include "lib/netmap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/bridge.h"
#include "lib/digest.h"
#include "lib/file.h"
#include "lib/nftables.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/run.h"
#include "lib/state.h"

/*
 * What MUST hold:
 * 1. Commands to nftables hold only the bridge's name, which lib/settings has checked, and numbers
 *    printed from integers.
 * 2. Every change to the map is one transaction, made under the lock: between two of them a service
 *    address leads to one container or, by the table's own rule, is refused.
 * 3. An element leads from settings.services into settings.subnet, nowhere else.
 * 4. A table of our name that does not bear our comment, and a bridge that is not ours, stay as
 *    they are.
 */
static const char mark[] = "starphleet";

/* One writer at a time: to know what to delete, a transaction must have read before. */
static int
lock(const struct settings *settings, struct failure *why)
{
	auto_free char *path = xasprintf("%s/netmap.lock", settings->run);

	return lock_take(path, true, why);
}

static bool
inside(const struct subnet *subnet, uint32_t address)
{
	return (address & ~(UINT32_MAX >> subnet->prefix)) == subnet->network;
}

static char *
subnet_text(const struct subnet *subnet)
{
	auto_free char *network = address_text(subnet->network);

	return xasprintf("%s/%u", network, subnet->prefix);
}

static void
print_element(
    FILE *out, const char *verb, const char *bridge, uint32_t service, uint32_t container, int port)
{
	auto_free char *from = address_text(service);
	auto_free char *to = address_text(container);

	if (port == 0)
		(void)fprintf(out, "%s element ip %s services { %s }\n", verb, bridge, from);
	else
		(void)fprintf(out, "%s element ip %s services { %s : %s . %d }\n", verb, bridge,
		    from, to, port);
}

/* The commands that make the table where there is none. */
static char *
table_commands(const struct settings *settings)
{
	auto_free char *subnet = subnet_text(&settings->subnet);
	auto_free char *services = subnet_text(&settings->services);
	const char *t = settings->bridge;

	return xasprintf(
	    "table ip %s {\n"
	    " comment \"%s\"\n"
	    " map services { type ipv4_addr : ipv4_addr . inet_service; }\n"
	    " chain translate {\n"
	    "  type nat hook output priority -100; policy accept;\n"
	    "  meta l4proto tcp dnat ip addr . port to ip daddr map @services\n"
	    " }\n"
	    /* Behind the translation: without it, what has no element would go out on the bridge,
	       where it hangs or, worse, somebody answers. */
	    " chain output {\n"
	    "  type filter hook output priority 0; policy accept;\n"
	    "  ip daddr %s meta l4proto tcp reject with tcp reset\n"
	    "  ip daddr %s reject\n"
	    " }\n"
	    " chain outward {\n"
	    "  type nat hook postrouting priority 100; policy accept;\n"
	    "  ip saddr %s oifname != \"%s\" masquerade\n"
	    " }\n"
	    /* Containers reach the world, the world not them; no neighbours, no spoofed senders, no
	       cloud metadata. Bridged frames come here only with br_netfilter. */
	    " chain forward {\n"
	    "  type filter hook forward priority 0; policy accept;\n"
	    "  iifname \"%s\" oifname \"%s\" drop\n"
	    "  iifname \"%s\" ip saddr != %s drop\n"
	    "  iifname \"%s\" ip daddr 169.254.0.0/16 drop\n"
	    "  oifname \"%s\" ct state established,related accept\n"
	    "  oifname \"%s\" drop\n"
	    " }\n"
	    " chain input {\n"
	    "  type filter hook input priority 0; policy accept;\n"
	    "  iifname != \"%s\" accept\n"
	    "  ip saddr != %s drop\n"
	    "  ct state established,related accept\n"
	    "  meta l4proto icmp accept\n"
	    "  tcp dport { %d, %d, 53 } accept\n"
	    "  udp dport 53 accept\n"
	    "  reject\n"
	    " }\n"
	    "}\n",
	    t, mark, services, services, subnet, t, t, t, t, subnet, t, t, t, t, subnet,
	    settings->http_port, settings->https_port);
}

/* Frames between two ports of the bridge, where br_netfilter is not loaded. */
static char *
neighbours_commands(const struct settings *settings)
{
	auto_free char *subnet = subnet_text(&settings->subnet);

	return xasprintf("table bridge %s {\n"
			 " comment \"%s\"\n"
			 " chain forward {\n"
			 "  type filter hook forward priority 0; policy accept;\n"
			 "  ip saddr %s ip daddr %s drop\n"
			 " }\n"
			 "}\n",
	    settings->bridge, mark, subnet, subnet);
}

/* 1 with its listing if a table of ours is there, 0 if none of that name, -1 if one of another's.
 */
static int
table_listing(
    const struct settings *settings, const char *family, char **listing, struct failure *why)
{
	auto_free char *command = xasprintf("list table %s %s", family, settings->bridge);
	auto_free char *wanted = xasprintf("comment \"%s\"", mark);

	if (nftables_run(command, listing, why) == -1) {
		auto_json json_t *tables = NULL;

		failure_clear(why);
		/* That nftables answers at all tells "not there" from "not allowed". */
		if ((tables = nftables_list("list tables", why)) == NULL)
			return -1;
		*listing = xstrdup("");
		return 0;
	}
	if (strstr(*listing, wanted) == NULL)
		return fail(why, EX_CONFIG, "not the ship's nftables table", settings->bridge,
		    "it is somebody else's (set STARPHLEET_BRIDGE to another name)");
	return 1;
}

/* What the element for this serving.json is. 0; 1 if it has none. */
static int
element_of(const struct settings *settings, const json_t *serving, uint32_t *service,
    uint32_t *container, int *port)
{
	const char *from = record_string(serving, "service_address", NULL);
	const char *to = record_string(serving, "address", NULL);
	json_int_t number = json_integer_value(json_object_get(serving, "port"));

	if (!record_flag(serving, "published") || from == NULL || to == NULL ||
	    address_parse(from, service) == -1 || address_parse(to, container) == -1 ||
	    !inside(&settings->services, *service) || !inside(&settings->subnet, *container) ||
	    number < 1 || number > 65535)
		return 1;
	*port = (int)number;
	return 0;
}

struct printing {
	const struct settings *settings;
	FILE *out;
};

static int
print_serving(const char *order, void *context, struct failure *why)
{
	const struct printing *printing = context;
	auto_json json_t *serving = state_load(printing->settings, order, "serving.json", why);
	uint32_t service, container;
	int port;

	if (serving == NULL && why->code != 0)
		(void)failure_report(why); /* one torn file must not keep the others dark */
	if (serving != NULL &&
	    element_of(printing->settings, serving, &service, &container, &port) == 0)
		print_element(
		    printing->out, "add", printing->settings->bridge, service, container, port);
	failure_clear(why);
	return 0;
}

/* The commands that fill an empty map with what serves; free() them. */
static char *
serving_commands(const struct settings *settings, struct failure *why)
{
	auto_free char *text = NULL;
	size_t length = 0;
	struct printing printing = {settings, open_memstream(&text, &length)};
	int result;

	if (printing.out == NULL) {
		(void)fail(why, EX_TEMPFAIL, "cannot collect what serves", NULL, strerror(errno));
		return NULL;
	}
	result = state_each(settings, print_serving, &printing, why);
	(void)fclose(printing.out);
	return result == -1 ? NULL : steal(text);
}

/* Replace the table, elements and all, or make it. */
static int
table_make(const struct settings *settings, bool exists, const char *table, struct failure *why)
{
	auto_free char *elements = serving_commands(settings, why);
	auto_free char *commands = NULL;

	if (elements == NULL)
		return -1;
	commands = xasprintf("%s%s\n%s%s", exists ? "delete table ip " : "",
	    exists ? settings->bridge : "", table, elements);
	return nftables_run(commands, NULL, why);
}

/* Isolation of neighbours is a second fence; a kernel without this family does without. */
static void
neighbours_make(const struct settings *settings, const char *table)
{
	auto_failure struct failure ignored = {0};
	auto_free char *listing = NULL;
	auto_free char *commands = NULL;
	int exists = table_listing(settings, "bridge", &listing, &ignored);

	if (exists == -1)
		return;
	commands = xasprintf("%s%s\n%s", exists ? "delete table bridge " : "",
	    exists ? settings->bridge : "", table);
	(void)nftables_run(commands, NULL, &ignored);
}

/* What is there now, and what made it: the same digest later says that nothing has changed. */
static void
shape_of(
    const char *table, const char *listing, const char *neighbours, char hex[static DIGEST_HEX + 1])
{
	struct digest *digest = digest_new();

	digest_add_string(digest, table);
	digest_add_string(digest, listing);
	digest_add_string(digest, neighbours);
	digest_end(digest, hex);
}

static int
ensure(const struct settings *settings, struct failure *why)
{
	auto_free char *path = xasprintf("%s/netmap.shape", settings->run);
	auto_free char *table = table_commands(settings);
	auto_free char *neighbours = neighbours_commands(settings);
	auto_free char *listing = NULL;
	auto_free char *beside = NULL;
	auto_free char *known = NULL;
	auto_failure struct failure ignored = {0};
	char shape[DIGEST_HEX + 1];
	int exists;

	if (bridge_ensure(settings, why) == -1 ||
	    (exists = table_listing(settings, "ip", &listing, why)) == -1)
		return -1;
	(void)table_listing(settings, "bridge", &beside, &ignored);
	known = file_read(path, DIGEST_HEX, NULL, &ignored);
	shape_of(table, listing, beside, shape);
	if (exists && known != NULL && strcmp(known, shape) == 0)
		return 0;
	if (table_make(settings, exists, table, why) == -1)
		return -1;
	neighbours_make(settings, neighbours);
	own_free(&listing);
	own_free(&beside);
	listing = beside = NULL;
	if (table_listing(settings, "ip", &listing, why) == -1)
		return -1;
	(void)table_listing(settings, "bridge", &beside, &ignored);
	shape_of(table, listing, beside, shape);
	if (bridge_tune(&ignored) == -1)
		(void)failure_report(
		    &ignored); /* containers serve all the same, only without the world */
	return file_replace(path, shape, DIGEST_HEX, 0600, why);
}

int
netmap_ensure(const struct settings *settings, struct failure *why)
{
	auto_close int held = lock(settings, why);

	return held == -1 ? -1 : ensure(settings, why);
}

/* The elements of the map: an array of [service, {"concat": [container, port]}]; or NULL. */
static json_t *
elements(const struct settings *settings, struct failure *why)
{
	auto_free char *command = xasprintf("list map ip %s services", settings->bridge);
	auto_json json_t *list = nftables_list(command, why);
	json_t *item;
	size_t index;

	if (list == NULL)
		return NULL;
	json_array_foreach(json_object_get(list, "nftables"), index, item)
	{
		json_t *map = json_object_get(item, "map");
		json_t *found = json_object_get(map, "elem");

		if (map != NULL)
			return found == NULL ? json_array() : json_incref(found);
	}
	(void)fail(why, EX_TEMPFAIL, "nftables shows no map of services", settings->bridge, NULL);
	return NULL;
}

static int
element_parse(const json_t *element, uint32_t *service, uint32_t *container, int *port)
{
	const char *from = json_string_value(json_array_get(element, 0));
	const json_t *to = json_object_get(json_array_get(element, 1), "concat");
	const char *address = json_string_value(json_array_get(to, 0));

	*port = (int)json_integer_value(json_array_get(to, 1));
	return from != NULL && address != NULL && address_parse(from, service) == 0 &&
		       address_parse(address, container) == 0
		   ? 0
		   : -1;
}

/* Where service leads now. 1: *container and *port; 0: nowhere; -1. */
static int
leads_to(const struct settings *settings, uint32_t service, uint32_t *container, int *port,
    struct failure *why)
{
	auto_json json_t *list = elements(settings, why);
	const json_t *element;
	size_t index;

	if (list == NULL)
		return -1;
	json_array_foreach(list, index, element)
	{
		uint32_t from;

		if (element_parse(element, &from, container, port) == 0 && from == service)
			return 1;
	}
	return 0;
}

/* Replace the element of service; port 0: only remove it. */
static int
replace(const struct settings *settings, uint32_t service, uint32_t container, int port,
    struct failure *why)
{
	auto_free char *commands = NULL;
	size_t length = 0;
	FILE *out;
	uint32_t old_container;
	int old_port, found;

	if ((found = leads_to(settings, service, &old_container, &old_port, why)) == -1)
		return -1;
	if (port == 0 ? found == 0 : (found == 1 && old_container == container && old_port == port))
		return 0;
	if ((out = open_memstream(&commands, &length)) == NULL)
		return fail(why, EX_TEMPFAIL, "cannot switch", NULL, strerror(errno));
	if (found == 1)
		print_element(out, "delete", settings->bridge, service, 0, 0);
	if (port != 0)
		print_element(out, "add", settings->bridge, service, container, port);
	(void)fclose(out);
	return nftables_run(commands, NULL, why);
}

int
netmap_switch(const struct settings *settings, uint32_t service, uint32_t container, int port,
    struct failure *why)
{
	auto_close int held = -1;
	auto_free char *from = address_text(service);
	auto_free char *to = address_text(container);

	if (!inside(&settings->services, service))
		return fail(why, EX_SOFTWARE, "not a service address", from, NULL);
	if (!inside(&settings->subnet, container) || container <= address_ship(settings))
		return fail(why, EX_CONFIG, "not an address of a container", to, NULL);
	if (port < 1 || port > 65535)
		return fail(why, EX_CONFIG, "not a port", to, NULL);
	if ((held = lock(settings, why)) == -1)
		return -1;
	if (replace(settings, service, container, port, why) == 0)
		return 0;
	/* Somebody may have flushed the machine's rules: then everybody's map is gone, not only
	 * ours. */
	failure_clear(why);
	return ensure(settings, why) == -1 ? -1 : replace(settings, service, container, port, why);
}

int
netmap_remove(const struct settings *settings, uint32_t service, struct failure *why)
{
	auto_close int held = lock(settings, why);
	auto_free char *listing = NULL;
	int exists;

	if (held == -1 || (exists = table_listing(settings, "ip", &listing, why)) == -1)
		return -1;
	return exists ? replace(settings, service, 0, 0, why) : 0;
}

int
netmap_restore(const struct settings *settings, struct failure *why)
{
	auto_close int held = lock(settings, why);
	auto_free char *fill = NULL;
	auto_free char *commands = NULL;

	if (held == -1 || ensure(settings, why) == -1 ||
	    (fill = serving_commands(settings, why)) == NULL)
		return -1;
	commands = xasprintf("flush map ip %s services\n%s", settings->bridge, fill);
	return nftables_run(commands, NULL, why);
}

/* Remove every element that names container, in one transaction. */
static int
forget_elements(const struct settings *settings, uint32_t container, struct failure *why)
{
	auto_json json_t *list = elements(settings, why);
	auto_free char *commands = NULL;
	size_t length = 0, index;
	FILE *out;
	const json_t *element;

	if (list == NULL)
		return -1;
	if ((out = open_memstream(&commands, &length)) == NULL)
		return fail(why, EX_TEMPFAIL, "cannot switch", NULL, strerror(errno));
	json_array_foreach(list, index, element)
	{
		uint32_t service, to;
		int port;

		if (element_parse(element, &service, &to, &port) == 0 && to == container)
			print_element(out, "delete", settings->bridge, service, 0, 0);
	}
	(void)fclose(out);
	return *commands == '\0' ? 0 : nftables_run(commands, NULL, why);
}

/* conntrack(8) exits with 1 when there was nothing to delete, and says so. */
static int
forget_connections(const char *direction, const char *address, struct failure *why)
{
	const char *const argv[] = {"conntrack", "-D", "-f", "ipv4", direction, address, NULL};

	if (run_wait(argv, why) == -1) {
		if (why->message == NULL || strstr(why->message, " 0 flow entries") == NULL)
			return -1;
		failure_clear(why);
	}
	return 0;
}

int
netmap_forget(const struct settings *settings, uint32_t container, struct failure *why)
{
	auto_close int held = lock(settings, why);
	auto_free char *address = address_text(container);
	auto_free char *listing = NULL;
	int exists;

	if (held == -1 || (exists = table_listing(settings, "ip", &listing, why)) == -1)
		return -1;
	if (exists && forget_elements(settings, container, why) == -1)
		return -1;
	/* What nginx sent there is known by its answers' source, the container's own by its origin.
	 */
	if (forget_connections("--reply-src", address, why) == -1 ||
	    forget_connections("--orig-src", address, why) == -1)
		return -1;
	return 0;
}

static int
table_remove(const struct settings *settings, const char *family, struct failure *why)
{
	auto_free char *listing = NULL;
	auto_free char *command = xasprintf("delete table %s %s", family, settings->bridge);
	int exists = table_listing(settings, family, &listing, why);

	return exists == 1 ? nftables_run(command, NULL, why) : exists;
}

int
netmap_down(const struct settings *settings, struct failure *why)
{
	auto_close int held = lock(settings, why);
	auto_free char *path = xasprintf("%s/netmap.shape", settings->run);

	if (held == -1 || table_remove(settings, "ip", why) == -1 ||
	    table_remove(settings, "bridge", why) == -1 || bridge_down(settings, why) == -1)
		return -1;
	return file_remove(path, why);
}
