/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BASE_H
#define STARPHLEET_BASE_H

#include "lib/failure.h"
#include "lib/idmap.h"
#include "lib/settings.h"

/*
 * The base layer: a small system of the ship's own distribution, by mmdebstrap from the ship's own
 * apt sources; it is named by the digest of what went into it, so that the same is found again.
 * <layers>/base leads to the one that new containers stand on.
 */

/* Make it, unless it is there, and let <layers>/base lead to it. What it does is told on stderr. */
int base_make(const struct settings *settings, const struct idmap *map, struct failure *why);

/* The digest that <layers>/base leads to; free() it. NULL: *why (69): it has yet to be made. */
char *base_current(const struct settings *settings, struct failure *why);

#endif
