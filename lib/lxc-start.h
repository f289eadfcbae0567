/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_LXC_START_H
#define STARPHLEET_LXC_START_H

#include <sys/types.h>

#include "lib/failure.h"

/*
 * Starting what <place>/<name>/config describes, by liblxc in a child process: a clean environment,
 * no descriptor of ours, and a crash in there is a failure here.
 */

/* In the background, under a monitor of LXC's own. 0: its process 1 is there. log is its
 * lxc.log.file. */
int lxc_start(const char *place, const char *name, const char *log, struct failure *why);

/*
 * In the foreground: runs until its process 1 ends, with input from /dev/null and both outputs to
 * output_fd, for at most limit_ms. It ends with us. 0: *status is the exit status of process 1, 128
 * + the signal, or -1 if its time was over. -1: it could not be started.
 */
int lxc_run(const char *place, const char *name, const char *log, int output_fd, long limit_ms,
    int *status, struct failure *why);

#endif
