/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SANDBOX_H
#define STARPHLEET_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/failure.h"

/*
 * A place to run code that others wrote: orders files, bin/detect of a buildpack. A sandbox is a
 * root file system and namespaces, prepared once; each run in it is a process of its own uid in a
 * PID namespace of its own. What must hold is listed at the top of sandbox.c.
 */
struct sandbox;

enum sandbox_kind {
	SANDBOX_BIND, /* from: a file or directory of the ship, seen read-only with all below it */
	SANDBOX_LINK, /* from: the text of a symbolic link */
	SANDBOX_TEXT, /* from: the content of a file that everybody may read */
};

/* Something to be seen inside; its parent directories are made. */
struct sandbox_place {
	enum sandbox_kind kind;
	const char *from;
	const char *to; /* absolute path inside, without `.` and `..` */
};

enum sandbox_base {
	SANDBOX_BARE, /* shared libraries, /dev/null and its like, nothing else */
	SANDBOX_SYSTEM, /* the programs of the ship too: all of /usr */
};

/*
 * Prepare a sandbox with these places. The caller must be root. NULL: *why is set: EX_UNAVAILABLE
 * if this machine cannot (no root, no namespaces), EX_TEMPFAIL if it cannot now, EX_CONFIG for a
 * place that is not there. Costs about a millisecond; use it for many runs. Free with sandbox_free.
 */
struct sandbox *sandbox_new(
    enum sandbox_base base, const struct sandbox_place *places, size_t count, struct failure *why);
void sandbox_free(struct sandbox *sandbox);

#define auto_sandbox __attribute__((cleanup(sandbox_own)))
static inline void
sandbox_own(struct sandbox **sandbox)
{
	sandbox_free(*sandbox);
}

struct sandbox_run {
	const char *const *argv; /* argv[0]: absolute path inside; no search in PATH */
	const char *const *env; /* NAME=value; the whole environment */
	const char *top; /* NULL, or a directory inside over which a fresh, empty file system
			    is laid for this run: /tmp, or one that some place has made */
	const struct sandbox_place *places; /* for this run, all below top */
	size_t place_count;
	const char *directory; /* working directory inside; NULL: / */
	int report_fd; /* 3 or more: the number of a descriptor for a report; 0: none */
	long cpu_s; /* for each process */
	long wall_ms;
	size_t memory_bytes; /* for each process (address space) and for all of them (PSS); 0: no
				limit */
	unsigned int processes;
	size_t output_bytes; /* for standard output and error together, and for the report */
};

enum sandbox_end {
	SANDBOX_EXITED, /* value: exit status */
	SANDBOX_KILLED, /* value: signal */
	SANDBOX_CPU, /* one of the limits ended it */
	SANDBOX_WALL,
	SANDBOX_MEMORY,
	SANDBOX_OUTPUT,
};

struct sandbox_result {
	enum sandbox_end end;
	int value;
	char *output, *errors, *report; /* NUL-terminated; may hold NUL within: see the lengths */
	size_t output_length, errors_length, report_length;
};

#define auto_sandbox_result __attribute__((cleanup(sandbox_result_clear)))
void sandbox_result_clear(struct sandbox_result *result);

/*
 * Run and wait; afterwards no process of the run is left. 0: *result (which starts as {0}; the
 * caller clears it) says how it ended, whatever that was. -1: it could not be started, *why says
 * what. Killing the caller kills the run.
 */
int sandbox_run(const struct sandbox *sandbox, const struct sandbox_run *run,
    struct sandbox_result *result, struct failure *why);

#endif
