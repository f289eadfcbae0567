/* SPDX-License-Identifier: MIT */
/*
 * starphleet-init - process 1 of a container
 *
 * What must hold:
 * 1. Every orphan is reaped, whatever the service does.
 * 2. The service runs as its user with exactly the environment of ETC/env, descriptors 0 to 2, a
 *    session of its own; neither privilege nor descriptor of this process reaches it.
 * 3. Its output is read at all times and kept bounded, so that it never blocks on a full disk.
 * 4. A stop ends it within STOP_S seconds, stopped or deaf processes of its group included.
 * 5. Only libc is used and nothing loaded at run time: this program is linked statically and runs
 *    in root file systems that know nothing of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include "lib/become.h"
#include "lib/output.h"
#include "lib/own.h"

enum {
	STOP_S = 10, /* from SIGTERM to SIGKILL at a stop */
	PAUSE_MAX_S = 60, /* the longest pause before a restart */
	STEADY_S = 60, /* having lived so long, the next restart comes at once again */
	REAP_BATCH = 256, /* then the output has its turn */
	CHUNK = 64 * 1024, /* a pipe's whole content */
};

struct options {
	const char *log;
	const char *etc;
	const char *user;
	const char *directory;
};

struct init {
	struct options opt;
	char *web; /* ETC/web */
	char *env; /* ETC/env */
	struct output output;
	int signal_fd;
	int timer_fd;
	int pipe[2]; /* the service's output; we keep both ends, so it never ends */
	pid_t pid; /* of the service; 0: it does not run */
	pid_t group; /* the process group of the last one started; 0: none yet */
	time_t started_s;
	int failures; /* deaths without having lived STEADY_S */
	bool stopping;
};

static void
usage(FILE *out)
{
	(void)fputs(
	    "usage: starphleet-init [--directory DIR] [--etc DIR] [--log FILE] [--user NAME]\n"
	    "\n"
	    "Process 1 of a container: reaps orphans, keeps the service DIR/web running.\n"
	    "\n"
	    "  --directory DIR  where the service runs (/home/ubuntu/app)\n"
	    "  --etc DIR        where its files web and env are (/etc/starphleet)\n"
	    "  --log FILE       its output goes there, at most twice 1 MiB (standard error)\n"
	    "  --user NAME      the user it runs as (ubuntu)\n"
	    "  --help, --version\n",
	    out);
}

