/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CONTAINER_MAKE_H
#define STARPHLEET_CONTAINER_MAKE_H

#include <stdint.h>

#include "lib/container.h"
#include "lib/idmap.h"

/* What a new container shall be. All strings are the caller's. */
struct container_plan {
	const char *name;
	const char *order;
	const char *orders_id;
	const char *commit; /* NULL: a service without a repository */
	const json_t *layers; /* digests, top first */
	uint32_t address;
	int port;
	const json_t *env; /* object of strings: the service's whole environment */
	const char *web; /* text of the executable that is the service; NULL: none */
};

/* Make it, whole or not at all: neither start nor anything half-made. It must not exist. */
int container_create(const struct settings *settings, const struct idmap *map,
    const struct container_plan *plan, struct failure *why);

/* Start it, if it does not run yet; afterwards its process 1 runs. */
int container_start(const struct settings *settings, const char *name, struct failure *why);

#endif
