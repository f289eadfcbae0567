/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_FAILURE_H
#define STARPHLEET_FAILURE_H

#include <sysexits.h>

/*
 * Why something did not work. Starts as {0}; filled once, where the object's name is known; the
 * code is an exit status of sysexits.h: EX_USAGE 64, EX_UNAVAILABLE 69 (a part is missing),
 * EX_SOFTWARE 70 (our bug), EX_TEMPFAIL 75 (try again), EX_CONFIG 78 (somebody must change a file).
 */
struct failure {
	int code;
	char *message; /* "what failed: object: reason", printable UTF-8 without control characters */
};

#define auto_failure __attribute__((cleanup(failure_clear)))

/*
 * Fill *why with "what: object: reason" and return -1. object and reason may be NULL and are then
 * left out; they are copied. Control characters and bytes that are not UTF-8 become \xNN.
 * An earlier content of *why is released.
 */
int fail(struct failure *why, int code, const char *what, const char *object, const char *reason);

/* Release what *why holds; afterwards it is {0} and may be filled again. */
void failure_clear(struct failure *why);

/* Print "tool: message" to standard error and return the code, to leave main with. */
int failure_report(const struct failure *why);

/* A copy of text in which control characters and bytes that are no UTF-8 stand as \xNN; free() it. */
char *failure_printable(const char *text);

/* EX_TEMPFAIL if error (an errno) may pass by itself (disk, memory, descriptors), else EX_CONFIG. */
int failure_code_of_errno(int error);

#endif
