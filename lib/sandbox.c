/* SPDX-License-Identifier: MIT */
/*
 * What must hold for the code that runs here, whoever wrote it:
 *
 * 1. It sees only the places it was given, read-only, without set-uid and without devices but
 *    null, zero and urandom; no /etc, /var, /root, /sys of the ship; of /proc its own processes.
 * 2. It has no network but an empty one, and cannot make a socket.
 * 3. It runs as a uid of its own, with no capability and no way to a new one.
 * 4. Processes, time, memory and output are limited; writing files is not possible at all.
 * 5. When its first process ends, or ours does, or a limit is passed, all of its processes are
 *    gone, for the first is process 1 of a PID namespace.
 * 6. It inherits four descriptors at most: /dev/null and three pipes, on whose other ends we take
 *    what comes for bytes.
 */
#include "lib/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/sandbox-confine.h"
#include "lib/sandbox-memory.h"
#include "lib/sandbox-root.h"
#include "lib/state.h"

enum { NAMESPACES = 4, CHECK_FIRST_MS = 100, CHECK_EVERY_MS = 20 };

static const char *const namespaces[NAMESPACES] = {"net", "ipc", "uts", "mnt"};

struct sandbox {
	int namespace_fds[NAMESPACES]; /* these keep them alive: no process need be there */
	struct sandbox_filter filter;
};

/* Turn what a child says about itself into a failure. */
static int
trouble_fail(struct failure *why, const struct sandbox_trouble *trouble)
{
	int code = failure_code_of_errno(trouble->error);

	if (trouble->error == EPERM || trouble->error == ENOSYS)
		code = EX_UNAVAILABLE;
	return fail(why, code, "cannot make a sandbox", trouble->text, strerror(trouble->error));
}

/* 1: the child has handed up a trouble, 0: it ended or went on without, -1: errno. */
static int
trouble_read(int fd, struct sandbox_trouble *trouble)
{
	size_t length = 0;

	while (length < sizeof *trouble) {
		ssize_t got = read(fd, (char *)trouble + length, sizeof *trouble - length);

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return -1;
		if (got == 0)
			return 0;
		length += (size_t)got;
	}
	trouble->text[sizeof trouble->text - 1] = '\0';
	return 1;
}

static void
reap(pid_t pid, int *status, struct rusage *usage)
{
	while (wait4(pid, status, 0, usage) == -1 && errno == EINTR)
		continue;
}

/* In the child that makes the root: make it, say so, stay until the parent holds the namespaces. */
static _Noreturn void
maker_main(
    enum sandbox_base base, const struct sandbox_place *places, size_t count, int ready, int go)
{
	struct sandbox_trouble trouble = {0};
	char byte;

	if (sandbox_root_make(base, places, count, &trouble) == -1) {
		(void)write_all(ready, &trouble, sizeof trouble);
		_exit(1);
	}
	(void)close(ready);
	while (read(go, &byte, 1) == -1 && errno == EINTR)
		continue;
	_exit(0);
}

/* Hold the namespaces of the process pid. */
static int
hold(struct sandbox *sandbox, pid_t pid)
{
	for (size_t i = 0; i < NAMESPACES; i++) {
		auto_free char *path = xasprintf("/proc/%d/ns/%s", (int)pid, namespaces[i]);

		sandbox->namespace_fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (sandbox->namespace_fds[i] == -1)
			return -1;
	}
	return 0;
}

static int
make(struct sandbox *sandbox, enum sandbox_base base, const struct sandbox_place *places,
    size_t count, struct failure *why)
{
	struct sandbox_trouble trouble = {0};
	int ready[2], go[2], said, held = 0;
	pid_t pid;

	if (pipe2(ready, O_CLOEXEC) == -1)
		return fail(why, EX_TEMPFAIL, "cannot make a pipe", NULL, strerror(errno));
	if (pipe2(go, O_CLOEXEC) == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot make a pipe", NULL, strerror(errno));
		(void)close(ready[0]);
		(void)close(ready[1]);
		return -1;
	}
	pid = fork();
	if (pid == 0) {
		(void)close(go[1]);
		maker_main(base, places, count, ready[1], go[0]);
	}
	(void)close(ready[1]);
	(void)close(go[0]);
	said = pid == -1 ? -1 : trouble_read(ready[0], &trouble);
	if (said == 0)
		held = hold(sandbox, pid);
	if (said == -1 || held == -1)
		(void)sandbox_trouble(&trouble, "cannot start", "its maker");
	(void)close(ready[0]);
	(void)close(go[1]);
	if (pid != -1)
		reap(pid, NULL, NULL);
	return said == 0 && held == 0 ? 0 : trouble_fail(why, &trouble);
}

