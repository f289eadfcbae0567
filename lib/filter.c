/* SPDX-License-Identifier: MIT */
#include "lib/filter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/record.h"
#include "lib/state.h"

/* A process that works on one record, and the pipe on which it hands the record back. */
struct worker {
	pid_t pid; /* 0: this place is free */
	int fd;
	json_t *record; /* as it came, for the case that the worker dies */
	char *answer;
	size_t length, room;
	long long deadline_ms; /* 0: none */
	bool timed_out;
};

struct pool {
	const struct filter *filter;
	struct worker *workers;
	int busy;
	bool some_failed;
};

/* Let step work on record; its failure becomes the record's error. */
static int
work(const struct filter *filter, json_t *record)
{
	auto_failure struct failure why = {0};
	int verdict = filter->step(record, filter->context, &why);

	if (verdict == FILTER_FAILED)
		record_fail(record, &why);
	return verdict;
}

/* The same for what comes before: true if there is work left for step. */
static bool
prepare(const struct filter *filter, json_t *record)
{
	auto_failure struct failure why = {0};
	int verdict;

	if (record_failed(record) && !filter->sees_errors)
		return false;
	if (filter->before == NULL)
		return true;
	verdict = filter->before(record, filter->context, &why);
	if (verdict == FILTER_FAILED)
		record_fail(record, &why);
	return verdict == FILTER_PASS;
}

static int
emit(struct pool *pool, const json_t *record, struct failure *why)
{
	pool->some_failed = pool->some_failed || record_failed(record);
	return record_write(stdout, record, why);
}

/* In the child: work, hand the record (or, dropped, nothing but a newline) back, leave. */
static _Noreturn void
worker_main(const struct filter *filter, json_t *record, int fd)
{
	auto_free char *text = NULL;
	int verdict;

	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* no work goes on for a reader who is gone */
	verdict = work(filter, record);
	(void)fflush(stderr);
	text = verdict == FILTER_DROP ? xstrdup("") : json_dumps(record, JSON_COMPACT);
	if (text == NULL || write_all(fd, text, strlen(text)) == -1 || write_all(fd, "\n", 1) == -1)
		_exit(EX_SOFTWARE);
	_exit(0);
}

static int
worker_start(struct pool *pool, json_t *record, struct failure *why)
{
	struct worker *worker = pool->workers;
	int ends[2];

	while (worker->pid != 0)
		worker++;
	if (pipe2(ends, O_CLOEXEC) == -1)
		return fail(why, EX_TEMPFAIL, "cannot make a pipe", NULL, strerror(errno));
	(void)fflush(stdout);
	(void)fflush(stderr);
	*worker = (struct worker){.pid = fork(), .fd = ends[0], .record = record};
	if (worker->pid == 0) {
		(void)close(ends[0]);
		worker_main(pool->filter, record, ends[1]);
	}
	(void)close(ends[1]);
	if (worker->pid == -1) {
		worker->pid = 0;
		(void)close(ends[0]);
		return fail(why, EX_TEMPFAIL, "cannot start a worker", NULL, strerror(errno));
	}
	(void)setpgid(worker->pid, worker->pid); /* in both, so that neither can be late */
	if (pool->filter->limit_ms > 0)
		worker->deadline_ms = state_now_ms() + pool->filter->limit_ms;
	pool->busy++;
	return 0;
}

/* The worker's pipe has ended: reap it, and emit what it handed back or why it did not. */
static int
worker_finish(struct pool *pool, struct worker *worker, struct failure *why)
{
	auto_json json_t *record = worker->record;
	auto_free char *answer = worker->answer;
	auto_json json_t *result = NULL;
	auto_free char *reason = NULL;
	auto_failure struct failure died = {0};
	size_t length = worker->length;
	int status = 0;

	(void)kill(-worker->pid, SIGKILL); /* what it may have left behind; itself, if it hangs */
	while (waitpid(worker->pid, &status, 0) == -1 && errno == EINTR)
		continue;
	(void)close(worker->fd);
	pool->busy--;
	if (length == 1 && answer[0] == '\n') {
		*worker = (struct worker){0};
		return 0; /* dropped */
	}
	if (length > 1 && answer[length - 1] == '\n')
		result = json_loadb(answer, length, 0, NULL);
	if (result == NULL) {
		if (worker->timed_out)
			reason = xasprintf("no result within %ld s", pool->filter->limit_ms / 1000);
		else if (WIFSIGNALED(status))
			reason = xasprintf("the worker was ended by signal %d", WTERMSIG(status));
		else
			reason = xasprintf("the worker exited with %d", WEXITSTATUS(status));
		(void)fail(&died, worker->timed_out ? EX_TEMPFAIL : EX_SOFTWARE, "gave up", record_order(record), reason);
		record_fail(record, &died);
	}
	*worker = (struct worker){0};
	return emit(pool, result == NULL ? record : result, why);
}