static void
options_parse(struct options *opt, int argc, char *argv[])
{
	static const struct option longs[] = {
	    {"directory", required_argument, NULL, 'd'},
	    {"etc", required_argument, NULL, 'e'},
	    {"help", no_argument, NULL, 'h'},
	    {"log", required_argument, NULL, 'l'},
	    {"user", required_argument, NULL, 'u'},
	    {"version", no_argument, NULL, 'V'},
	    {NULL, 0, NULL, 0},
	};
	int option;

	*opt = (struct options){
	    .etc = "/etc/starphleet", .user = "ubuntu", .directory = "/home/ubuntu/app"};
	while ((option = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (option) {
		case 'd':
			opt->directory = optarg;
			break;
		case 'e':
			opt->etc = optarg;
			break;
		case 'h':
			usage(stdout);
			exit(0);
		case 'l':
			opt->log = optarg;
			break;
		case 'u':
			opt->user = optarg;
			break;
		case 'V':
			(void)printf("starphleet-init %s\n", PACKAGE_VERSION);
			exit(0);
		default:
			usage(stderr);
			exit(EX_USAGE);
		}
	}
	if (optind < argc) {
		usage(stderr);
		exit(EX_USAGE);
	}
}

static time_t
now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Ring the timer once, in so many seconds; 0: at once. */
static void
timer_set(const struct init *init, int seconds)
{
	struct itimerspec when = {.it_value = {.tv_sec = seconds, .tv_nsec = 1}};

	(void)timerfd_settime(init->timer_fd, 0, &when, NULL);
}

/* Note what happened and when the service starts again: at once, then after 1, 2, 4 … 60 s. */
static void
web_again(struct init *init, const char *what)
{
	int pause_s = 0;

	if (now_s() - init->started_s >= STEADY_S)
		init->failures = 0;
	if (init->failures > 0)
		pause_s = init->failures > 6 ? PAUSE_MAX_S : 1 << (init->failures - 1);
	init->failures++;
	if (pause_s == 0)
		output_note(&init->output, "%s, starting again", what);
	else
		output_note(&init->output, "%s, starting again in %d s", what, pause_s);
	timer_set(init, pause_s);
}

static void
web_start(struct init *init)
{
	auto_free char **env = NULL;
	struct become_user user;
	char text[512];

	init->started_s = now_s();
	if (become_user_find(&user, init->opt.user) == -1) {
		(void)snprintf(text, sizeof(text), "cannot find user: %s: %s", init->opt.user,
		    strerror(errno));
		return web_again(init, text);
	}
	env = become_environment(init->env);
	if (env == NULL) {
		(void)snprintf(
		    text, sizeof(text), "cannot read: %s: %s", init->env, strerror(errno));
		return web_again(init, text);
	}
	/* Its own, or it could not open /dev/stdout; blocking again, if the last one changed that.
	 */
	if (fchown(init->pipe[1], user.uid, user.gid) == -1)
		output_note(&init->output, "web cannot open /dev/stdout: %s", strerror(errno));
	(void)fcntl(init->pipe[1], F_SETFL, 0);
	init->pid = fork();
	if (init->pid == 0) {
		const char *what =
		    become(init->web, init->opt.directory, &user, env, init->pipe[1]);

		(void)dprintf(STDERR_FILENO, "starphleet-init: cannot start web: %s: %s\n", what,
		    strerror(errno));
		_exit(EX_UNAVAILABLE);
	}
	if (init->pid == -1) {
		init->pid = 0;
		(void)snprintf(text, sizeof(text), "cannot fork: %s", strerror(errno));
		return web_again(init, text);
	}
	init->group = init->pid;
	output_note(&init->output, "web started, process %d", (int)init->pid);
}

/* Pass on what the service printed, up to so many chunks: a flood must not hold up the rest. */
static void
output_pass(struct init *init, int chunks)
{
	static char chunk[CHUNK];

	while (chunks-- > 0) {
		ssize_t got = read(init->pipe[0], chunk, sizeof(chunk));

		if (got <= 0)
			return;
		output_write(&init->output, chunk, (size_t)got);
	}
}

static void
web_ended(struct init *init, int status)
{
	char text[80];

	init->pid = 0;
	output_pass(init, 4); /* its last words come before ours */
	if (WIFSIGNALED(status))
		(void)snprintf(text, sizeof(text), "web was ended by signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		(void)snprintf(
		    text, sizeof(text), "web exited with status %d", WEXITSTATUS(status));
	if (init->stopping)
		output_note(&init->output, "%s", text);
	else
		web_again(init, text);
}

/* Reap what has died. True if there may be more. */
static bool
reap(struct init *init)
{
	for (int i = 0; i < REAP_BATCH; i++) {
		siginfo_t child = {0};
		int status;

		if (waitid(P_ALL, 0, &child, WEXITED | WNOHANG | WNOWAIT) == -1 ||
		    child.si_pid == 0)
			return false;
		/* What the service leaves behind would hold its port. As long as it is not reaped
		 * its process group's number cannot belong to anybody else. */
		if (child.si_pid == init->pid && !init->stopping)
			(void)kill(-init->pid, SIGKILL);
		if (waitpid(child.si_pid, &status, WNOHANG) == child.si_pid &&
		    child.si_pid == init->pid)
			web_ended(init, status);
	}
	return true;
}

/* Send the service's process group a signal, once to each; or itself, before it made the group. */
static void
web_signal(const struct init *init, int number)
{
	if ((init->group == 0 || kill(-init->group, number) == -1) && init->pid != 0)
		(void)kill(init->pid, number);
}

static bool
web_gone(const struct init *init)
{
	return init->pid == 0 && (init->group == 0 || kill(-init->group, 0) == -1);
}

static void
signal_take(struct init *init)
{
	struct signalfd_siginfo info;

	while (read(init->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		if (info.ssi_signo == SIGCHLD || init->stopping)
			continue;
		init->stopping = true;
		output_note(&init->output, "stopping");
		web_signal(init, SIGTERM);
		web_signal(init, SIGCONT); /* a stopped process would never see it */
		timer_set(init, STOP_S);
	}
}

static void
timer_take(struct init *init)
{
	uint64_t rings;

	if (read(init->timer_fd, &rings, sizeof(rings)) != (ssize_t)sizeof(rings))
		return;
	if (!init->stopping)
		return web_start(init);
	output_note(&init->output, "web did not end within %d s, killed", STOP_S);
	web_signal(init, SIGKILL);
	init->group = init->pid = 0; /* the kernel ends the rest with this process */
}

static void
loop(struct init *init)
{
	struct pollfd fds[] = {
	    {.fd = init->signal_fd, .events = POLLIN},
	    {.fd = init->timer_fd, .events = POLLIN},
	    {.fd = init->pipe[0], .events = POLLIN},
	};
	bool more = true;

	while (!init->stopping || !web_gone(init)) {
		if (poll(fds, sizeof(fds) / sizeof(fds[0]), more ? 0 : -1) == -1)
			continue;
		if (fds[0].revents != 0)
			signal_take(init);
		if (fds[1].revents != 0)
			timer_take(init);
		more = reap(init);
		if (fds[2].revents != 0)
			output_pass(init, 1);
	}
	output_pass(init, 4);
}

/* Distributions' own init would have done so. */
static void
loopback_up(void)
{
	struct ifreq request = {.ifr_name = "lo"};
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd == -1 || ioctl(fd, SIOCGIFFLAGS, &request) == -1 ||
	    (request.ifr_flags & IFF_UP) != 0)
		return;
	request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
	(void)ioctl(fd, SIOCSIFFLAGS, &request);
}

/* Signals and descriptors. -1 with errno. */
static int
init_open(struct init *init)
{
	sigset_t all, ours;
	int null;

	do /* 0 to 2 are open, so that none of ours is among them */
		null = open("/dev/null", O_RDWR | O_CLOEXEC);
	while (null >= 0 && null <= STDERR_FILENO);
	(void)close_range(STDERR_FILENO + 1, ~0U, 0); /* what we inherited is nobody's business */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, NULL);
	(void)sigemptyset(&ours);
	(void)sigaddset(&ours, SIGCHLD);
	(void)sigaddset(&ours, SIGTERM);
	(void)sigaddset(&ours, SIGINT);
	(void)sigaddset(&ours, SIGPWR); /* LXC's word for halt */
	init->signal_fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
	init->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (init->signal_fd == -1 || init->timer_fd == -1 || pipe2(init->pipe, O_CLOEXEC) == -1)
		return -1;
	if (asprintf(&init->web, "%s/web", init->opt.etc) == -1 ||
	    asprintf(&init->env, "%s/env", init->opt.etc) == -1)
		return -1;
	return fcntl(init->pipe[0], F_SETFL, O_NONBLOCK);
}

int
main(int argc, char *argv[])
{
	struct init init = {0};

	options_parse(&init.opt, argc, argv);
	if (init_open(&init) == -1) {
		(void)fprintf(stderr, "starphleet-init: cannot begin: %s\n", strerror(errno));
		return EX_TEMPFAIL;
	}
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1); /* orphans come to us even where we are not 1 */
	loopback_up();
	output_open(&init.output, init.opt.log);
	if (access(init.web, F_OK) == 0)
		web_start(&init);
	loop(&init);
	return 0;
}
