/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_HEALTH_H
#define STARPHLEET_HEALTH_H

#include <jansson.h>

#include "lib/failure.h"
#include "lib/probe.h"
#include "lib/settings.h"

/*
 * How an order wants its health to be asked: the HEALTHCHECK_* of its settings. holder is a record
 * or a serving.json: what has `settings`.
 */
struct health {
	char *url; /* what is asked, for messages: http://address:port/path or tcp://address:port */
	char *request; /* probe.request lies here */
	struct probe probe;
	long pulse_ms; /* between two probes of what serves */
	long retry_count; /* so many misses in a row are forgiven */
};

#define auto_health __attribute__((cleanup(health_clear)))

/*
 * Fill *health for a service at address and port: without HEALTHCHECK, that the port accepts a
 * connection. probe.patience_ms is the time for a first answer. -1: *why names the setting.
 */
int health_of(struct health *health, const json_t *holder, const char *address, json_int_t port,
    struct failure *why);

/*
 * Fill *health for one look at url: http, a name (looked up as IPv4; this may block) or address,
 * no user. -1: *why is set, EX_USAGE if it is no such URL, EX_TEMPFAIL if the name is not found.
 */
int health_of_url(struct health *health, const char *url, struct failure *why);

void health_clear(struct health *health);

/*
 * The last lines (at most 20) that a container's service printed, as an array of strings, printable
 * and cut to a bearable length; the caller owns it. Empty where there are none. The file is written
 * from within the container: it is opened below the root only, never through a link, and little of
 * it is read.
 */
json_t *health_last_words(
    const struct settings *settings, const char *order, const char *container);

#endif
