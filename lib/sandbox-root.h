/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SANDBOX_ROOT_H
#define STARPHLEET_SANDBOX_ROOT_H

#include <stddef.h>

#include "lib/sandbox.h"

/*
 * The mounts of a sandbox. These run in forked children, which must neither allocate much nor
 * print: what went wrong is handed up as text and errno.
 */
struct sandbox_trouble {
	int error; /* errno */
	char
	    text[240]; /* what failed, and on what; cut where that is too long, which is harmless */
};

/* Fill *trouble from errno and return -1. */
int sandbox_trouble(struct sandbox_trouble *trouble, const char *what, const char *object);

/*
 * Detached copies of the mounts of all SANDBOX_BIND places, in fds (-1 for other kinds). To be
 * called while the ship's files are in sight.
 */
int sandbox_root_open(
    const struct sandbox_place *places, size_t count, int *fds, struct sandbox_trouble *trouble);

/*
 * In a child of its own: enter new namespaces (mount, network, IPC, host name) and make the root
 * from the base and the places. The child's namespaces are then what sandbox_run enters.
 */
int sandbox_root_make(enum sandbox_base base, const struct sandbox_place *places, size_t count,
    struct sandbox_trouble *trouble);

/*
 * In the child of one run, in a mount namespace of its own: lay the run's places over its top, and
 * this PID namespace's /proc. fds come from sandbox_root_open.
 */
int sandbox_root_enter(
    const struct sandbox_run *run, const int *fds, struct sandbox_trouble *trouble);

#endif
