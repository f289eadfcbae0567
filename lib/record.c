/* SPDX-License-Identifier: MIT */
#include "lib/record.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "lib/alloc.h"
#include "lib/own.h"

struct record_reader {
	int fd;
	bool ended;
	bool skipping; /* within a line that was too long */
	size_t line;   /* lines begun so far, for messages */
	char *data;    /* data[start..end) has come and is not used yet */
	size_t start, end, room;
};

struct record_reader *
record_reader_new(int fd)
{
	struct record_reader *reader = xcalloc(1, sizeof *reader);

	reader->fd = fd;
	return reader;
}

void
record_reader_free(struct record_reader *reader)
{
	if (reader == NULL)
		return;
	free(reader->data);
	free(reader);
}

bool
record_reader_ended(const struct record_reader *reader)
{
	return reader->ended && reader->start == reader->end;
}

static json_t *
bad_record(size_t line, const char *reason)
{
	auto_failure struct failure why = {0};
	auto_free char *where = xasprintf("line %zu of the input", line);
	json_t *record = json_object();

	(void)fail(&why, EX_CONFIG, "not a record", where, reason);
	record_fail(record, &why);
	return record;
}

static json_t *
parse(const struct record_reader *reader, const char *text, size_t length)
{
	json_error_t error;
	json_t *record = json_loadb(text, length, JSON_REJECT_DUPLICATES, &error);

	if (record == NULL)
		return bad_record(reader->line, error.text);
	if (!json_is_object(record)) {
		json_decref(record);
		return bad_record(reader->line, "not a JSON object");
	}
	return record;
}

/* Read more. 1: something came; 0: nothing (now, or any more); -1 with *why. */
static int
fill(struct record_reader *reader, bool wait, struct failure *why)
{
	struct pollfd poll_fd = {.fd = reader->fd, .events = POLLIN};
	ssize_t got;

	if (!wait && poll(&poll_fd, 1, 0) <= 0)
		return 0;
	if (reader->start > 0) {
		memmove(reader->data, reader->data + reader->start, reader->end - reader->start);
		reader->end -= reader->start;
		reader->start = 0;
	}
	if (reader->room - reader->end < 65536) {
		reader->room = reader->room == 0 ? 65536 : reader->room * 2;
		reader->data = xreallocarray(reader->data, reader->room, 1);
	}
	do
		got = read(reader->fd, reader->data + reader->end, reader->room - reader->end);
	while (got == -1 && errno == EINTR);
	if (got == -1)
		return fail(why, EX_TEMPFAIL, "cannot read", "standard input", strerror(errno));
	reader->ended = got == 0;
	reader->end += (size_t)got;
	return got > 0;
}

json_t *
record_read(struct record_reader *reader, bool wait, struct failure *why)
{
	size_t looked = 0;

	failure_clear(why);
	for (;;) {
		size_t length = reader->end - reader->start;
		char *text = reader->data == NULL ? NULL : reader->data + reader->start;
		char *newline = length == looked ? NULL : memchr(text + looked, '\n', length - looked);
		bool last = newline == NULL && reader->ended && length > 0;

		if (newline != NULL || last) {
			size_t size = last ? length : (size_t)(newline - text);
			bool skipped = reader->skipping;

			reader->start += size + (last ? 0 : 1);
			reader->line++;
			reader->skipping = false;
			looked = 0;
			if (skipped || size > RECORD_LINE_MAX)
				return bad_record(reader->line, "longer than 8 MiB");
			if (size == 0)
				continue; /* an empty line is nobody's record */
			return parse(reader, text, size);
		}
		if (reader->ended)
			return NULL;
		if (length > RECORD_LINE_MAX) { /* remember that it was, forget what it was */
			reader->skipping = true;
			reader->start = reader->end = 0;
			length = 0;
		}
		looked = length;
		switch (fill(reader, wait, why)) {
		case -1:
			return NULL;
		case 0:
			if (!reader->ended)
				return NULL;
			if (reader->skipping && reader->start == reader->end) {
				reader->skipping = false;
				return bad_record(reader->line + 1, "longer than 8 MiB");
			}
			break;
		default:
			break;
		}
	}
}

int
record_write(FILE *out, const json_t *record, struct failure *why)
{
	auto_free char *text = json_dumps(record, JSON_COMPACT);

	if (text == NULL)
		return fail(why, EX_SOFTWARE, "cannot print a record", NULL, NULL);
	if (fputs(text, out) == EOF || fputc('\n', out) == EOF || fflush(out) == EOF)
		return fail(why, EX_TEMPFAIL, "cannot write", "standard output", strerror(errno));
	return 0;
}

void
record_fail(json_t *record, const struct failure *why)
{
	if (record_failed(record))
		return;
	(void)json_object_set_new(record, "error",
	    json_pack("{s:s, s:s, s:i}", "tool", program_invocation_short_name, "message",
		why->message == NULL ? "failed without a reason" : why->message, "status",
		why->code == 0 ? EX_SOFTWARE : why->code));
}

bool
record_failed(const json_t *record)
{
	return json_object_get(record, "error") != NULL;
}

const char *
record_order(const json_t *record)
{
	return json_string_value(json_object_get(record, "order"));
}

const char *
record_string(const json_t *record, ...)
{
	va_list names;
	const char *name;

	va_start(names, record);
	while ((name = va_arg(names, const char *)) != NULL)
		record = json_object_get(record, name);
	va_end(names);
	return json_string_value(record);
}

const char *
record_setting(const json_t *record, const char *name, const char *fallback)
{
	const char *value = record_string(record, "settings", name, NULL);

	return value == NULL || *value == '\0' ? fallback : value;
}

int
record_setting_number(const json_t *record, const char *name, long low, long high, long fallback,
    long *value, struct failure *why)
{
	const char *text = record_setting(record, name, NULL), *bad = NULL;
	auto_free char *what = NULL;

	*value = text == NULL ? fallback : (long)strtonum(text, low, high, &bad);
	if (bad == NULL)
		return 0;
	what = xasprintf("%s must be a whole number from %ld to %ld", name, low, high);
	return fail(why, EX_CONFIG, what, text, NULL);
}

bool
record_flag(const json_t *record, const char *name)
{
	const json_t *value = json_object_get(record, name);

	if (value == NULL || json_is_false(value) || json_is_null(value))
		return false;
	return !json_is_string(value) || json_string_length(value) > 0;
}
