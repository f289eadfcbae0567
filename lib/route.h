/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ROUTE_H
#define STARPHLEET_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/settings.h"

/* What nginx must know of an order: all of it checked, none of it as it came. */
struct route {
	char *order;
	uint32_t service; /* the service address */
	bool cors; /* open to other sites' scripts */
	char *
	    identity; /* the header that names the user: a client's own is removed; NULL: default */
};

struct routes {
	struct route *list; /* by name */
	size_t count;
};

#define auto_routes __attribute__((cleanup(routes_clear)))

/*
 * Check what the orders say about publication: the order's name (the reserved ones are refused),
 * the settings SECURITY_MODE, CORS and USER_IDENTITY_HEADER. object is a record, or a serving.json:
 * both hold `settings`. 0, or -1 and *why (EX_CONFIG) names the order, the setting and what to do.
 */
int route_check(const char *order, const json_t *object, struct failure *why);

/* True if the settings of object were evaluated and ask for a login (any SECURITY_MODE but public).
 */
bool route_protected(const json_t *object);

/* Fill *routes from all serving.json files; one that is not as it should be is reported on standard
   error and left out. Release with routes_clear. */
int routes_load(const struct settings *settings, struct routes *routes, struct failure *why);
void routes_clear(struct routes *routes);

/* Take the route of order out of *routes. */
void routes_drop(struct routes *routes, const char *order);

#endif
