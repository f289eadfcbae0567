/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_FILE_H
#define STARPHLEET_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/failure.h"

/*
 * Replace path by a file that holds the length bytes of data, with that mode: a unique temporary
 * beside it, fsync, rename, fsync of the directory. Readers see the old or the new file, never a
 * part, and so does the next boot. On failure nothing has changed and the temporary is gone.
 */
int file_replace(const char *path, const void *data, size_t length, mode_t mode, struct failure *why);

/*
 * The whole content of path, with a NUL behind it; free() it. *length (may be NULL) is its size.
 * NULL: *why is set; where the file does not exist, why->code is 0 and why->message NULL, for
 * absence is often an answer. Larger than limit bytes is a failure (EX_CONFIG).
 */
char *file_read(const char *path, size_t limit, size_t *length, struct failure *why);

/* Remove path and fsync its directory; a file that is not there is fine. */
int file_remove(const char *path, struct failure *why);

/* fsync the directory that holds path, so that a rename or unlink of path outlives a power cut. */
int dir_sync_parent(const char *path, struct failure *why);

/* Make the directory path and its missing parents, with mode for those made; existing is fine. */
int dir_make(const char *path, mode_t mode, struct failure *why);

/*
 * Remove path and all below it, never following a symbolic link and never crossing into another
 * file system's mount. A path that is not there is fine.
 */
int tree_remove(const char *path, struct failure *why);

/* True if path exists (itself, not what a symbolic link leads to). */
bool path_exists(const char *path);

/*
 * Take an exclusive lock on the file path, made if missing (its directory too). With wait, blocks;
 * without, fails with EX_TEMPFAIL if somebody holds it. Returns a close-on-exec descriptor that
 * holds the lock until closed, or -1. Death of the holder releases it: no lock is ever stale.
 */
int lock_take(const char *path, bool wait, struct failure *why);

/* Write all bytes, through short writes and EINTR. -1 with errno. */
int write_all(int fd, const void *data, size_t length);

#endif
