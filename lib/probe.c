/* SPDX-License-Identifier: MIT */
#include "lib/probe.h"

#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/answer.h"
#include "lib/own.h"
#include "lib/state.h"

enum {
	PAUSE_FIRST_MS = 5,
	PAUSE_MAX_MS = 1000,
	/* A SYN that is lost while the container's interface comes up is sent again after 1 s only:
	 * rather begin anew, with more patience each time. */
	CONNECT_FIRST_MS = 200,
	READS_MAX = 16, /* then the others have their turn */
};

struct running {
	struct running *next;
	struct probe *probe;
	int fd; /* -1: between two tries, or done */
	bool done, connected;
	size_t sent;
	struct answer answer;
	long pause_ms;
	long limit_ms; /* of this try */
	long long begin_ms, try_ms; /* beginning of all, of this try */
	long long due_ms; /* of the next one */
	long long deadline_ms; /* of this one, or of its connecting */
	size_t index; /* its place in the present wait */
};

struct probe_set {
	struct running *first;
	struct pollfd *fds;
	size_t count, room;
};

char *
probe_request(const char *host, const char *path)
{
	return xasprintf("GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: starphleet-healthcheck/%s\r\n"
			 "Accept: */*\r\nConnection: close\r\n\r\n",
	    path, host, PACKAGE_VERSION);
}

struct probe_set *
probe_set_new(void)
{
	return xcalloc(1, sizeof(struct probe_set));
}

static void
forget(struct running **place)
{
	struct running *running = *place;

	*place = running->next;
	own_close(&running->fd);
	free(running);
}

void
probe_set_free(struct probe_set *set)
{
	if (set == NULL)
		return;
	while (set->first != NULL)
		forget(&set->first);
	free(set->fds);
	free(set);
}

void
probe_start(struct probe_set *set, struct probe *probe)
{
	struct running *running = xcalloc(1, sizeof(*running));

	probe->well = false;
	probe->status = probe->tries = probe->error = 0;
	probe->ms = 0;
	probe->seen[0] = '\0';
	running->probe = probe;
	running->fd = -1;
	running->begin_ms = running->due_ms = state_now_ms();
	running->pause_ms = PAUSE_FIRST_MS;
	running->next = set->first;
	set->first = running;
}

void
probe_cancel(struct probe_set *set, const struct probe *probe)
{
	for (struct running **place = &set->first; *place != NULL; place = &(*place)->next)
		if ((*place)->probe == probe)
			return forget(place);
}

struct probe *
probe_next(struct probe_set *set)
{
	for (struct running **place = &set->first; *place != NULL; place = &(*place)->next) {
		struct probe *probe = (*place)->probe;

		if ((*place)->done) {
			forget(place);
			return probe;
		}
	}
	return NULL;
}

static bool
status_is_well(const struct probe *probe)
{
	if (probe->statuses[0] == 0)
		return probe->status == 200;
	for (int i = 0; i < PROBE_STATUSES_MAX && probe->statuses[i] != 0; i++)
		if (probe->statuses[i] == probe->status)
			return true;
	return false;
}

/* A try is over, and this was seen: is that the verdict, or when is the next try? */
static void __attribute__((format(printf, 4, 5)))
try_end(struct running *running, bool well, int error, const char *format, ...)
{
	struct probe *probe = running->probe;
	long long now_ms = state_now_ms();
	va_list arguments;

	own_close(&running->fd);
	running->fd = -1;
	probe->well = well;
	probe->error = error;
	probe->status = running->answer.status;
	probe->ms = (long)(now_ms - running->begin_ms);
	va_start(arguments, format);
	(void)vsnprintf(probe->seen, sizeof(probe->seen), format, arguments); /* short texts all */
	va_end(arguments);
	running->due_ms = now_ms + running->pause_ms;
	running->pause_ms +=
	    running->pause_ms / 4 + 1; /* found at most a quarter later than it was */
	if (running->pause_ms > PAUSE_MAX_MS)
		running->pause_ms = PAUSE_MAX_MS;
	running->done = well || running->due_ms >= running->begin_ms + probe->patience_ms;
}

static void
try_failed(struct running *running, int error)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "%s", strerror(error));
	text[0] = (char)tolower((unsigned char)text[0]);
	try_end(running, false, error, "%s", text);
}

static void
try_timed_out(struct running *running)
{
	struct probe *probe = running->probe;
	double limit_s = (double)running->limit_ms / 1000;
	long long now_ms = state_now_ms();

	/* A try cut short by the end of all patience says less than the one before it. */
	if (probe->patience_ms > 0 && probe->seen[0] != '\0' &&
	    now_ms >= running->begin_ms + probe->patience_ms) {
		own_close(&running->fd);
		running->fd = -1;
		running->done = true;
		probe->ms = (long)(now_ms - running->begin_ms);
		return;
	}
	if (!running->connected)
		try_end(running, false, ETIMEDOUT, "connection attempts without an answer");
	else if (running->answer.status == 0)
		try_end(running, false, ETIMEDOUT, "no answer within %g s", limit_s);
	else
		try_end(running, false, ETIMEDOUT,
		    "status %d, but no end of the answer within %g s", running->answer.status,
		    limit_s);
}

