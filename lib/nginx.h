/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_NGINX_H
#define STARPHLEET_NGINX_H

#include <stddef.h>

#include "lib/failure.h"
#include "lib/route.h"
#include "lib/settings.h"

/*
 * The whole configuration of the ship's nginx for these routes, from checked values and the files
 * in <share>/nginx; free() it. The same routes give the same text. NULL: *why.
 */
char *nginx_text(const struct settings *settings, const struct routes *routes, struct failure *why);

/* The order whose lines hold that line (from 1) of a text of nginx_text; free() it. NULL: none. */
char *nginx_order_at(const char *text, size_t line);

#endif
