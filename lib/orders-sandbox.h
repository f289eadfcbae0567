/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ORDERS_SANDBOX_H
#define STARPHLEET_ORDERS_SANDBOX_H

#include "lib/orders.h"

/* The part of lib/orders that knows what an evaluation finds around itself. */

/* The ship's policy as shell assignments, which the first layer begins with; free() it. */
char *orders_policy(const struct settings *settings);

/* The sandbox for all orders of a headquarters. NULL: *why. */
struct sandbox *orders_sandbox(const struct orders *orders, struct failure *why);

/* Evaluate job in orders->sandbox; *result as sandbox_run leaves it. */
int orders_sandbox_run(const struct orders *orders, const struct orders_job *job,
    struct sandbox_result *result, struct failure *why);

#endif
