/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_PROBE_H
#define STARPHLEET_PROBE_H

#include <stdbool.h>
#include <sys/socket.h>

#include "lib/failure.h"

/*
 * Asking services whether they are well: HTTP GET or a TCP connection, many at once in one process.
 * What must hold, whatever the other side does:
 * 1. A try ends within its timeout_ms, all tries within patience_ms.
 * 2. At most PROBE_BODY_MAX bytes of an answer are read, PROBE_HEADER_MAX of its head; none is
 * kept.
 * 3. No redirect is followed, no proxy asked, nothing decoded: of an answer only its status, its
 *    length and its end matter.
 * Sockets and 60 lines of RFC 9112 instead of libcurl, which is for fetching things: loading and
 * preparing it took 20 ms of each deploy, and 7 MB of memory in the process that watches.
 */
enum { PROBE_BODY_MAX = 1024 * 1024, PROBE_HEADER_MAX = 64 * 1024, PROBE_STATUSES_MAX = 16 };

struct probe {
	/* What to ask; the caller's. */
	struct sockaddr_storage address;
	socklen_t address_length;
	const char *request; /* of HTTP; NULL: well once the connection is accepted */
	int statuses[PROBE_STATUSES_MAX]; /* HTTP statuses that are well, ended by 0; none: 200 */
	long timeout_ms; /* of one try, connecting included */
	long patience_ms; /* try again until then, at growing intervals; 0: one try */
	void *owner; /* for the caller's use */
	/* What came of it; complete once probe_next gave it back. */
	bool well;
	int status; /* of the last answer; 0: there was none */
	int tries;
	long ms; /* from the start to the verdict */
	int error; /* errno of the last try, where the system ended it */
	char seen[120]; /* what was seen last: "status 500", "connection refused" */
};

/* The request for path ("/…") at host (of the Host header): probe.request; free() it. */
char *probe_request(const char *host, const char *path);

struct probe_set;

struct probe_set *probe_set_new(void);
void probe_set_free(struct probe_set *set);

/* Start to ask. The set keeps probe, which must not move, until probe_next or probe_cancel. */
void probe_start(struct probe_set *set, struct probe *probe);

/* Forget a probe, finished or not. */
void probe_cancel(struct probe_set *set, const struct probe *probe);

/*
 * Work on all probes until one has its verdict, descriptor fd (-1: none) can be read, or limit_ms
 * are over (-1: never). -1 with *why if the system does not let us wait.
 */
int probe_wait(struct probe_set *set, int fd, long limit_ms, struct failure *why);

/* A probe that has its verdict, lent back to the caller, or NULL. */
struct probe *probe_next(struct probe_set *set);

#endif
