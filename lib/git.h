/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_GIT_H
#define STARPHLEET_GIT_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/failure.h"
#include "lib/settings.h"
#include "lib/url.h"

/*
 * The git program, so tied up that a repository or a server cannot make it do anything but move
 * objects: see git.c. All functions end by deadline_ms.
 */
enum { GIT_COMMIT = 40 };

struct git_limits {
	long time_s; /* STARPHLEET_GIT_TIMEOUT: for one repository with its submodules; 60 */
	long size_mib; /* STARPHLEET_REPOSITORY_LIMIT: pack, and tree with its submodules; 2048 */
};

struct git {
	const struct settings *settings;
	const struct url *url;
	const char *directory; /* the bare repository; NULL where none is needed */
	long long deadline_ms; /* of state_now_ms() */
	long size_mib;
};

/* One run of git. */
struct git_command {
	const char *const *arguments; /* after "git"; ends with NULL */
	const char *index; /* NULL: none */
	const char *work_tree; /* NULL: none; else also the working directory */
	int output_fd; /* 0: to *output */
	long file_mib; /* no file it writes grows beyond that; 0: size_mib */
	bool remote; /* it speaks with url: errors are the other side's */
	bool alone; /* it starts no other program, and speaks with nobody */
};

/* Both limits from the environment. -1: *why names the variable and its range. */
int git_limits_load(struct git_limits *limits, struct failure *why);

/*
 * Run git. output (may be NULL) gets what it printed, with remote also its standard error; free()
 * it. -1: *why with git's own reason, EX_TEMPFAIL, or EX_CONFIG where a limit was passed.
 */
int git_run(
    const struct git *git, const struct git_command *command, char **output, struct failure *why);

/* True if that failure of git_run was its deadline. */
bool git_timed_out(const struct failure *why);

/* True if that failure was a repository beyond the limits, not to be tried again in vain. */
bool git_too_large(const struct failure *why);

/* True if text is 40 lower-case hex digits. */
bool git_is_commit(const char *text);

/* True if text may be the beginning of a commit id: 7 to 40 hex digits. */
bool git_is_abbreviation(const char *text);

#endif
