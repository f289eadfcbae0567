/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_NETMAP_H
#define STARPHLEET_NETMAP_H

#include <stdint.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * The ship's network: bridge, route to the service addresses, and the nftables table that is named
 * like the bridge. Nothing else of the machine's rule set or links is touched. Addresses are in
 * host byte order. Needs CAP_NET_ADMIN; failures of the kernel or of `ip` are EX_UNAVAILABLE.
 */

/*
 * Make what is missing of bridge, address, route, table and sysctls, and replace a table of ours
 * that has another shape (its map keeps its elements). Cheap when all is there. EX_CONFIG if a
 * link of the bridge's name is none of ours: no bridge, or one with other IPv4 addresses.
 */
int netmap_ensure(const struct settings *settings, struct failure *why);

/*
 * Let service lead to container:port from now on, in one transaction; connections that are there
 * stay with the container that they have. Idempotent. container must lie in settings.subnet and
 * service in settings.services.
 */
int netmap_switch(const struct settings *settings, uint32_t service, uint32_t container, int port,
    struct failure *why);

/* Let service lead nowhere: connecting to it is refused. None there is fine. */
int netmap_remove(const struct settings *settings, uint32_t service, struct failure *why);

/* netmap_ensure, then make the map exactly what the serving.json files say, in one transaction. */
int netmap_restore(const struct settings *settings, struct failure *why);

/*
 * Remove every element that names container, then the kernel's connection tracking entries of that
 * address: after this nothing leads there. For the moment before its address is released.
 */
int netmap_forget(const struct settings *settings, uint32_t container, struct failure *why);

/* Remove table, route and bridge. What is not there is fine. */
int netmap_down(const struct settings *settings, struct failure *why);

#endif