static void
try_begin(struct running *running)
{
	struct probe *probe = running->probe;
	long long now_ms = state_now_ms();
	long long left_ms = running->begin_ms + probe->patience_ms - now_ms;
	long connect_ms;

	running->limit_ms = probe->timeout_ms;
	if (probe->patience_ms > 0 && left_ms < running->limit_ms)
		running->limit_ms = left_ms < 1 ? 1 : (long)left_ms;
	connect_ms = running->limit_ms;
	if (probe->patience_ms > 0 && CONNECT_FIRST_MS + 10 * running->pause_ms < connect_ms)
		connect_ms = CONNECT_FIRST_MS + 10 * running->pause_ms;
	running->try_ms = now_ms;
	running->deadline_ms = now_ms + connect_ms;
	running->connected = false;
	running->sent = 0;
	answer_init(&running->answer);
	probe->tries++;
	running->fd =
	    socket(probe->address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (running->fd == -1 || (connect(running->fd, (struct sockaddr *)&probe->address,
				      probe->address_length) == -1 &&
				     errno != EINPROGRESS))
		try_failed(running, errno);
}

/* The connection is there, or refused. */
static void
try_connected(struct running *running)
{
	int error = 0;
	socklen_t size = sizeof(error);

	if (getsockopt(running->fd, SOL_SOCKET, SO_ERROR, &error, &size) == -1)
		error = errno;
	if (error != 0)
		return try_failed(running, error);
	running->connected = true;
	if (running->probe->request == NULL)
		return try_end(running, true, 0, "an accepted connection");
	running->deadline_ms = running->try_ms + running->limit_ms;
}

static void
try_send(struct running *running)
{
	const char *rest = running->probe->request + running->sent;
	ssize_t sent = send(running->fd, rest, strlen(rest), MSG_NOSIGNAL);

	if (sent >= 0)
		running->sent += (size_t)sent;
	else if (errno != EAGAIN && errno != EINTR)
		try_failed(running, errno);
}

static void
try_receive(struct running *running)
{
	struct answer *answer = &running->answer;
	char data[16384];

	for (int i = 0; i < READS_MAX; i++) {
		ssize_t got = recv(running->fd, data, sizeof(data), 0);

		if (got == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got == -1)
			return try_failed(running, errno);
		if (got == 0)
			answer_end(answer);
		else
			answer_feed(answer, data, (size_t)got);
		if (answer->state == ANSWER_BAD)
			return try_end(running, false, 0, "%s", answer->bad);
		if (answer->state == ANSWER_WHOLE) {
			running->probe->status = answer->status;
			return try_end(running, status_is_well(running->probe), 0, "status %d",
			    answer->status);
		}
	}
}

static void
try_step(struct running *running)
{
	if (!running->connected)
		try_connected(running);
	if (running->fd != -1 && running->probe->request[running->sent] != '\0')
		try_send(running);
	if (running->fd != -1)
		try_receive(running);
}

static bool
is_sending(const struct running *running)
{
	return !running->connected || running->probe->request[running->sent] != '\0';
}

/* Begin and end what is due; gather what to wait for. True if a verdict is there. */
static bool
prepare(struct probe_set *set, int fd, long long *until_ms)
{
	bool verdict = false;

	set->count = 0;
	if (set->room == 0)
		set->fds = xreallocarray(NULL, set->room = 16, sizeof(*set->fds));
	if (fd != -1)
		set->fds[set->count++] = (struct pollfd){.fd = fd, .events = POLLIN};
	for (struct running *running = set->first; running != NULL; running = running->next) {
		long long now_ms = state_now_ms(), next_ms;

		if (!running->done && running->fd == -1 && running->due_ms <= now_ms)
			try_begin(running);
		else if (!running->done && running->fd != -1 && running->deadline_ms <= now_ms)
			try_timed_out(running);
		verdict = verdict || running->done;
		running->index = 0;
		if (running->done)
			continue;
		next_ms = running->fd == -1 ? running->due_ms : running->deadline_ms;
		if (*until_ms == -1 || next_ms < *until_ms)
			*until_ms = next_ms;
		if (running->fd == -1)
			continue;
		if (set->count == set->room)
			set->fds = xreallocarray(set->fds, set->room *= 2, sizeof(*set->fds));
		running->index = set->count;
		set->fds[set->count++] = (struct pollfd){
		    .fd = running->fd, .events = is_sending(running) ? POLLOUT | POLLIN : POLLIN};
	}
	return verdict;
}

int
probe_wait(struct probe_set *set, int fd, long limit_ms, struct failure *why)
{
	long long end_ms = limit_ms == -1 ? -1 : state_now_ms() + limit_ms;

	for (;;) {
		long long until_ms = end_ms, wait_ms;

		if (prepare(set, fd, &until_ms))
			return 0;
		wait_ms = until_ms - state_now_ms();
		wait_ms = until_ms == -1 || wait_ms > 3600 * 1000 ? 3600 * 1000 : wait_ms;
		if (poll(set->fds, set->count, wait_ms < 0 ? 0 : (int)wait_ms) == -1) {
			if (errno == EINTR)
				continue;
			return fail(
			    why, EX_TEMPFAIL, "cannot wait for probes", NULL, strerror(errno));
		}
		for (struct running *running = set->first; running != NULL; running = running->next)
			if (running->fd != -1 && set->fds[running->index].revents != 0)
				try_step(running);
		if ((fd != -1 && set->fds[0].revents != 0) ||
		    (end_ms != -1 && state_now_ms() >= end_ms))
			return 0;
	}
}
