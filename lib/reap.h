/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_REAP_H
#define STARPHLEET_REAP_H

#include <stdbool.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Taking away what is over. Each function goes on after a thing that cannot be taken away, reports
 * it on standard error, and then answers -1 with *why of the last; what is held by a deploy at this
 * moment is passed over in silence, for there is a next time.
 */
struct reap {
	const struct settings *settings;
	bool dry_run; /* only say */
	void (*say)(const char *what, const char *name); /* called before each thing; may be NULL */
};

/*
 * Destroy the containers whose drain is over: past the deadline in draining/<container>, or noted
 * in an earlier boot. One that serves again stays, and so does all where serving.json is
 * unreadable.
 */
int reap_drained(const struct reap *reap, struct failure *why);

/*
 * Purge the orders that nginx-render noted as gone, and containers of this ship without any state:
 * containers, addresses, logs, state.
 */
int reap_gone(const struct reap *reap, struct failure *why);

/*
 * Give back the addresses of containers that are not there any more, and the service addresses of
 * orders that left no state, once no nginx worker can know those.
 */
int reap_addresses(const struct reap *reap, struct failure *why);

#endif
