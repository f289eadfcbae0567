/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_COLLECT_H
#define STARPHLEET_COLLECT_H

#include "lib/failure.h"
#include "lib/reap.h"

/*
 * Collecting what nothing refers to. What was asked for within the last hour stays in any case, for
 * a deploy may be on its way to it.
 */

/* Trees of repositories that no order's wanted version and no record of the last pulse names. */
int collect_trees(const struct reap *reap, struct failure *why);

/* Build layers that no container has, but for the newest ten of each order: they make a rollback
 * quick. */
int collect_layers(const struct reap *reap, struct failure *why);

/* Logs of containers that are not there any more, but for those of the newest five of each order.
 */
int collect_logs(const struct reap *reap, struct failure *why);

#endif
