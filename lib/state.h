/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_STATE_H
#define STARPHLEET_STATE_H

#include <jansson.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * The state of orders: files in <root>/current_orders/<word>/, each replaced atomically, mode 0600.
 *   wanted.json           the last record as some verb left it
 *   serving.json          what serves: see state_serving
 *   draining/<container>  {container, boot_id, deadline_ms} of a container that was replaced
 *   lock                  held while a container of the order is made, taken back or destroyed
 *   deploy.lock           held by the deploy job from build to publication
 */

/* <root>/current_orders/<word>[/<file>]; file may be NULL. free() it. */
char *state_path(const struct settings *settings, const char *order, const char *file);

/* The object in that file; the caller owns it. NULL: *why, whose code is 0 if there is no file. */
json_t *state_load(const struct settings *settings, const char *order, const char *file,
    struct failure *why);

/* Save object there, making the order's folder. */
int state_save(const struct settings *settings, const char *order, const char *file,
    const json_t *object, struct failure *why);
int state_remove(const struct settings *settings, const char *order, const char *file,
    struct failure *why);

/*
 * Save record as wanted.json. If it failed, why is put into the copy's error. Failure to save is
 * reported on standard error and otherwise tolerated: the record itself goes on down the pipe.
 */
void state_wanted(const struct settings *settings, const json_t *record, const struct failure *why);

/* Call visit with each order that has a folder of state, until it answers non-zero; that is returned. */
int state_each(const struct settings *settings,
    int (*visit)(const char *order, void *context, struct failure *why), void *context,
    struct failure *why);

/* Milliseconds of CLOCK_BOOTTIME: a clock that no admiral and no NTP server sets. */
long long state_now_ms(void);

/* This boot's id, as the kernel names it; free() it. With it a deadline of another boot is told. */
char *state_boot_id(void);

#endif
