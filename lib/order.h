/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ORDER_H
#define STARPHLEET_ORDER_H

#include <stdbool.h>

#include "lib/failure.h"

/*
 * Names of orders. A name is the path below the headquarters: parts of letters, digits, `.`, `_`,
 * `-`, none beginning with `.` or `-`, at most 160 bytes in all; the root order is "". Where a name must be one
 * word (container, state folder) `/` is `+` and the root order is `+`.
 */

/* 0, or -1 and *why says by name what is wrong with it (EX_CONFIG). */
int order_check(const char *order, struct failure *why);

/* Order to word: "api/v1" -> "api+v1", "" -> "+"; free() it. The order must be valid. */
char *order_word(const char *order);

/* Word to order, the reverse; free() it. NULL if word is no order's word. */
char *order_of_word(const char *word);

/*
 * <word>-<orders_id 7 hex>-<commit 7 hex>: the container's name; free() it. commit may be NULL:
 * d000000, for a service without a repository. Longer identifiers are cut to 7.
 */
char *order_container(const char *order, const char *orders_id, const char *commit);

/*
 * The order whose container name is: the whole name must match (`svc-two-…` is not svc's). free()
 * it; NULL if the name is none that order_container or a retry (<word>-dYYMMDD-dHHMMSS) makes.
 */
char *order_of_container(const char *name);

#endif
