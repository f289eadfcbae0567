/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BUILD_H
#define STARPHLEET_BUILD_H

#include <jansson.h>

#include "lib/failure.h"
#include "lib/idmap.h"
#include "lib/settings.h"

/* A service to be built. All is the caller's. */
struct build {
	const struct settings *settings;
	const struct idmap *map;
	const char *order;
	const char *container; /* its log is <root>/logs/<word>/<container>.build.log */
	const char *tree; /* the service's checked-out tree, which never changes; NULL: none */
	const json_t *env; /* what bin/compile may know of the service's environment */
};

/*
 * The layers that a container of the service stands on (digests, top first) and its command line.
 * Those that exist are used as they are, the others are made: base < stack < build. The caller owns
 * both. -1: *why; and *log is an array of the last lines that the build printed, if it came to
 * that.
 */
int build_layers(
    const struct build *build, json_t **layers, char **web, json_t **log, struct failure *why);

#endif
