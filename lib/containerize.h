/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CONTAINERIZE_H
#define STARPHLEET_CONTAINERIZE_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * The step of container-build (lib/filter.h), context is the struct settings: the container of the
 * record's version exists and runs, built if need be and taken back if it was draining. Adds
 * container{name, address, port, layers} and state; what fails becomes the record's error, with the
 * last lines of a build's log as error.log. Either way the record is saved as wanted.json.
 */
int containerize_step(json_t *record, void *context, struct failure *why);

/*
 * Start the container that serves order, as serving.json names it, from disk; with restart, stop it
 * first. One that is damaged or gone is made anew from the layers, if wanted.json is of the same
 * version. 0: it runs, or the order serves nothing. -1: *why.
 */
int containerize_serving(
    const struct settings *settings, const char *order, bool restart, struct failure *why);

#endif
