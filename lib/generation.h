/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_GENERATION_H
#define STARPHLEET_GENERATION_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Generations of nginx's configuration: <root>/nginx/generations/N/nginx.conf, of which
 * <root>/nginx/current names the one that counts. <root>/nginx/pending says that what serves may
 * have changed since that one was made. Whoever changes or reads the whole holds the lock.
 */

/* Hold the prefix, made if missing: a descriptor that does until closed, or -1. */
int generation_lock(const struct settings *settings, struct failure *why);

/* Note, durably, that a new generation is due; and whether one is. */
int generation_due(const struct settings *settings, struct failure *why);
bool generation_is_due(const struct settings *settings);

enum generation { GENERATION_FAILED = -1, GENERATION_DONE, GENERATION_REFUSED };

/*
 * Make text the current generation, unless it is already: write, `nginx -t`, flip, and with reload
 * tell nginx if it runs; then nothing is due any more and all but the newest three are removed.
 * GENERATION_REFUSED: nginx -t did not like that *line (0: it named none), *why says what.
 * Nothing has changed then.
 */
enum generation generation_make(const struct settings *settings, const char *text, bool reload,
    size_t *line, struct failure *why);

/* Let nginx begin a new log file if the one it has is over 1 MiB; one old one is kept. */
int generation_rotate_log(const struct settings *settings, struct failure *why);

/*
 * True if a worker of nginx lives that began before the last reload: it may know routes of old. Its
 * title does not tell whose it is, so any counts.
 */
bool generation_old_workers(void);

#endif
