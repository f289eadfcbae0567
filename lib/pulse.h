/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_PULSE_H
#define STARPHLEET_PULSE_H

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Write {"pulse":N} and a newline to standard output: at once, then every settings->pulse_s seconds
 * and whenever <run>/pulse is touched, until the reader is gone (0). While a line lies unread in
 * the pipe no other is written: a reader that takes long finds one pulse waiting for it, not ten.
 */
int pulse_follow(const struct settings *settings, struct failure *why);

#endif
