/* SPDX-License-Identifier: MIT */
#include "lib/probe.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <curl/curl.h>

#include "lib/alloc.h"
#include "lib/own.h"
#include "lib/state.h"

enum {
	PAUSE_FIRST_MS = 5,
	PAUSE_MAX_MS = 1000,
	/* A SYN that is lost while the container's interface comes up is sent again after 1 s only:
	 * rather begin anew, with more patience each time. */
	CONNECT_FIRST_MS = 200,
};

struct running {
	struct running *next;
	struct probe *probe;
	CURL *easy; /* NULL: between two tries, or done */
	bool done;
	long long begin_ms, due_ms; /* due_ms: of the next try */
	long pause_ms, limit_ms; /* limit_ms: of this try */
	size_t header_bytes, body_bytes;
	char error[CURL_ERROR_SIZE];
};

struct probe_set {
	CURLM *multi;
	struct running *first;
};

struct probe_set *
probe_set_new(void)
{
	struct probe_set *set = xcalloc(1, sizeof(*set));

	(void)curl_global_init(CURL_GLOBAL_NOTHING); /* http needs none of its parts */
	set->multi = curl_multi_init();
	if (set->multi == NULL) {
		free(set);
		return NULL;
	}
	return set;
}

static void
try_end(struct probe_set *set, struct running *running)
{
	if (running->easy == NULL)
		return;
	(void)curl_multi_remove_handle(set->multi, running->easy);
	curl_easy_cleanup(running->easy);
	running->easy = NULL;
}

static void
forget(struct probe_set *set, struct running **place)
{
	struct running *running = *place;

	*place = running->next;
	try_end(set, running);
	free(running);
}

void
probe_set_free(struct probe_set *set)
{
	if (set == NULL)
		return;
	while (set->first != NULL)
		forget(set, &set->first);
	(void)curl_multi_cleanup(set->multi);
	curl_global_cleanup();
	free(set);
}

static size_t
take_header(char *data, size_t size, size_t count, void *context)
{
	struct running *running = context;

	(void)data;
	running->header_bytes += size * count;
	return running->header_bytes > PROBE_HEADER_MAX ? 0 : size * count;
}

static size_t
take_body(char *data, size_t size, size_t count, void *context)
{
	struct running *running = context;

	(void)data;
	running->body_bytes += size * count;
	return running->body_bytes > PROBE_BODY_MAX ? 0 : size * count;
}

