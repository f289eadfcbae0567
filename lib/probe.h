/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_PROBE_H
#define STARPHLEET_PROBE_H

#include <stdbool.h>

#include "lib/failure.h"

/*
 * Asking services whether they are well: HTTP GET or a TCP connection, many at once in one process
 * (one libcurl multi handle). What must hold, whatever the other side does:
 * 1. A try ends within its timeout_ms, all tries within patience_ms.
 * 2. At most PROBE_BODY_MAX bytes of an answer are read, PROBE_HEADER_MAX of its head.
 * 3. No redirect is followed, no proxy asked, no protocol but http spoken, nothing decoded.
 */
enum { PROBE_BODY_MAX = 1024 * 1024, PROBE_HEADER_MAX = 64 * 1024, PROBE_STATUSES_MAX = 16 };

struct probe {
	/* What to ask; the caller's. */
	const char *url; /* http://host[:port][/path] */
	bool connect_only; /* well once the connection is accepted; nothing is asked */
	int statuses[PROBE_STATUSES_MAX]; /* HTTP statuses that are well, ended by 0; none: 200 */
	long timeout_ms; /* of one try, connecting included */
	long patience_ms; /* try again until then, at growing intervals; 0: one try */
	void *owner; /* for the caller's use */
	/* What came of it; complete once probe_next gave it back. */
	bool well;
	int status; /* of the last answer; 0: there was none */
	int tries;
	long ms; /* from the start to the verdict */
	int error; /* errno of the last try where there was no answer and the system said why */
	char seen[160]; /* what was seen last: "status 500", "connection refused" */
};

struct probe_set;

struct probe_set *probe_set_new(void);
void probe_set_free(struct probe_set *set);

/* Start to ask. The set keeps probe, which must not move, until probe_next or probe_cancel. */
int probe_start(struct probe_set *set, struct probe *probe, struct failure *why);

/* Forget a probe, finished or not. */
void probe_cancel(struct probe_set *set, const struct probe *probe);

/*
 * Work on all probes until one has its verdict, descriptor fd (-1: none) can be read, or limit_ms
 * are over (-1: never). True in *readable (may be NULL) if fd can be read.
 */
int probe_wait(struct probe_set *set, int fd, long limit_ms, bool *readable, struct failure *why);

/* A probe that has its verdict, lent back to the caller, or NULL. */
struct probe *probe_next(struct probe_set *set);

#endif
