/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SANDBOX_CONFINE_H
#define STARPHLEET_SANDBOX_CONFINE_H

#include <stddef.h>

#include <linux/filter.h>

#include "lib/sandbox-root.h"

/* A compiled filter of system calls: made once, loaded by each run. */
struct sandbox_filter {
	struct sock_filter *code;
	unsigned short length;
};

/* Compile the filter; free filter->code. -1 with errno. */
int sandbox_filter_make(struct sandbox_filter *filter);

/* The uid and gid of the run that this process waits for: nobody else's at the time. */
unsigned int sandbox_uid(void);

/*
 * In the child of one run, last before exec: limits, uid, capabilities, no new privileges, death
 * with the parent, filter. No way back.
 */
int sandbox_confine(const struct sandbox_run *run, const struct sandbox_filter *filter,
    unsigned int uid, struct sandbox_trouble *trouble);

#endif
