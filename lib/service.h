/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SERVICE_H
#define STARPHLEET_SERVICE_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/git.h"
#include "lib/settings.h"

struct service_sync {
	const struct settings *settings;
	const struct git_limits *limits;
	bool unsettled; /* pass on only what has something to be done about it */
};

/*
 * The step of `hq-sync --services` (lib/filter.h), context is a struct service_sync: fetches what
 * the record's autodeploy names and adds service{url, ref, commit, dir}. On failure state becomes
 * `stale` and service has url and ref only. With unsettled FILTER_DROP answers a settled record,
 * and one whose repository another process is at.
 */
int service_step(json_t *record, void *context, struct failure *why);

#endif
