/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_RUN_H
#define STARPHLEET_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/failure.h"

/*
 * Programs are started by argv, never through a shell, with an empty signal mask, default signal
 * handlers and no descriptor but those named here.
 */
struct run {
	const char *const *argv; /* argv[0] is looked up in PATH */
	const char *const *env;	 /* NAME=value; NULL: a clean environment (PATH, HOME, LANG=C.UTF-8) */
	const char *directory;	 /* NULL: the caller's */
	const char *input;	 /* text for its standard input; NULL: /dev/null */
	int output_fd;		 /* its standard output goes here; 0: to *output or, if none, /dev/null */
	bool merge;		 /* its standard error goes where its standard output goes */
	long limit_ms;		 /* killed with its whole process group after that time; 0: no limit */
	size_t output_limit;	 /* bytes of output kept; 0: 1 MiB; more ends it */
};

/*
 * Run it to its end. 0: it exited with 0. -1: *why is set, its reason the last line of standard
 * error (or "exit status N", "signal N", "no answer within N s": EX_TEMPFAIL). output (may be NULL)
 * receives what it wrote to standard output, NUL-terminated, also on failure; free() it.
 */
int run_program(const struct run *run, char **output, struct failure *why);

/* run_program with argv alone, output thrown away, a limit of 60 s. */
int run_wait(const char *const argv[], struct failure *why);

#endif
