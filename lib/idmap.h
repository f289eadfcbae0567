/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_IDMAP_H
#define STARPHLEET_IDMAP_H

#include <sys/types.h>

#include "lib/failure.h"

/*
 * The ids of the ship that the ids 0 to 65535 of containers are: root's first range of at least
 * that many in /etc/subuid and /etc/subgid. Source: subuid(5).
 */
struct idmap {
	uid_t uid;
	gid_t gid;
};

enum { IDMAP_COUNT = 65536, IDMAP_USER = 1000 }; /* the service's user `ubuntu` in its container */

/* -1: *why (78) says which file wants a line, and which. */
int idmap_load(struct idmap *map, struct failure *why);

/* The directory path, made if missing, belongs to the user id of containers and has that mode. */
int idmap_dir(
    const struct idmap *map, uid_t id, const char *path, mode_t mode, struct failure *why);

/*
 * Make path (its directory exists) a new file with these bytes, owned by id of containers. It must
 * not exist: nothing that somebody else put there is followed or overwritten.
 */
int idmap_file(const struct idmap *map, uid_t id, const char *path, const char *text, size_t length,
    mode_t mode, struct failure *why);

/*
 * Copy the tree below from to the directory to (made, if missing), all owned by id of containers:
 * files, folders, symbolic links as they are, hard links as files of their own; no set-uid bit, no
 * device, no socket. from is not changed meanwhile.
 */
int idmap_copy(
    const struct idmap *map, uid_t id, const char *from, const char *to, struct failure *why);

#endif
