/* SPDX-License-Identifier: MIT */
#include "lib/publish.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/generation.h"
#include "lib/netmap.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/route.h"
#include "lib/state.h"

/*
 * What MUST hold:
 * 1. serving.json is on disk before the map follows it, so a crash in between is healed by
 *    netmap_restore, never undone by it.
 * 2. A container is offered only while it owns the address that its record names: one that was
 *    reaped meanwhile, and whose address may be another order's, is refused.
 * 3. Changes that nginx must learn of are noted as due under its lock, before they are made.
 * 4. An order that asks for a login has no route and no element in the map.
 */
enum { ABOUT_MAX_BYTES = 1024 * 1024 };

char *
publish_location(const char *order)
{
	return *order == '\0' ? xstrdup("/") : xasprintf("/%s/", order);
}

static bool
same_string(const json_t *left, const json_t *right, const char *name)
{
	const char *one = json_string_value(json_object_get(left, name));
	const char *other = json_string_value(json_object_get(right, name));

	return one == NULL || other == NULL ? one == other : strcmp(one, other) == 0;
}

/* True if going from old to new, both serving.json or NULL, changes what nginx must know. */
static bool
routes_differ(const json_t *old, const json_t *new)
{
	bool was = record_flag(old, "published"), is = record_flag(new, "published");
	const json_t *before = json_object_get(old, "settings");
	const json_t *after = json_object_get(new, "settings");

	if (!was || !is)
		return was != is;
	return !same_string(old, new, "service_address") || !same_string(before, after, "CORS") ||
	       !same_string(before, after, "USER_IDENTITY_HEADER") ||
	       !same_string(before, after, "SECURITY_MODE");
}

/* Replace serving.json (new NULL: remove it), noting first that nginx is to learn of it. */
static int
save_serving(const struct settings *settings, const char *order, const json_t *old,
    const json_t *new, bool *routes, struct failure *why)
{
	auto_close int lock = -1;

	if (routes_differ(old, new)) {
		*routes = true;
		if ((lock = generation_lock(settings, why)) == -1 ||
		    generation_due(settings, why) == -1)
			return -1;
	} else if (new != NULL && json_equal(old, new)) {
		return 0;
	}
	if (new == NULL)
		return old == NULL ? 0 : state_remove(settings, order, "serving.json", why);
	return state_save(settings, order, "serving.json", new, why);
}

/* A serving.json that cannot be read is as good as none: it is about to be replaced. */
static json_t *
load_serving(const struct settings *settings, const char *order)
{
	auto_failure struct failure why = {0};
	json_t *serving = state_load(settings, order, "serving.json", &why);

	if (serving == NULL && why.code != 0)
		(void)failure_report(&why);
	return serving;
}

static int
lock_order(const struct settings *settings, const char *order, struct failure *why)
{
	auto_free char *path = state_path(settings, order, "lock");

	return lock_take(path, true, why);
}

/* No element for the order's service address any more. */
static int
unmap(const struct settings *settings, const char *order, struct failure *why)
{
	uint32_t service;
	int found = address_service_find(settings, order, &service, why);

	return found == 0 ? netmap_remove(settings, service, why) : found == -1 ? -1 : 0;
}

/* Take the order's route back; its container stays and, unless the order is gone, goes on. */
static int
close_order(const struct settings *settings, const char *order, bool gone, bool *routes,
    struct failure *why)
{
	auto_free char *folder = state_path(settings, order, NULL);
	auto_json json_t *old = NULL;
	auto_json json_t *new = NULL;
	auto_close int lock = -1;

	if (!path_exists(folder))
		return 0;
	if ((lock = lock_order(settings, order, why)) == -1)
		return -1;
	old = load_serving(settings, order);
	if (!gone && !record_flag(old, "published"))
		return 0;
	if (!gone) {
		new = json_deep_copy(old);
		(void)json_object_set_new(new, "published", json_false());
		(void)json_object_del(new, "service_address");
		(void)json_object_del(new, "location");
	}
	if (save_serving(settings, order, old, new, routes, why) == -1)
		return -1;
	return unmap(settings, order, why);
}

