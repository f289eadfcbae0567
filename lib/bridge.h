/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BRIDGE_H
#define STARPHLEET_BRIDGE_H

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * The ship's bridge: a link named settings.bridge with the first address of settings.subnet and the
 * route to settings.services. Use it through lib/netmap, which holds the lock.
 */

/*
 * Make what is missing. EX_CONFIG if a link of that name is not ours: no bridge, or with other IPv4
 * addresses. EX_TEMPFAIL with `ip`'s own words otherwise.
 */
int bridge_ensure(const struct settings *settings, struct failure *why);

/* Remove it, and with it the route. Not there is fine; one that is not ours stays (EX_CONFIG). */
int bridge_down(const struct settings *settings, struct failure *why);

/*
 * Set the kernel's limits that a busy proxy meets, each only where it is lower than needed:
 * forwarding, connection tracking entries and how long they linger, ports. Some machines let us
 * write none of them (a read-only /proc/sys): only forwarding is missed, and named.
 */
int bridge_tune(struct failure *why);

#endif
