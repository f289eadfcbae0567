/* SPDX-License-Identifier: MIT */
#include "lib/route.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "lib/address.h"
#include "lib/alloc.h"
#include "lib/order.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/state.h"

static const char default_identity[] = "x-identity";

/* Headers that carry the request itself, or that nginx sets: none of them can name a user. */
static const char *const taken_headers[] = {"accept-encoding", "authorization", "connection",
    "content-length", "content-type", "cookie", "expect", "host", "keep-alive", "origin", "proxy",
    "te", "trailer", "transfer-encoding", "upgrade", "x-real-ip", NULL};
static const char *const taken_prefixes[] = {
    "x-forwarded-", "x-starphleet-", "sec-websocket-", NULL};

static int
check_name(const char *order, struct failure *why)
{
	if (order_check(order, why) == -1)
		return -1;
	if (strcasecmp(order, "starphleet") == 0 || strncasecmp(order, "starphleet/", 11) == 0)
		return fail(why, EX_CONFIG, "cannot publish", order,
		    "`starphleet` is the ship's own path: rename the directory");
	return 0;
}

static int
check_identity(const char *order, const char *header, struct failure *why)
{
	size_t length = strlen(header);
	bool taken =
	    length == 0 || length > 64 || !isalpha((unsigned char)header[0]) ||
	    strspn(header, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") !=
		length;

	for (size_t i = 0; !taken && taken_headers[i] != NULL; i++)
		taken = strcasecmp(header, taken_headers[i]) == 0;
	for (size_t i = 0; !taken && taken_prefixes[i] != NULL; i++)
		taken = strncasecmp(header, taken_prefixes[i], strlen(taken_prefixes[i])) == 0;
	if (!taken)
		return 0;
	return fail(why, EX_CONFIG, "cannot publish", order,
	    "USER_IDENTITY_HEADER is no header name that a user's name may travel in: use letters, "
	    "digits and `-`, as in x-identity");
}

bool
route_protected(const json_t *object)
{
	const json_t *settings = json_object_get(object, "settings");

	return json_object_size(settings) > 0 &&
	       strcmp(record_setting(object, "SECURITY_MODE", "htpasswd"), "public") != 0;
}

int
route_check(const char *order, const json_t *object, struct failure *why)
{
	const char *mode = record_setting(object, "SECURITY_MODE", "htpasswd");

	if (check_name(order, why) == -1 ||
	    check_identity(
		order, record_setting(object, "USER_IDENTITY_HEADER", default_identity), why) == -1)
		return -1;
	/* Never open by omission: only the word itself opens a service. */
	if (strcmp(mode, "public") != 0) {
		auto_free char *reason = xasprintf("SECURITY_MODE is %s, and logins are not there "
						   "yet: set SECURITY_MODE=public in its orders "
						   "(or in .starphleet) if everybody may see it",
		    mode);

		return fail(why, EX_CONFIG, "cannot publish", order, reason);
	}
	return 0;
}

/* 0: *route is filled; 1: it has none. */
static int
route_read(const struct settings *settings, const char *order, const json_t *serving,
    struct route *route, struct failure *why)
{
	const char *service = record_string(serving, "service_address", NULL);
	const char *identity = record_setting(serving, "USER_IDENTITY_HEADER", default_identity);
	uint32_t mask = ~(UINT32_MAX >> settings->services.prefix);
	uint32_t address;

	if (!record_flag(serving, "published"))
		return 1;
	if (route_check(order, serving, why) == -1)
		return -1;
	if (service == NULL || address_parse(service, &address) == -1 ||
	    (address & mask) != settings->services.network)
		return fail(why, EX_CONFIG, "cannot publish", order,
		    "serving.json has no address of STARPHLEET_SERVICES");
	*route = (struct route){.order = xstrdup(order),
	    .service = address,
	    .cors = strcmp(record_setting(serving, "CORS", "on"), "off") != 0,
	    .identity = strcasecmp(identity, default_identity) == 0 ? NULL : xstrdup(identity)};
	return 0;
}

struct loading {
	const struct settings *settings;
	struct routes *routes;
	size_t room;
};

static int
load_one(const char *order, void *context, struct failure *why)
{
	struct loading *loading = context;
	struct routes *routes = loading->routes;
	auto_json json_t *serving = state_load(loading->settings, order, "serving.json", why);

	if (routes->count == loading->room) {
		loading->room = loading->room == 0 ? 64 : loading->room * 2;
		routes->list = xreallocarray(routes->list, loading->room, sizeof *routes->list);
	}
	if (serving == NULL) {
		if (why->code != 0)
			(void)failure_report(why);
		failure_clear(why);
		return 0;
	}
	switch (route_read(loading->settings, order, serving, &routes->list[routes->count], why)) {
	case 0:
		routes->count++;
		break;
	case -1:
		(void)failure_report(why); /* one bad file must not block the others */
		failure_clear(why);
		break;
	default:
		break;
	}
	return 0;
}

static int
by_name(const void *left, const void *right)
{
	return strcmp(((const struct route *)left)->order, ((const struct route *)right)->order);
}

int
routes_load(const struct settings *settings, struct routes *routes, struct failure *why)
{
	struct loading loading = {.settings = settings, .routes = routes};

	*routes = (struct routes){0};
	if (state_each(settings, load_one, &loading, why) == -1)
		return -1;
	/* The same routes make the same text, whatever order the file system gives them in. */
	if (routes->count > 0)
		qsort(routes->list, routes->count, sizeof *routes->list, by_name);
	return 0;
}

static void
route_clear(struct route *route)
{
	own_free(&route->order);
	own_free(&route->identity);
}

void
routes_clear(struct routes *routes)
{
	for (size_t i = 0; i < routes->count; i++)
		route_clear(&routes->list[i]);
	own_free(&routes->list);
	*routes = (struct routes){0};
}

void
routes_drop(struct routes *routes, const char *order)
{
	for (size_t i = 0; i < routes->count; i++) {
		if (strcmp(routes->list[i].order, order) != 0)
			continue;
		route_clear(&routes->list[i]);
		routes->count--;
		memmove(&routes->list[i], &routes->list[i + 1],
		    (routes->count - i) * sizeof *routes->list);
		return;
	}
}