/* The container's own note of whose it is and where; NULL if it is none of this ship's. */
static json_t *
about(const struct settings *settings, const char *container)
{
	auto_free char *path = xasprintf("%s/%s/starphleet.json", settings->lxc_root, container);
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read(path, ABOUT_MAX_BYTES, NULL, &ignored);
	auto_json json_t *object = text == NULL ? NULL : json_loads(text, 0, NULL);
	const char *root = record_string(object, "root", NULL);

	return root != NULL && strcmp(root, settings->root) == 0 ? steal(object) : NULL;
}

/* Write draining/<container>, unless it drains already. */
static int
drain(const struct settings *settings, const char *order, const char *container,
    const json_t *known, long wait_s, struct failure *why)
{
	auto_free char *file = xasprintf("draining/%s", container);
	auto_free char *path = state_path(settings, order, file);
	auto_free char *folder = state_path(settings, order, "draining");
	auto_free char *boot_id = state_boot_id();
	const char *address = record_string(known, "address", NULL);
	auto_json json_t *draining = NULL;

	if (path_exists(path))
		return 0;
	draining = json_pack("{s:s, s:s, s:s, s:I, s:s*}", "container", container, "order", order,
	    "boot_id", boot_id, "deadline_ms", (json_int_t)(state_now_ms() + wait_s * 1000),
	    "address", address);
	if (dir_make(folder, 0700, why) == -1)
		return -1;
	return state_save(settings, order, file, draining, why);
}

/* Every container of the order but this one begins to drain. */
static int
drain_others(const struct settings *settings, const char *order, const char *container, long wait_s,
    struct failure *why)
{
	auto_closedir DIR *dir = opendir(settings->lxc_root);
	struct dirent *entry;

	if (dir == NULL && errno == ENOENT)
		return 0;
	if (dir == NULL)
		return fail(why, failure_code_of_errno(errno), "cannot read", settings->lxc_root,
		    strerror(errno));
	while ((entry = readdir(dir)) != NULL) {
		auto_free char *owner = order_of_container(entry->d_name);
		auto_json json_t *known = NULL;

		if (owner == NULL || strcmp(owner, order) != 0 ||
		    strcmp(entry->d_name, container) == 0 ||
		    (known = about(settings, entry->d_name)) == NULL)
			continue;
		if (drain(settings, order, entry->d_name, known, wait_s, why) == -1)
			return -1;
	}
	return 0;
}

/* What the record says of its container, checked. */
struct offer {
	const char *container, *address_text;
	uint32_t address, service;
	json_int_t port;
};

static int
read_offer(const struct settings *settings, const char *order, const json_t *record,
    struct offer *offer, struct failure *why)
{
	const json_t *container = json_object_get(record, "container");
	auto_free char *owner = NULL;
	uint32_t owned;
	int found;

	*offer = (struct offer){.container = record_string(container, "name", NULL),
	    .address_text = record_string(container, "address", NULL),
	    .port = json_integer_value(json_object_get(container, "port"))};
	if (offer->container == NULL || offer->address_text == NULL)
		return fail(why, EX_CONFIG, "cannot publish", order,
		    "the record has no container: it comes from container-build");
	owner = order_of_container(offer->container);
	if (owner == NULL || strcmp(owner, order) != 0)
		return fail(
		    why, EX_CONFIG, "cannot publish", order, "the container is another order's");
	if (offer->port < 1 || offer->port > 65535)
		return fail(
		    why, EX_CONFIG, "cannot publish", order, "the container's port is none");
	if ((found = address_find(settings, offer->container, &owned, why)) == -1)
		return -1;
	if (found != 0 || address_parse(offer->address_text, &offer->address) == -1 ||
	    offer->address != owned)
		return fail(why, EX_TEMPFAIL, "cannot publish", offer->container,
		    "this container is not there any more");
	return 0;
}

