/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_LXC_CONFIG_H
#define STARPHLEET_LXC_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/idmap.h"
#include "lib/settings.h"

/* A file or folder of the ship that a container sees. */
struct lxc_bind {
	const char *from;
	const char *to; /* without a leading slash */
	bool folder;
	bool writable;
};

/* What LXC is to be told of one container. All strings are the caller's. */
struct lxc_plan {
	const char *name;
	const json_t *layers; /* digests, top first */
	const char *upper; /* the writable layer; a folder `work` must stand beside it */
	uint32_t address;
	const char *init; /* command line of process 1; no word of it holds a blank */
	const char *log;
	const struct lxc_bind *binds;
	size_t bind_count;
	bool build; /* the upper layer is thrown away if the machine fails: no sync of its files */
};

/* The text of its config; free() it. NULL: *why, if share/lxc/container.conf cannot be read. */
char *lxc_config(const struct settings *settings, const struct idmap *map,
    const struct lxc_plan *plan, struct failure *why);

/* A host name that is like the container's name: letters, digits and `-`, at most 63; free() it. */
char *lxc_hostname(const char *name);

/* Text of /etc/hosts: itself, and the ship as localship; free() it. */
char *lxc_hosts(const struct settings *settings, const char *name, uint32_t address);

/*
 * <root>/resolv.conf, which every container sees as its own, says what the ship's does now; where
 * the ship asks a resolver of its own on loopback, the servers which that asks. -1: *why.
 */
int lxc_resolver(const struct settings *settings, struct failure *why);

#endif
