/* SPDX-License-Identifier: MIT */
#include "lib/pulse.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/timerfd.h>

#include "lib/alloc.h"
#include "lib/file.h"
#include "lib/own.h"

/* Watch run for what happens to the file `pulse` in it. */
static int
watch(int inotify, const char *run, struct failure *why)
{
	if (dir_make(run, 0755, why) == -1)
		return -1;
	if (inotify_add_watch(inotify, run,
		IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_MOVED_TO | IN_ONLYDIR) == -1)
		return fail(why, EX_TEMPFAIL, "cannot watch", run, strerror(errno));
	return 0;
}

/* True if one of the events there are now is about `pulse`; *gone if the directory is. */
static bool
touched(int inotify, bool *gone)
{
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t length = read(inotify, buffer, sizeof buffer);
	bool found = false;

	for (char *at = buffer; at < buffer + length;) {
		const struct inotify_event *event = (const void *)at;

		found = found || (event->mask & IN_Q_OVERFLOW) != 0 ||
			(event->len > 0 && strcmp(event->name, "pulse") == 0);
		*gone = *gone || (event->mask & IN_IGNORED) != 0;
		at += sizeof *event + event->len;
	}
	return found;
}

/* 0, or -1 with errno. */
static int
beat(long long number)
{
	auto_free char *line = xasprintf("{\"pulse\":%lld}\n", number);
	int unread = 0;

	/* FIONREAD fails on what is no pipe: then every line is written. */
	if (ioctl(STDOUT_FILENO, FIONREAD, &unread) == 0 && unread > 0)
		return 0;
	return write_all(STDOUT_FILENO, line, strlen(line));
}

int
pulse_follow(const struct settings *settings, struct failure *why)
{
	auto_close int inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	auto_close int timer = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
	const struct itimerspec every = {
	    .it_interval.tv_sec = settings->pulse_s, .it_value.tv_sec = settings->pulse_s};
	bool due = true;

	if (inotify == -1 || timer == -1 || timerfd_settime(timer, 0, &every, NULL) == -1)
		return fail(why, EX_TEMPFAIL, "cannot follow", settings->run, strerror(errno));
	if (watch(inotify, settings->run, why) == -1)
		return -1;
	(void)signal(SIGPIPE, SIG_IGN);
	for (long long number = 1;;) {
		struct pollfd fds[] = {{.fd = inotify, .events = POLLIN},
		    {.fd = timer, .events = POLLIN}, {.fd = STDOUT_FILENO, .events = 0}};
		unsigned long long expired;
		bool gone = false;

		if (due && beat(number++) == -1)
			return errno == EPIPE ? 0
					      : fail(why, EX_TEMPFAIL, "cannot write",
						    "standard output", strerror(errno));
		due = false;
		if (poll(fds, 3, -1) == -1)
			continue; /* EINTR */
		if ((fds[2].revents & (POLLERR | POLLHUP)) != 0)
			return 0;
		if (fds[0].revents != 0)
			due = touched(inotify, &gone);
		if (fds[1].revents != 0)
			due = read(timer, &expired, sizeof expired) > 0 || due;
		/* Somebody emptied /run: begin again there. */
		if (gone && watch(inotify, settings->run, why) == -1)
			return -1;
	}
}
