/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_HEADQUARTERS_H
#define STARPHLEET_HEADQUARTERS_H

#include <jansson.h>

#include "lib/failure.h"

/*
 * The orders in a headquarters' tree: an array of records, in the order of their names, the caller
 * owns it. Each directory with a file `orders` gives one: {order, dir}, or {order, error} if its
 * name is none for an order (then shown printable), reserved, twice there but for upper and lower
 * case, or a symbolic link is in the way. Directories whose names begin with a dot, and those at
 * the top that hold something else (ssl, overlay, …), are not looked into.
 * NULL: *why, if any of it cannot be read: then nothing is known about what is ordered.
 */
json_t *headquarters_orders(const char *tree, struct failure *why);

#endif