struct sandbox *
sandbox_new(
    enum sandbox_base base, const struct sandbox_place *places, size_t count, struct failure *why)
{
	auto_sandbox struct sandbox *sandbox = xcalloc(1, sizeof *sandbox);

	for (size_t i = 0; i < NAMESPACES; i++)
		sandbox->namespace_fds[i] = -1;
	if (geteuid() != 0) {
		(void)fail(why, EX_UNAVAILABLE, "cannot make a sandbox", NULL, "not root");
		return NULL;
	}
	if (sandbox_filter_make(&sandbox->filter) == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot make a filter of system calls", NULL,
		    strerror(errno));
		return NULL;
	}
	if (make(sandbox, base, places, count, why) == -1)
		return NULL;
	return steal(sandbox);
}

void
sandbox_free(struct sandbox *sandbox)
{
	if (sandbox == NULL)
		return;
	for (size_t i = 0; i < NAMESPACES; i++)
		if (sandbox->namespace_fds[i] != -1)
			(void)close(sandbox->namespace_fds[i]);
	free(sandbox->filter.code);
	free(sandbox);
}

void
sandbox_result_clear(struct sandbox_result *result)
{
	free(result->output);
	free(result->errors);
	free(result->report);
	*result = (struct sandbox_result){0};
}

/* The pipes of a run, our ends first. */
enum { OUTPUT, ERRORS, REPORT, TROUBLE, PIPES };

struct pipes {
	int ours[PIPES], theirs[PIPES];
};

static void
close_all(int *fds)
{
	for (size_t i = 0; i < PIPES; i++) {
		if (fds[i] != -1)
			(void)close(fds[i]);
		fds[i] = -1;
	}
}

static int
pipes_open(struct pipes *pipes, uid_t uid)
{
	memset(pipes, -1, sizeof *pipes);
	for (size_t i = 0; i < PIPES; i++) {
		int ends[2];

		if (pipe2(ends, O_CLOEXEC) == -1)
			return -1;
		pipes->ours[i] = ends[0];
		pipes->theirs[i] = ends[1];
		/* Owned by the run's uid, or it could not open /dev/stderr, which is this pipe. */
		if (fchown(ends[1], uid, uid) == -1 || fcntl(ends[0], F_SETFL, O_NONBLOCK) == -1)
			return -1;
	}
	return 0;
}

/* In the child: descriptors 0 to 2 and the report's, all others closed at exec. */
static int
place_descriptors(const struct sandbox_run *run, const struct pipes *pipes, int *trouble_fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	/* Out of the way of the numbers that are given away here. */
	int output = fcntl(pipes->theirs[OUTPUT], F_DUPFD_CLOEXEC, 100);
	int errors = fcntl(pipes->theirs[ERRORS], F_DUPFD_CLOEXEC, 100);
	int report = fcntl(pipes->theirs[REPORT], F_DUPFD_CLOEXEC, 100);

	*trouble_fd = fcntl(*trouble_fd, F_DUPFD_CLOEXEC, 100);
	if (null == -1 || output == -1 || errors == -1 || report == -1 || *trouble_fd == -1 ||
	    dup2(null, 0) == -1 || dup2(output, 1) == -1 || dup2(errors, 2) == -1)
		return -1;
	if (syscall(SYS_close_range, 3U, ~0U, (unsigned int)CLOSE_RANGE_CLOEXEC) == -1)
		return -1;
	return run->report_fd == 0 || dup2(report, run->report_fd) != -1 ? 0 : -1;
}

