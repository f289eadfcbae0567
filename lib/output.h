/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_OUTPUT_H
#define STARPHLEET_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A service's output on disk, bounded whatever the service prints: at OUTPUT_MAX bytes the file
 * becomes FILE.1 and a new one begins, so that there are never more than twice that. Bytes are kept
 * as they are. What the disk has no room for is dropped and counted, and the count noted once there
 * is room again. Needs only libc, since it lives in containers.
 */
enum { OUTPUT_MAX = 1024 * 1024 };

struct output {
	const char *path; /* NULL: standard error, unbounded */
	int fd; /* -1: not open, tried again at each write */
	size_t size;
	bool mid_line; /* the last byte written was no newline */
	size_t lost; /* bytes dropped since the last note of it */
	int lost_errno; /* why */
};

/* Begin to write to path (NULL: standard error), behind what is there. path is borrowed. */
void output_open(struct output *output, const char *path);

/* Write raw bytes; never fails: what cannot be kept is dropped. */
void output_write(struct output *output, const char *data, size_t length);

/* Write a line of our own, "starphleet-init: text", beginning a new line first where need be. */
void output_note(struct output *output, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
