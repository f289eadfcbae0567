/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_FILTER_H
#define STARPHLEET_FILTER_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"

enum filter_verdict { FILTER_FAILED = -1, FILTER_PASS = 0, FILTER_DROP = 1, FILTER_DONE = 2 };

/*
 * The loop that all filters share: records from standard input through step to standard output,
 * one out for each one in. step adds to the record that it is lent and answers FILTER_PASS, or
 * FILTER_FAILED with *why, which becomes the record's error, or FILTER_DROP (only a verb whose
 * manual says so). Records that carry an error already pass untouched, unless sees_errors.
 */
struct filter {
	/*
	 * NULL, or called before step in the main process, whatever jobs is: FILTER_DONE: the record is
	 * ready, step is not needed; FILTER_FAILED; or FILTER_PASS: on to step, which, in its worker,
	 * finds context as it is left here.
	 */
	int (*before)(json_t *record, void *context, struct failure *why);
	int (*step)(json_t *record, void *context, struct failure *why);
	void *context;
	int jobs;	  /* so many records at once, each in a process of its own (crash, leak or hang
			     cost one record); then records leave in the order in which they finish.
			     1: one after the other, in this process */
	long limit_ms;	  /* jobs > 1 or always_fork: a worker is killed with its group after that; 0: never */
	bool always_fork; /* a process for each record even with one job */
	bool sees_errors;
};

/* Run it to the end of the input. 0, or 1 if some record carries an error, or -1 with *why. */
int filter_run(const struct filter *filter, struct failure *why);

#endif
