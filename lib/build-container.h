/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BUILD_CONTAINER_H
#define STARPHLEET_BUILD_CONTAINER_H

#include <jansson.h>

#include "lib/failure.h"
#include "lib/idmap.h"
#include "lib/lxc-config.h"
#include "lib/making.h"
#include "lib/settings.h"

/*
 * Build containers: share/lxc/build runs as process 1 on the layers below, and what it changes
 * is the layer in the making. They end with the one who started them, leave nothing, and at most
 * settings.builds of them run at once.
 */
struct build_step {
	const char *what; /* stack or compile: the argument of share/lxc/build */
	const json_t *layers; /* digests below, top first */
	struct making *making; /* its root/ is the writable layer */
	const char *buildpack; /* folder */
	const char *cache; /* folder of the order, or NULL */
	const json_t *env; /* object of strings: a file each in ENV, or NULL */
	int log_fd;
};

/* 0: it ended with status 0. -1: *why. */
int build_container_run(const struct settings *settings, const struct idmap *map,
    const struct build_step *step, struct failure *why);

#endif
