/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_PUBLISH_H
#define STARPHLEET_PUBLISH_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Let record's order be served by record's container: serving.json, then the map, then the order's
 * other containers begin to drain. `gone` takes it all back but the containers; `unpublished` only
 * records what serves; orders that ask for a login are closed, even where record carries an error.
 * Sets the record's `state`. *routes is set to true if nginx must learn of it (generation_due has
 * noted that). -1: *why; what served goes on serving, unless the orders ask for a login.
 */
int publish_record(
    const struct settings *settings, json_t *record, bool *routes, struct failure *why);

/* The path where order answers: "/echo/", "/" for the root order; free() it. */
char *publish_location(const char *order);

#endif