/* Read what a worker wrote. 1: its pipe has ended. */
static bool
worker_read(struct worker *worker)
{
	ssize_t got;

	if (worker->room - worker->length < 65536) {
		worker->room += 65536 + worker->room;
		worker->answer = xreallocarray(worker->answer, worker->room, 1);
	}
	got = read(worker->fd, worker->answer + worker->length, worker->room - worker->length);
	if (got == -1)
		return errno != EINTR;
	worker->length += (size_t)got;
	return got == 0 || worker->answer[worker->length - 1] == '\n';
}

/* Wait until a worker has something to say, the input has (if input is not -1), or time is up. */
static int
pool_wait(struct pool *pool, int input, bool *input_ready, struct failure *why)
{
	size_t jobs = (size_t)pool->filter->jobs;
	auto_free struct pollfd *fds = xcalloc(jobs + 1, sizeof *fds);
	long long now = state_now_ms(), first = -1;

	for (size_t i = 0; i < jobs; i++) {
		const struct worker *worker = &pool->workers[i];

		fds[i] = (struct pollfd){.fd = worker->pid == 0 ? -1 : worker->fd, .events = POLLIN};
		if (worker->pid != 0 && worker->deadline_ms != 0 &&
		    (first == -1 || worker->deadline_ms - now < first))
			first = worker->deadline_ms > now ? worker->deadline_ms - now : 0;
	}
	fds[jobs] = (struct pollfd){.fd = input, .events = POLLIN};
	if (poll(fds, jobs + 1, first == -1 ? -1 : (int)first + 1) == -1 && errno != EINTR)
		return fail(why, EX_TEMPFAIL, "cannot wait", NULL, strerror(errno));
	now = state_now_ms();
	*input_ready = fds[jobs].revents != 0;
	for (size_t i = 0; i < jobs; i++) {
		struct worker *worker = &pool->workers[i];
		bool over = worker->pid != 0 && worker->deadline_ms != 0 && now >= worker->deadline_ms;

		if (worker->pid == 0)
			continue;
		worker->timed_out = over;
		if ((over || (fds[i].revents != 0 && worker_read(worker))) &&
		    worker_finish(pool, worker, why) == -1)
			return -1;
	}
	return 0;
}

/* Records side by side, each in a worker. */
static int
run_pool(struct pool *pool, struct record_reader *reader, struct failure *why)
{
	bool input_ready = true;

	while (!record_reader_ended(reader) || pool->busy > 0) {
		bool room = pool->busy < pool->filter->jobs;

		if (room && input_ready) {
			json_t *record = record_read(reader, pool->busy == 0, why);

			if (record == NULL && why->code != 0)
				return -1;
			if (record != NULL && !prepare(pool->filter, record)) {
				int result = emit(pool, record, why);

				json_decref(record);
				if (result == -1)
					return -1;
				continue;
			}
			if (record != NULL && worker_start(pool, record, why) == -1) {
				json_decref(record);
				return -1;
			}
			if (record != NULL)
				continue;
		}
		input_ready = false;
		if (pool->busy == 0 && record_reader_ended(reader))
			break;
		room = pool->busy < pool->filter->jobs && !record_reader_ended(reader);
		if (pool_wait(pool, room ? STDIN_FILENO : -1, &input_ready, why) == -1)
			return -1;
		/* Lines may lie in the reader's memory already, where poll does not see them. */
		input_ready = input_ready || pool->busy < pool->filter->jobs;
	}
	return 0;
}

/* One after the other, in this process. */
static int
run_here(struct pool *pool, struct record_reader *reader, struct failure *why)
{
	for (;;) {
		auto_json json_t *record = record_read(reader, true, why);
		int verdict = FILTER_PASS;

		if (record == NULL)
			return why->code == 0 ? 0 : -1;
		if (prepare(pool->filter, record))
			verdict = work(pool->filter, record);
		if (verdict != FILTER_DROP && emit(pool, record, why) == -1)
			return -1;
	}
}

int
filter_run(const struct filter *filter, struct failure *why)
{
	struct filter own = *filter;
	struct pool pool = {.filter = &own};
	struct record_reader *reader = record_reader_new(STDIN_FILENO);
	int result;

	own.jobs = own.jobs < 1 ? 1 : own.jobs;
	(void)signal(SIGPIPE, SIG_IGN); /* a reader that left is a failed write, which we report */
	if (own.jobs > 1 || own.always_fork) {
		pool.workers = xcalloc((size_t)own.jobs, sizeof *pool.workers);
		result = run_pool(&pool, reader, why);
		for (int i = 0; i < own.jobs; i++)
			if (pool.workers[i].pid > 0)
				(void)kill(-pool.workers[i].pid, SIGKILL);
		free(pool.workers);
	} else {
		result = run_here(&pool, reader, why);
	}
	record_reader_free(reader);
	return result == -1 ? -1 : pool.some_failed;
}
