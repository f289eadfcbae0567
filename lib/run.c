/* SPDX-License-Identifier: MIT */
#include "lib/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/own.h"
#include "lib/state.h"

enum { ERROR_TAIL = 4096, OUTPUT_DEFAULT = 1024 * 1024 };

/* What comes out of one of the child's streams. */
struct stream {
	int fd; /* -1: ended */
	char *data;
	size_t length, limit;
	bool tail; /* keep the last bytes instead of stopping at the limit */
	bool full;
};

struct pipes {
	int in[2], out[2], err[2];
};

static void
pipes_close(struct pipes *pipes)
{
	int *ends[] = {&pipes->in[0], &pipes->in[1], &pipes->out[0], &pipes->out[1], &pipes->err[0],
	    &pipes->err[1]};

	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		if (*ends[i] >= 0)
			(void)close(*ends[i]);
		*ends[i] = -1;
	}
}

static int
spawn(const struct run *run, const struct pipes *pipes, pid_t *pid)
{
	const char *const clean[] = {
	    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
	    "LANG=C.UTF-8", NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int out = run->output_fd > 0 ? run->output_fd : pipes->out[1], error;

	sigemptyset(&none);
	sigfillset(&all);
	(void)posix_spawn_file_actions_init(&actions);
	(void)posix_spawnattr_init(&attributes);
	if (pipes->in[0] >= 0)
		(void)posix_spawn_file_actions_adddup2(&actions, pipes->in[0], STDIN_FILENO);
	else
		(void)posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	(void)posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
	(void)posix_spawn_file_actions_adddup2(&actions, run->merge ? out : pipes->err[1], STDERR_FILENO);
	if (run->directory != NULL)
		(void)posix_spawn_file_actions_addchdir_np(&actions, run->directory);
	/* Ours are close-on-exec; this is for what a careless parent left open to us. */
	(void)posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	(void)posix_spawnattr_setsigmask(&attributes, &none);
	(void)posix_spawnattr_setsigdefault(&attributes, &all);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	(void)posix_spawnattr_setflags(&attributes,
	    POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	error = posix_spawnp(pid, run->argv[0], &actions, &attributes, (char *const *)(uintptr_t)run->argv,
	    (char *const *)(uintptr_t)(run->env == NULL ? clean : run->env));
	(void)posix_spawn_file_actions_destroy(&actions);
	(void)posix_spawnattr_destroy(&attributes);
	return error;
}

static void
stream_read(struct stream *stream)
{
	char buffer[16384];
	ssize_t got = read(stream->fd, buffer, sizeof buffer);
	size_t length = got > 0 ? (size_t)got : 0;

	if (got == -1 && (errno == EINTR || errno == EAGAIN))
		return;
	if (got <= 0) {
		(void)close(stream->fd);
		stream->fd = -1;
		return;
	}
	if (stream->tail && stream->length + length > stream->limit) {
		size_t drop = stream->length + length - stream->limit;

		drop = drop > stream->length ? stream->length : drop;
		memmove(stream->data, stream->data + drop, stream->length - drop);
		stream->length -= drop;
	} else if (stream->length + length > stream->limit) {
		stream->full = true;
		length = stream->limit - stream->length;
	}
	stream->data = xreallocarray(stream->data, stream->length + length + 1, 1);
	memcpy(stream->data + stream->length, buffer, length);
	stream->length += length;
	stream->data[stream->length] = '\0';
}

/* Feed and drain until all streams have ended. 0, or -1 when time is up or output was too much. */
static int
attend(const struct run *run, int in, struct stream *out, struct stream *err)
{
	const char *input = run->input == NULL ? "" : run->input;
	size_t left = strlen(input);
	long long deadline = run->limit_ms > 0 ? state_now_ms() + run->limit_ms : 0;
	auto_close int input_fd = in;
	struct sigaction ignore = {.sa_handler = SIG_IGN}, before;

	(void)sigaction(SIGPIPE, &ignore, &before); /* a program need not read its input to the end */
	while (out->fd >= 0 || err->fd >= 0 || input_fd >= 0) {
		struct pollfd fds[] = {{.fd = out->fd, .events = POLLIN},
		    {.fd = err->fd, .events = POLLIN}, {.fd = input_fd, .events = POLLOUT}};
		long long rest = deadline == 0 ? -1 : deadline - state_now_ms();

		if (out->full || (deadline != 0 && rest <= 0))
			break;
		if (poll(fds, 3, rest < 0 ? -1 : (int)(rest > 3600000 ? 3600000 : rest)) == -1)
			continue; /* EINTR: the deadline is looked at again */
		if (fds[0].revents != 0)
			stream_read(out);
		if (fds[1].revents != 0)
			stream_read(err);
		if (fds[2].revents != 0) {
			ssize_t done = left == 0 ? 0 : write(input_fd, input, left);

			if (done > 0) {
				input += done;
				left -= (size_t)done;
			}
			if (left == 0 || (done == -1 && errno != EINTR && errno != EAGAIN)) {
				(void)close(input_fd);
				input_fd = -1;
			}
		}
	}
	(void)sigaction(SIGPIPE, &before, NULL);
	return out->fd >= 0 || err->fd >= 0 || input_fd >= 0 ? -1 : 0;
}

/* The last line of text that is not blank, or "". Cuts text. */
static const char *
last_line(char *text)
{
	size_t end = text == NULL ? 0 : strlen(text);
	char *newline;

	while (end > 0 && strchr(" \t\r\n", text[end - 1]) != NULL)
		end--;
	if (end == 0)
		return "";
	text[end] = '\0';
	newline = strrchr(text, '\n');
	return newline == NULL ? text : newline + 1;
}

/* How a child that did not exit with 0 ended, for people. */
static int
explain(const struct run *run, int status, bool timed_out, struct stream *out, struct stream *err, struct failure *why)
{
	auto_free char *words = NULL;
	auto_free char *reason = NULL;
	const char *line = last_line(err->data);
	int code = EX_UNAVAILABLE;

	if (out->full) {
		words = xasprintf("more than %zu bytes of output", out->limit);
	} else if (timed_out) {
		words = xasprintf("no answer within %ld s", run->limit_ms / 1000);
		code = EX_TEMPFAIL;
	} else if (WIFSIGNALED(status)) {
		words = xasprintf("signal %d", WTERMSIG(status));
	} else {
		words = xasprintf("exit status %d", WEXITSTATUS(status));
	}
	if (*line == '\0')
		reason = steal(words);
	else if (timed_out || out->full || WIFSIGNALED(status))
		reason = xasprintf("%s: %s", words, line);
	else
		reason = xstrdup(line);
	return fail(why, code, "failed", run->argv[0], reason);
}

int
run_program(const struct run *run, char **output, struct failure *why)
{
	struct pipes pipes = {{-1, -1}, {-1, -1}, {-1, -1}};
	struct stream out = {.fd = -1}, err = {.fd = -1, .limit = ERROR_TAIL, .tail = true};
	auto_free char *out_data = NULL;
	auto_free char *err_data = NULL;
	bool ended_early;
	int status = 0, error, in;
	pid_t pid = 0;

	if (output != NULL)
		*output = NULL;
	if ((run->input != NULL && pipe2(pipes.in, O_CLOEXEC) == -1) || pipe2(pipes.out, O_CLOEXEC) == -1 ||
	    pipe2(pipes.err, O_CLOEXEC) == -1) {
		error = errno;
		pipes_close(&pipes);
		return fail(why, EX_TEMPFAIL, "cannot start", run->argv[0], strerror(error));
	}
	error = spawn(run, &pipes, &pid);
	if (error != 0) {
		pipes_close(&pipes);
		return fail(why, error == ENOENT ? EX_UNAVAILABLE : EX_TEMPFAIL, "cannot start",
		    run->argv[0], strerror(error));
	}
	if (pipes.in[1] >= 0)
		(void)fcntl(pipes.in[1], F_SETFL, O_NONBLOCK);
	in = pipes.in[1];
	out.fd = pipes.out[0];
	err.fd = pipes.err[0];
	pipes.in[1] = pipes.out[0] = pipes.err[0] = -1;
	pipes_close(&pipes);
	out.limit = run->output_limit == 0 ? OUTPUT_DEFAULT : run->output_limit;
	ended_early = attend(run, in, &out, &err) == -1;
	if (ended_early)
		(void)kill(-pid, SIGKILL);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	if (out.fd >= 0)
		(void)close(out.fd);
	if (err.fd >= 0)
		(void)close(err.fd);
	out_data = out.data == NULL ? xstrdup("") : out.data;
	err_data = err.data;
	if (output != NULL)
		*output = steal(out_data);
	if (ended_early || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return explain(run, status, ended_early && !out.full, &out, &err, why);
	return 0;
}

int
run_wait(const char *const argv[], struct failure *why)
{
	const struct run run = {.argv = argv, .limit_ms = 60000};

	return run_program(&run, NULL, why);
}
