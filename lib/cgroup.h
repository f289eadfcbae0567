/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CGROUP_H
#define STARPHLEET_CGROUP_H

#include <stdbool.h>
#include <sys/types.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * The control groups of a ship's containers: starphleet/<bridge>/<name> in every hierarchy, and
 * <name>.monitor beside it for LXC's monitor. Version 1, version 2 and both side by side. What runs
 * is asked here and not of LXC, so that tools which only look need no liblxc.
 */

/* The part of the path that is the same in every hierarchy; free() it. */
char *cgroup_name(const struct settings *settings, const char *name);

/* True if a process is in the group or below. */
bool cgroup_busy(const struct settings *settings, const char *name);

/* Process 1 of the container whose group it is, by the ship's count; 0 if there is none. */
pid_t cgroup_init(const struct settings *settings, const char *name);

/*
 * Kill every process in the group name and its monitor's, then remove both in every hierarchy.
 * 0: none of either is left. Groups that are not there are fine.
 */
int cgroup_end(const struct settings *settings, const char *name, struct failure *why);

/* The same in peace: wait, at most wait_ms, until LXC's monitor has removed both. */
void cgroup_wait(const struct settings *settings, const char *name, long wait_ms);

#endif
