/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_RECORD_H
#define STARPHLEET_RECORD_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "lib/failure.h"

/*
 * Order records: one JSON object a line. A line that is no object, or longer than RECORD_LINE_MAX,
 * still gives one record: it holds only `error`, so that no line is ever lost on the way.
 */
enum { RECORD_LINE_MAX = 8 * 1024 * 1024 };

struct record_reader;

/* Read lines from fd, which the caller keeps. Free with record_reader_free. */
struct record_reader *record_reader_new(int fd);
void record_reader_free(struct record_reader *reader);

/*
 * The next record; the caller owns it. NULL at the end of the input, and with why->code set if the
 * input cannot be read. With wait false: NULL also when no whole line is there yet, told apart by
 * record_reader_ended.
 */
json_t *record_read(struct record_reader *reader, bool wait, struct failure *why);
bool record_reader_ended(const struct record_reader *reader);

/* Write record as one compact line and flush it. -1: *why (75): a full disk is a failure. */
int record_write(FILE *out, const json_t *record, struct failure *why);

/*
 * Set record's `error` to {tool, message, status} from *why; tool is this program's name, status
 * why->code (75 means that trying again may help). An error that is there already stays.
 */
void record_fail(json_t *record, const struct failure *why);

/* True if record carries an error. */
bool record_failed(const json_t *record);

/* The order's name ("" is the root order), lent; NULL if record has none. */
const char *record_order(const json_t *record);

/*
 * The string at a path of member names, as record_string(r, "service", "commit", NULL); lent; NULL
 * if any of them is missing or the last is no string.
 */
const char *record_string(const json_t *record, ...) __attribute__((sentinel));

/* As record_string, from `settings`; fallback (may be NULL) where it is missing or empty. */
const char *record_setting(const json_t *record, const char *name, const char *fallback);

/*
 * A whole number from `settings`, between low and high. Missing or empty: fallback. Else -1 cannot
 * be told from a value, so: 0 and *value, or -1 and *why names the setting and the range (78).
 */
int record_setting_number(const json_t *record, const char *name, long low, long high, long fallback,
    long *value, struct failure *why);

/* True if the member exists and is neither false, null nor "". */
bool record_flag(const json_t *record, const char *name);

#endif
