/* SPDX-License-Identifier: MIT */
#include "lib/answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/probe.h"

void
answer_init(struct answer *answer)
{
	*answer = (struct answer){.length = -1};
}

static void
is_bad(struct answer *answer, const char *bad)
{
	answer->state = ANSWER_BAD;
	answer->bad = bad;
}

/* "HTTP/1.1 200 OK" */
static void
take_status(struct answer *answer)
{
	const char *line = answer->line;

	if (strncmp(line, "HTTP/1.", 7) != 0 || strspn(line + 7, "0123456789") != 1 ||
	    line[8] != ' ' || line[9] < '1' || line[9] > '5' ||
	    strspn(line + 9, "0123456789") != 3 || (line[12] != ' ' && line[12] != '\0'))
		return is_bad(answer, "an answer that is not HTTP");
	answer->status = (line[9] - '0') * 100 + (line[10] - '0') * 10 + line[11] - '0';
}

/* "Content-Length: 5"; all other headers are as good as none. */
static void
take_header(struct answer *answer)
{
	static const char name[] = "content-length:";
	const char *value = answer->line + sizeof(name) - 1;
	long long length;
	char *end;

	if (strncasecmp(answer->line, name, sizeof(name) - 1) != 0)
		return;
	value += strspn(value, " \t");
	errno = 0;
	length = strtoll(value, &end, 10);
	if (end == value || *value < '0' || *value > '9' || errno != 0 ||
	    end[strspn(end, " \t")] != '\0' || (answer->length != -1 && answer->length != length))
		return is_bad(answer, "an answer with a bad Content-Length");
	answer->length = length;
}

/* The line at hand is complete. */
static void
take_line(struct answer *answer)
{
	if (answer->line_length > 0 && answer->line[answer->line_length - 1] == '\r')
		answer->line_length--;
	answer->line[answer->line_length] = '\0';
	if (answer->status == 0) {
		take_status(answer);
	} else if (answer->line_length > 0) {
		take_header(answer);
	} else if (answer->status < 200 && answer->status != 101) { /* the real one follows */
		answer->status = 0;
		answer->length = -1;
	} else {
		answer->state = ANSWER_BODY;
		if (answer->status < 200 || answer->status == 204 || answer->status == 304)
			answer->length = 0;
	}
	answer->line_length = 0;
}

void
answer_feed(struct answer *answer, const char *data, size_t length)
{
	size_t at = 0;

	for (; at < length && answer->state == ANSWER_HEAD; at++) {
		if (++answer->head_bytes > PROBE_HEADER_MAX)
			is_bad(answer, "an answer with more than 64 KiB of headers");
		else if (data[at] == '\n')
			take_line(answer);
		else if (answer->line_length < sizeof(answer->line) - 1)
			answer->line[answer->line_length++] = data[at];
	}
	if (answer->state != ANSWER_BODY)
		return;
	answer->body_bytes += length - at;
	if (answer->body_bytes >= PROBE_BODY_MAX ||
	    (answer->length != -1 && (unsigned long long)answer->length <= answer->body_bytes))
		answer->state = ANSWER_WHOLE;
}

void
answer_end(struct answer *answer)
{
	if (answer->state == ANSWER_BODY && answer->length == -1)
		answer->state = ANSWER_WHOLE;
	else if (answer->state == ANSWER_HEAD && answer->head_bytes == 0)
		is_bad(answer, "a connection closed without an answer");
	else if (answer->state == ANSWER_HEAD || answer->state == ANSWER_BODY)
		is_bad(answer, "an answer that broke off");
}
