/* SPDX-License-Identifier: MIT */
#include "lib/lxc-start.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lxc/lxccontainer.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"
#include "lib/state.h"

enum { LOG_MAX = 16 * 1024 * 1024 };

/* LXC's last complaint; free() it. */
static char *
complaint(const char *log)
{
	auto_failure struct failure ignored = {0};
	auto_free char *text = file_read(log, LOG_MAX, NULL, &ignored);
	char *rest = text, *line, *first = NULL;

	/* The first error of the last attempt is the cause, all that follow are its consequences;
	 * the log is emptied before each attempt. */
	while (rest != NULL && first == NULL && (line = strsep(&rest, "\n")) != NULL)
		if (strstr(line, " ERROR ") != NULL)
			first = strstr(line, " - ");
	/* "module - file:function:line - message" */
	if (first != NULL && strstr(first + 3, " - ") != NULL)
		first = strstr(first + 3, " - ");
	return xstrdup(first == NULL ? "LXC does not say why" : first + 3);
}

/* In the child: no descriptor but /dev/null (output_fd, if not -1, as 1 and 2) and report. */
static void
leave_all(int output_fd, int report)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	(void)dup2(null, 0);
	(void)dup2(output_fd == -1 ? null : output_fd, 1);
	(void)dup2(output_fd == -1 ? null : output_fd, 2);
	(void)syscall(SYS_close_range, 3, report == -1 ? ~0U : (unsigned int)report - 1, 0);
	if (report != -1)
		(void)syscall(SYS_close_range, report + 1, ~0U, 0);
	(void)clearenv();
	/* LXC would have newuidmap and newgidmap, through a shell each, write the maps, if it found
	 * them: 8 ms. Without them it writes the same itself. The ranges are checked: see
	 * lib/idmap. */
	(void)setenv("PATH", "/nonexistent", 1);
	(void)umask(022);
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		(void)signal(signal_number, SIG_DFL);
}

/* In the child: start it, and tell report, if that is one, with what status it ended. */
static _Noreturn void
start_here(const char *place, const char *name, bool background, int report)
{
	struct lxc_container *container = lxc_container_new(name, place);

	if (container == NULL || !container->want_daemonize(container, background) ||
	    !container->want_close_all_fds(container, background))
		_exit(1);
	/* In the foreground a container that ended badly counts as one that did not start. */
	if (!container->start(container, 0, NULL) && (background || container->error_num == -1))
		_exit(1);
	if (report != -1 &&
	    write_all(report, &container->error_num, sizeof container->error_num) == -1)
		_exit(1);
	_exit(0);
}

/* report -1: in the background. */
static pid_t
child(const char *place, const char *name, int output_fd, int report)
{
	pid_t parent = getpid(), pid = fork();
	sigset_t none;

	if (pid != 0)
		return pid;
	if (report != -1) {
		/* The monitor's death is the death of its container. */
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		report = fcntl(report, F_DUPFD_CLOEXEC, 100);
	}
	leave_all(output_fd, report);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	start_here(place, name, report == -1, report);
}

static int
wait_for(pid_t pid)
{
	int status = -1;

	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	return status;
}

static int
cannot_start(const char *name, const char *log, struct failure *why)
{
	auto_free char *reason = complaint(log);

	return fail(why, EX_TEMPFAIL, "cannot start container", name, reason);
}

int
lxc_start(const char *place, const char *name, const char *log, struct failure *why)
{
	pid_t pid;

	(void)unlink(log);
	if ((pid = child(place, name, -1, -1)) == -1)
		return fail(why, EX_TEMPFAIL, "cannot start a process", NULL, strerror(errno));
	if (wait_for(pid) != 0)
		return cannot_start(name, log, why);
	return 0;
}

/* Wait for the report, which is all or nothing. 1: it came; 0: none; -1: the time was over. */
static int
take_report(int fd, long limit_ms, int *report)
{
	long long end = state_now_ms() + limit_ms;

	for (;;) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		long long left = end - state_now_ms();

		if (left <= 0)
			return -1;
		if (poll(&poll_fd, 1, left > 1000000 ? 1000000 : (int)left) == 1)
			return read(fd, report, sizeof *report) == sizeof *report;
	}
}

int
lxc_run(const char *place, const char *name, const char *log, int output_fd, long limit_ms,
    int *status, struct failure *why)
{
	int ends[2], raw = 0, reported;
	pid_t pid;

	(void)unlink(log);
	if (pipe2(ends, O_CLOEXEC) == -1)
		return fail(why, EX_TEMPFAIL, "cannot make a pipe", NULL, strerror(errno));
	pid = child(place, name, output_fd, ends[1]);
	(void)close(ends[1]);
	if (pid == -1) {
		(void)close(ends[0]);
		return fail(why, EX_TEMPFAIL, "cannot start a process", NULL, strerror(errno));
	}
	reported = take_report(ends[0], limit_ms, &raw);
	if (reported == -1)
		(void)kill(pid, SIGKILL); /* process 1 of the container goes with its monitor */
	(void)close(ends[0]);
	(void)wait_for(pid);
	if (reported == 0)
		return cannot_start(name, log, why);
	*status = reported == -1 ? -1 : WIFSIGNALED(raw) ? 128 + WTERMSIG(raw) : WEXITSTATUS(raw);
	return 0;
}
