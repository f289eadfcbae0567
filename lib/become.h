/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BECOME_H
#define STARPHLEET_BECOME_H

#include <stddef.h>
#include <sys/types.h>

/*
 * How process 1 of a container turns a child of its own into the service. Needs only libc, and of
 * it nothing that loads modules, since it lives, linked statically, in other systems' containers.
 */
enum { BECOME_GROUPS_MAX = 64, BECOME_ENV_MAX = 1024 * 1024 };

struct become_user {
	uid_t uid;
	gid_t gid;
	gid_t groups[BECOME_GROUPS_MAX]; /* gid and those that name the user; more are left out */
	size_t group_count;
};

/* Look name up in /etc/passwd and /etc/group. -1 with errno; ENOENT: there is no such user. */
int become_user_find(struct become_user *user, const char *name);

/*
 * The NAME=value entries of path (separated by NUL, at most BECOME_ENV_MAX bytes in all), as an
 * array for execve in one piece: free() it. NULL with errno.
 */
char **become_environment(const char *path);

/*
 * In a forked child: run program as user in directory with exactly environment, standard input
 * /dev/null, standard output and error to output_fd, no other descriptor, in a session of its own
 * with default signals. Returns only if that failed: the object at fault, and errno.
 */
const char *become(const char *program, const char *directory, const struct become_user *user,
    char *environment[], int output_fd);

#endif
