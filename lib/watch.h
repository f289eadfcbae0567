/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_WATCH_H
#define STARPHLEET_WATCH_H

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Watching what serves. Of every serving.json: the kernel tells when its container's process 1
 * ends, and where the order has a HEALTHCHECK it is probed each HEALTHCHECK_PULSE. A container that
 * does not run, or misses more than HEALTHCHECK_RETRY_COUNT times in a row, is reported, then left
 * alone for 10 s, 20 s, … 5 min; an order that stayed well for a while begins with 10 s again. A
 * service that has just begun to be watched, or was reported, has HEALTHCHECK_INIT_DELAY to come up
 * in.
 */
struct watch {
	const struct settings *settings;
	int (*report)(const char *order, const char *reason, void *context, struct failure *why);
	void *context;
};

/* Watch for ever. -1 with *why if it cannot, or report answered -1. */
int watch_run(const struct watch *watch, struct failure *why);

#endif
