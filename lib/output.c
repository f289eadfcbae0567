/* SPDX-License-Identifier: MIT */
#include "lib/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Open the file if it is not open. O_NOFOLLOW, O_NONBLOCK and the look at its type: whatever
 * somebody puts there in its place (a link, a FIFO), nothing else is written and nothing blocks.
 */
static int
open_file(struct output *output)
{
	struct stat status;
	int fd;

	if (output->fd != -1)
		return 0;
	fd = open(output->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
	    0640);
	if (fd == -1)
		return -1;
	if (fstat(fd, &status) == -1 || !S_ISREG(status.st_mode)) {
		(void)close(fd);
		errno = EINVAL;
		return -1;
	}
	output->fd = fd;
	output->size = (size_t)status.st_size;
	return 0;
}

/* FILE becomes FILE.1. If it cannot be renamed it is not added to either: the bound holds. */
static int
rotate(struct output *output)
{
	char old[4096];
	int length = snprintf(old, sizeof(old), "%s.1", output->path);

	if (length < 0 || (size_t)length >= sizeof(old)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (rename(output->path, old) == -1 && errno != ENOENT)
		return -1;
	(void)close(output->fd);
	output->fd = -1;
	return open_file(output);
}

/* Write what the disk takes of data; the number of bytes that it took. */
static size_t
put(struct output *output, const char *data, size_t length)
{
	size_t done = 0;

	while (done < length) {
		size_t part = length - done;
		ssize_t written;

		if (output->path != NULL) {
			if (open_file(output) == -1)
				break;
			if (output->size >= OUTPUT_MAX && rotate(output) == -1)
				break;
			if (output->size < OUTPUT_MAX && part > OUTPUT_MAX - output->size)
				part = OUTPUT_MAX - output->size;
		}
		written = write(output->fd, data + done, part);
		if (written == -1 && errno == EINTR)
			continue;
		if (written <= 0)
			break;
		done += (size_t)written;
		output->size += (size_t)written;
		output->mid_line = data[done - 1] != '\n';
	}
	return done;
}

/* Once there is room again, say how much is missing, before what comes next. */
static void
note_lost(struct output *output)
{
	char line[160];
	int length;

	if (output->lost == 0)
		return;
	length = snprintf(line, sizeof(line), "%sstarphleet-init: %zu bytes of output lost: %s\n",
	    output->mid_line ? "\n" : "", output->lost, strerror(output->lost_errno));
	/* A part of the note may get through on a full disk; it is repeated whole. */
	if (length > 0 && put(output, line, (size_t)length) == (size_t)length)
		output->lost = 0;
}

void
output_open(struct output *output, const char *path)
{
	memset(output, 0, sizeof(*output));
	output->path = path;
	output->fd = path != NULL ? -1 : STDERR_FILENO;
	if (path != NULL)
		(void)open_file(output);
}

void
output_write(struct output *output, const char *data, size_t length)
{
	size_t kept = 0;

	note_lost(output);
	if (output->lost == 0)
		kept = put(output, data, length);
	if (kept < length) {
		output->lost += length - kept;
		output->lost_errno = errno;
	}
}

void
output_note(struct output *output, const char *format, ...)
{
	char text[512];
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(text, sizeof(text), format, arguments); /* a cut note is still a note */
	va_end(arguments);
	note_lost(output);
	if (output->mid_line)
		output_write(output, "\n", 1);
	output_write(output, "starphleet-init: ", 17);
	output_write(output, text, strlen(text));
	output_write(output, "\n", 1);
}