static void
default_signals(void)
{
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child, process 1 of its PID namespace, up to exec; returns only on trouble. */
static int
child(const struct sandbox *sandbox, const struct sandbox_run *run, const struct pipes *pipes,
    unsigned int uid, int *fd, struct sandbox_trouble *trouble)
{
	auto_free int *trees = xcalloc(run->place_count, sizeof *trees);
	struct pollfd parent = {0};

	if (setsid() == -1)
		return sandbox_trouble(trouble, "cannot begin", "a session");
	if (sandbox_root_open(run->places, run->place_count, trees, trouble) == -1)
		return -1;
	for (size_t i = 0; i < NAMESPACES; i++)
		if (setns(sandbox->namespace_fds[i], 0) == -1)
			return sandbox_trouble(trouble, "cannot enter", namespaces[i]);
	if (unshare(CLONE_NEWNS) == -1)
		return sandbox_trouble(trouble, "cannot enter", "a mount namespace");
	if (sandbox_root_enter(run, trees, trouble) == -1)
		return -1;
	if (place_descriptors(run, pipes, fd) == -1)
		return sandbox_trouble(trouble, "cannot place", "descriptors");
	default_signals();
	if (chdir(run->directory == NULL ? "/" : run->directory) == -1)
		return sandbox_trouble(trouble, "cannot enter", run->directory);
	if (sandbox_confine(run, &sandbox->filter, uid, trouble) == -1)
		return -1;
	parent.fd = *fd;
	if (poll(&parent, 1, 0) == 1 && (parent.revents & POLLERR) != 0)
		_exit(1); /* the parent died before we were tied to its life */
	(void)execve(
	    run->argv[0], (char *const *)(uintptr_t)run->argv, (char *const *)(uintptr_t)run->env);
	return sandbox_trouble(trouble, "cannot run", run->argv[0]);
}

/* A child in a PID namespace of its own, and a descriptor for its end. */
static pid_t
start(const struct sandbox *sandbox, const struct sandbox_run *run, struct pipes *pipes,
    unsigned int uid, int *pidfd)
{
	struct sandbox_trouble trouble = {0};
	int fd = pipes->theirs[TROUBLE];
	long pid;

	/* The call itself: libc's clone() wants a stack of its own, its fork() takes no flags. */
	pid = syscall(SYS_clone, (unsigned long)(CLONE_NEWPID | CLONE_PIDFD | SIGCHLD), NULL, pidfd,
	    NULL, 0UL);
	if (pid != 0)
		return (pid_t)pid;
	(void)child(sandbox, run, pipes, uid, &fd, &trouble);
	(void)write_all(fd, &trouble, sizeof trouble);
	_exit(1);
}

/* What comes out of one pipe. */
struct stream {
	char **text;
	size_t *length, room;
	bool ended;
};

/* Read what is there. The bytes read, 0 if there is nothing now. */
static size_t
stream_read(struct stream *stream, int fd)
{
	ssize_t got;

	if (stream->room - *stream->length < 4097) {
		stream->room = stream->room == 0 ? 8192 : stream->room * 2;
		*stream->text = xreallocarray(*stream->text, stream->room, 1);
	}
	got = read(fd, *stream->text + *stream->length, stream->room - *stream->length - 1);
	if (got == -1 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (got <= 0) {
		stream->ended = true;
		return 0;
	}
	*stream->length += (size_t)got;
	return (size_t)got;
}

/* A NUL behind it, for which stream_read left room, also where nothing came. */
static void
stream_finish(struct stream *stream)
{
	if (*stream->text == NULL)
		*stream->text = xcalloc(1, 1);
	(*stream->text)[*stream->length] = '\0';
}

struct watch {
	const struct sandbox_run *run;
	struct stream streams[PIPES];
	long long deadline_ms, check_ms;
	bool over; /* a limit was passed, result->end names it, and the run is being killed */
};

static void
end(struct watch *watch, struct sandbox_result *result, int pidfd, enum sandbox_end why)
{
	if (!watch->over)
		result->end = why;
	watch->over = true;
	(void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0U);
}

static void
check(struct watch *watch, struct sandbox_result *result, int pidfd, pid_t pid)
{
	long long now = state_now_ms();

	if (result->output_length + result->errors_length > watch->run->output_bytes ||
	    result->report_length > watch->run->output_bytes)
		end(watch, result, pidfd, SANDBOX_OUTPUT);
	else if (now >= watch->deadline_ms)
		end(watch, result, pidfd, SANDBOX_WALL);
	if (now < watch->check_ms || watch->over)
		return;
	watch->check_ms = now + CHECK_EVERY_MS;
	if (watch->run->memory_bytes != 0 && sandbox_memory(pid) > watch->run->memory_bytes)
		end(watch, result, pidfd, SANDBOX_MEMORY);
}

/* Gather what the run says until its first process, and so all of them, is dead. */
static void
follow(const struct sandbox_run *run, struct pipes *pipes, struct sandbox_result *result, int pidfd,
    pid_t pid)
{
	long long now = state_now_ms();
	struct watch watch = {
	    .run = run,
	    .streams = {{&result->output, &result->output_length, 0, false},
		{&result->errors, &result->errors_length, 0, false},
		{&result->report, &result->report_length, 0, false}},
	    .deadline_ms = now + run->wall_ms,
	    .check_ms = now + CHECK_FIRST_MS,
	};
	bool alive = true;

	while (alive) {
		struct pollfd fds[TROUBLE + 1];
		long long next =
		    watch.check_ms < watch.deadline_ms ? watch.check_ms : watch.deadline_ms;

		for (size_t i = 0; i < TROUBLE; i++)
			fds[i] = (struct pollfd){
			    watch.streams[i].ended ? -1 : pipes->ours[i], POLLIN, 0};
		fds[TROUBLE] = (struct pollfd){pidfd, POLLIN, 0};
		now = state_now_ms();
		(void)poll(fds, TROUBLE + 1, watch.over ? -1 : next > now ? (int)(next - now) : 0);
		alive = (fds[TROUBLE].revents & POLLIN) == 0;
		for (size_t i = 0; i < TROUBLE; i++) {
			/* What lies in a pipe after death is read, but no more. */
			while (!watch.streams[i].ended &&
			       stream_read(&watch.streams[i], pipes->ours[i]) > 0 &&
			       *watch.streams[i].length <= run->output_bytes)
				continue;
		}
		check(&watch, result, pidfd, pid);
	}
	for (size_t i = 0; i < TROUBLE; i++)
		stream_finish(&watch.streams[i]);
}

/* How it ended, as far as no limit of ours has been named yet. */
static void
judge(const struct sandbox_run *run, struct sandbox_result *result, int status,
    const struct rusage *usage)
{
	bool limited = result->end != SANDBOX_EXITED;
	long used_s = usage->ru_utime.tv_sec + usage->ru_stime.tv_sec;

	if (limited)
		return;
	if (WIFEXITED(status)) {
		result->value = WEXITSTATUS(status);
		return;
	}
	result->value = WTERMSIG(status);
	/* The kernel counts in ticks: the last second may be one short. */
	result->end =
	    result->value == SIGKILL && used_s + 1 >= run->cpu_s ? SANDBOX_CPU : SANDBOX_KILLED;
}

int
sandbox_run(const struct sandbox *sandbox, const struct sandbox_run *run,
    struct sandbox_result *result, struct failure *why)
{
	struct sandbox_trouble trouble = {0};
	struct rusage usage = {0};
	unsigned int uid = sandbox_uid();
	struct pipes pipes;
	int pidfd = -1, status = 0, said;
	pid_t pid = -1;

	if (pipes_open(&pipes, uid) == 0)
		pid = start(sandbox, run, &pipes, uid, &pidfd);
	if (pid == -1) {
		(void)fail(why, EX_TEMPFAIL, "cannot start a sandbox", NULL, strerror(errno));
		close_all(pipes.theirs);
		close_all(pipes.ours);
		return -1;
	}
	close_all(pipes.theirs);
	follow(run, &pipes, result, pidfd, pid);
	(void)close(pidfd);
	reap(pid, &status, &usage);
	said = trouble_read(pipes.ours[TROUBLE], &trouble);
	close_all(pipes.ours);
	if (said == 1)
		return trouble_fail(why, &trouble);
	judge(run, result, status, &usage);
	return 0;
}