/* The new serving.json. */
static json_t *
serving_of(const char *order, const json_t *record, const struct offer *offer, bool published)
{
	auto_free char *service = published ? address_text(offer->service) : NULL;
	auto_free char *location = published ? publish_location(order) : NULL;

	return json_pack("{s:s, s:s, s:s, s:I, s:s*, s:s*, s:b, s:s*, s:s*, s:O*}", "order", order,
	    "container", offer->container, "address", offer->address_text, "port", offer->port,
	    "commit", record_string(record, "service", "commit", NULL), "orders_id",
	    record_string(record, "orders_id", NULL), "published", published, "service_address",
	    service, "location", location, "settings", json_object_get(record, "settings"));
}

static int
open_order(const struct settings *settings, const char *order, json_t *record, bool *routes,
    struct failure *why)
{
	bool published = !record_flag(record, "unpublished");
	auto_json json_t *old = NULL;
	auto_json json_t *new = NULL;
	auto_free char *draining = NULL;
	auto_close int lock = -1;
	struct offer offer;
	long wait_s;

	if (published && route_check(order, record, why) == -1)
		return -1;
	if (record_setting_number(record, "STARPHLEET_DRAINSTOP_WAIT", 0, 86400, settings->drain_s,
		&wait_s, why) == -1 ||
	    (lock = lock_order(settings, order, why)) == -1 ||
	    read_offer(settings, order, record, &offer, why) == -1 ||
	    (published && address_service(settings, order, &offer.service, why) == -1))
		return -1;
	old = load_serving(settings, order);
	if ((new = serving_of(order, record, &offer, published)) == NULL)
		return fail(
		    why, EX_SOFTWARE, "cannot publish", order, "the record cannot be packed");
	/* A revert during a drain: the reaper must not find it on its list. */
	draining = xasprintf("draining/%s", offer.container);
	if (state_remove(settings, order, draining, why) == -1 ||
	    save_serving(settings, order, old, new, routes, why) == -1)
		return -1;
	if (published
		? netmap_switch(settings, offer.service, offer.address, (int)offer.port, why) == -1
		: unmap(settings, order, why) == -1)
		return -1;
	return drain_others(settings, order, offer.container, wait_s, why);
}

int
publish_record(const struct settings *settings, json_t *record, bool *routes, struct failure *why)
{
	const char *order = record_order(record);
	bool gone = record_flag(record, "gone");
	auto_failure struct failure unsaid = {0};
	int result = 0;

	*routes = false;
	if (order == NULL)
		return record_failed(record)
			   ? 0
			   : fail(why, EX_CONFIG, "the record names no order", NULL, NULL);
	if (order_check(order, why) == -1) {
		if (record_failed(record))
			failure_clear(why); /* it has said so */
		return record_failed(record) ? 0 : -1;
	}
	(void)json_object_del(record, "published");
	if (gone)
		return close_order(settings, order, true, routes, why);
	/* Before all else, and whatever became of the wanted version: what asks for a login is
	 * shut. */
	if (route_protected(record) && !record_flag(record, "unpublished"))
		result = close_order(
		    settings, order, false, routes, record_failed(record) ? &unsaid : why);
	if (record_failed(record)) {
		if (result == -1)
			(void)failure_report(&unsaid);
		return 0;
	}
	if (result == -1 || open_order(settings, order, record, routes, why) == -1) {
		(void)json_object_set_new(record, "state", json_string("publish failed"));
		return -1;
	}
	(void)json_object_set_new(record, "state", json_string("online"));
	if (!record_flag(record, "unpublished")) {
		auto_free char *location = publish_location(order);

		(void)json_object_set_new(
		    record, "published", json_pack("{s:s}", "location", location));
	}
	return 0;
}
