/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ORDERS_REPORT_H
#define STARPHLEET_ORDERS_REPORT_H

#include <jansson.h>

#include "lib/sandbox.h"

/* Where the files of an evaluation lie inside the sandbox, and how people know them. */
struct orders_names {
	const char *headquarters; /* put before paths below the headquarters; "" or ending in `/` */
	const char *etc; /* the ship's own folder of layers */
	const char *orders; /* the orders file, below the headquarters */
	const char *text; /* its content, to find lines in */
};

/* Paths inside; sandbox and prelude know them too. */
#define ORDERS_HEADQUARTERS "/headquarters"
#define ORDERS_SHIP "/ship"
#define ORDERS_PRELUDE "/starphleet"

enum { ORDERS_REPORT_FD = 63, ORDERS_CPU_S = 5, ORDERS_WALL_MS = 9000, ORDERS_PROCESSES = 32 };
enum { ORDERS_MEMORY_MIB = 64, ORDERS_OUTPUT_MIB = 1 };

/*
 * Judge a finished evaluation. The whole result is the word of whoever wrote the files: only
 * what fits the grammar (share/orders/prelude.bash) is taken. Returns a new object: `fields` (env,
 * settings, a field for each command), `problems` (an array of `file:line: text`, empty if all is
 * well), `status` (0, 78, or 75 if another try may go better).
 */
json_t *orders_report_judge(const struct sandbox_result *result, const struct orders_names *names);

/* Add the problem "file:line: text" (line 0: without it) to outcome, once. */
void orders_problem(json_t *outcome, int status, const char *file, long line, const char *text);

#endif