static int
set_options(CURL *easy, struct running *running, long connect_ms)
{
	const struct probe *probe = running->probe;
	CURLcode result = curl_easy_setopt(easy, CURLOPT_URL, probe->url);

#define OPTION(name, value) \
	(result = result != CURLE_OK ? result : curl_easy_setopt(easy, name, value))
#if LIBCURL_VERSION_NUM >= 0x075500
	OPTION(CURLOPT_PROTOCOLS_STR, "http");
#else
	OPTION(CURLOPT_PROTOCOLS, (long)CURLPROTO_HTTP);
#endif
	OPTION(CURLOPT_NOSIGNAL, 1L);
	OPTION(CURLOPT_PROXY, "");
	OPTION(CURLOPT_FOLLOWLOCATION, 0L);
	OPTION(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	OPTION(CURLOPT_PATH_AS_IS, 1L);
	OPTION(CURLOPT_FRESH_CONNECT, 1L); /* that it still accepts is half of the question */
	OPTION(CURLOPT_FORBID_REUSE, 1L);
	OPTION(CURLOPT_CONNECT_ONLY, probe->connect_only ? 1L : 0L);
	OPTION(CURLOPT_TIMEOUT_MS, running->limit_ms);
	OPTION(CURLOPT_CONNECTTIMEOUT_MS, connect_ms);
	OPTION(CURLOPT_BUFFERSIZE, 16384L);
	OPTION(CURLOPT_USERAGENT, "starphleet-healthcheck/" PACKAGE_VERSION);
	OPTION(CURLOPT_ERRORBUFFER, running->error);
	OPTION(CURLOPT_HEADERFUNCTION, take_header);
	OPTION(CURLOPT_HEADERDATA, running);
	OPTION(CURLOPT_WRITEFUNCTION, take_body);
	OPTION(CURLOPT_WRITEDATA, running);
	OPTION(CURLOPT_PRIVATE, running);
#undef OPTION
	return result == CURLE_OK ? 0 : -1;
}

static int
try_begin(struct probe_set *set, struct running *running, struct failure *why)
{
	struct probe *probe = running->probe;
	long long left_ms = running->begin_ms + probe->patience_ms - state_now_ms();
	long connect_ms;

	running->limit_ms = probe->timeout_ms;
	if (probe->patience_ms > 0 && left_ms < running->limit_ms)
		running->limit_ms = left_ms < 1 ? 1 : (long)left_ms;
	connect_ms = running->limit_ms;
	if (probe->patience_ms > 0 && CONNECT_FIRST_MS + 10 * running->pause_ms < connect_ms)
		connect_ms = CONNECT_FIRST_MS + 10 * running->pause_ms;
	running->header_bytes = running->body_bytes = 0;
	running->error[0] = '\0';
	running->easy = curl_easy_init();
	if (running->easy == NULL || set_options(running->easy, running, connect_ms) == -1)
		return fail(why, EX_TEMPFAIL, "cannot prepare a probe", probe->url, NULL);
	if (curl_multi_add_handle(set->multi, running->easy) != CURLM_OK)
		return fail(why, EX_TEMPFAIL, "cannot start a probe", probe->url, NULL);
	probe->tries++;
	return 0;
}

int
probe_start(struct probe_set *set, struct probe *probe, struct failure *why)
{
	struct running *running = xcalloc(1, sizeof(*running));

	probe->well = false;
	probe->status = probe->tries = probe->error = 0;
	probe->ms = 0;
	probe->seen[0] = '\0';
	running->probe = probe;
	running->begin_ms = state_now_ms();
	running->pause_ms = PAUSE_FIRST_MS;
	running->next = set->first;
	set->first = running;
	if (try_begin(set, running, why) == -1) {
		forget(set, &set->first);
		return -1;
	}
	return 0;
}

void
probe_cancel(struct probe_set *set, const struct probe *probe)
{
	for (struct running **place = &set->first; *place != NULL; place = &(*place)->next)
		if ((*place)->probe == probe)
			return forget(set, place);
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

static void __attribute__((format(printf, 2, 3))) see(struct probe *probe, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format); /* cut at the end: only long texts of libcurl can be */
	(void)vsnprintf(probe->seen, sizeof(probe->seen), format, arguments);
	va_end(arguments);
}

/* Put what went wrong in a try that ended without a whole answer into words. */
static void
see_error(struct running *running, CURLcode result, bool connected)
{
	struct probe *probe = running->probe;
	const char *whole = probe->status != 0 ? "an answer that began with" : "no answer";

	/* libcurl's word for a header line over 100 kB is that it has no memory. */
	if (running->header_bytes > PROBE_HEADER_MAX || result == CURLE_OUT_OF_MEMORY)
		see(probe, "more than %d KiB of headers", PROBE_HEADER_MAX / 1024);
	else if (result == CURLE_OPERATION_TIMEDOUT && !connected)
		see(probe, "connection attempts without an answer");
	else if (result == CURLE_OPERATION_TIMEDOUT && probe->status != 0)
		see(probe, "%s status %d and did not end within %g s", whole, probe->status,
		    (double)running->limit_ms / 1000);
	else if (result == CURLE_OPERATION_TIMEDOUT)
		see(probe, "%s within %g s", whole, (double)running->limit_ms / 1000);
	else if (result == CURLE_COULDNT_CONNECT && probe->error != 0) {
		see(probe, "%s", strerror(probe->error));
		probe->seen[0] = (char)tolower((unsigned char)probe->seen[0]);
	} else if (result == CURLE_GOT_NOTHING)
		see(probe, "a connection closed without an answer");
	else
		see(probe, "%s",
		    running->error[0] != '\0' ? running->error : curl_easy_strerror(result));
}

/* A try is over: is it the verdict, or when is the next one? */
static void
try_judge(struct probe_set *set, struct running *running, CURLcode result)
{
	struct probe *probe = running->probe;
	long long now_ms = state_now_ms();
	bool cut = running->limit_ms < probe->timeout_ms && probe->seen[0] != '\0';
	long status = 0, error = 0;
	curl_off_t connect_us = 0;

	(void)curl_easy_getinfo(running->easy, CURLINFO_RESPONSE_CODE, &status);
	(void)curl_easy_getinfo(running->easy, CURLINFO_OS_ERRNO, &error);
	(void)curl_easy_getinfo(running->easy, CURLINFO_CONNECT_TIME_T, &connect_us);
	try_end(set, running);
	if (running->body_bytes > PROBE_BODY_MAX)
		result = CURLE_OK; /* as much of an answer as anybody needs to see */
	probe->ms = (long)(now_ms - running->begin_ms);
	/* A try cut short by the end of all patience says less than the one before it. */
	if (!cut || result != CURLE_OPERATION_TIMEDOUT) {
		probe->status = (int)status;
		probe->error = (int)error;
		if (result != CURLE_OK)
			see_error(running, result, connect_us > 0);
		else if (probe->connect_only)
			see(probe, "an accepted connection");
		else
			see(probe, "status %d", probe->status);
	}
	probe->well = result == CURLE_OK && (probe->connect_only || status_is_well(probe));
	running->due_ms = now_ms + running->pause_ms;
	running->pause_ms +=
	    running->pause_ms / 4 + 1; /* found at most a quarter later than it was */
	if (running->pause_ms > PAUSE_MAX_MS)
		running->pause_ms = PAUSE_MAX_MS;
	running->done = probe->well || running->due_ms >= running->begin_ms + probe->patience_ms;
}

/* Let libcurl work, judge what ended, begin what is due. True if a verdict is there. */
static int
step(struct probe_set *set, bool *verdict, long *wait_ms, struct failure *why)
{
	int count;
	CURLMsg *message;
	long long now_ms;

	if (curl_multi_perform(set->multi, &count) != CURLM_OK)
		return fail(why, EX_TEMPFAIL, "cannot probe", NULL, "libcurl");
	while ((message = curl_multi_info_read(set->multi, &count)) != NULL) {
		struct running *running = NULL;
		CURLcode result = message->data.result;

		if (message->msg != CURLMSG_DONE)
			continue;
		(void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, (char **)&running);
		try_judge(set, running, result);
	}
	now_ms = state_now_ms();
	*verdict = false;
	for (struct running *running = set->first; running != NULL; running = running->next) {
		if (running->done) {
			*verdict = true;
		} else if (running->easy == NULL && running->due_ms <= now_ms) {
			if (try_begin(set, running, why) == -1)
				return -1;
			*wait_ms = 0;
		} else if (running->easy == NULL &&
			   (*wait_ms == -1 || running->due_ms - now_ms < *wait_ms)) {
			*wait_ms = (long)(running->due_ms - now_ms);
		}
	}
	return 0;
}

int
probe_wait(struct probe_set *set, int fd, long limit_ms, bool *readable, struct failure *why)
{
	long long end_ms = state_now_ms() + limit_ms;
	struct curl_waitfd extra = {.fd = fd, .events = CURL_WAIT_POLLIN};
	bool verdict;

	if (readable != NULL)
		*readable = false;
	for (;;) {
		long long left_ms = end_ms - state_now_ms();
		long wait_ms = limit_ms == -1 ? -1 : left_ms < 0 ? 0 : (long)left_ms;
		bool over = wait_ms == 0;

		if (step(set, &verdict, &wait_ms, why) == -1)
			return -1;
		if (verdict)
			return 0;
		/* libcurl's own timers shorten this wait; -1 is not known to it. */
		if (wait_ms == -1 || wait_ms > 1000 * 1000)
			wait_ms = 1000 * 1000;
		extra.revents = 0;
		if (curl_multi_poll(set->multi, &extra, fd == -1 ? 0 : 1, (int)wait_ms, NULL) !=
		    CURLM_OK)
			return fail(why, EX_TEMPFAIL, "cannot wait for probes", NULL, "libcurl");
		if (extra.revents != 0) {
			if (readable != NULL)
				*readable = true;
			return 0;
		}
		if (over)
			return 0;
	}
}

struct probe *
probe_next(struct probe_set *set)
{
	for (struct running **place = &set->first; *place != NULL; place = &(*place)->next) {
		struct probe *probe = (*place)->probe;

		if ((*place)->done) {
			forget(set, place);
			return probe;
		}
	}
	return NULL;
}
