/* SPDX-License-Identifier: MIT */
#include "lib/failure.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/own.h"

/* The length of the UTF-8 sequence at text (RFC 3629: no overlong forms, no surrogates), or 0. */
static size_t
utf8_length(const unsigned char *text)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t rest;

	if (text[0] < 0x80)
		return 1;
	if (text[0] >= 0xc2 && text[0] <= 0xdf)
		rest = 1;
	else if (text[0] >= 0xe0 && text[0] <= 0xef)
		rest = 2;
	else if (text[0] >= 0xf0 && text[0] <= 0xf4)
		rest = 3;
	else
		return 0;
	switch (text[0]) {
	case 0xe0:
		low = 0xa0;
		break;
	case 0xed:
		high = 0x9f;
		break;
	case 0xf0:
		low = 0x90;
		break;
	case 0xf4:
		high = 0x8f;
		break;
	default:
		break;
	}
	for (size_t i = 1; i <= rest; i++) {
		if (text[i] < low || text[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return rest + 1;
}

char *
failure_printable(const char *text)
{
	const unsigned char *next = (const unsigned char *)text;
	char *copy = xcalloc(strlen(text) * 4 + 1, 1), *end = copy;

	while (*next != '\0') {
		size_t length = utf8_length(next);
		bool control = *next < 0x20 || *next == 0x7f || (*next == 0xc2 && length == 2 && next[1] < 0xa0);

		if (length == 0 || control) {
			length = length == 0 ? 1 : length;
			for (size_t i = 0; i < length; i++)
				end += snprintf(end, 5, "\\x%02x", (unsigned int)next[i]);
		} else {
			memcpy(end, next, length);
			end += length;
		}
		next += length;
	}
	*end = '\0';
	return copy;
}

int
fail(struct failure *why, int code, const char *what, const char *object, const char *reason)
{
	auto_free char *text = xasprintf("%s%s%s%s%s", what, object == NULL ? "" : ": ",
	    object == NULL ? "" : object, reason == NULL ? "" : ": ", reason == NULL ? "" : reason);
	char *message = failure_printable(text); /* before the release: arguments may lie in *why */

	failure_clear(why);
	why->code = code;
	why->message = message;
	return -1;
}

void
failure_clear(struct failure *why)
{
	int saved = errno;

	free(why->message);
	why->message = NULL;
	why->code = 0;
	errno = saved;
}

int
failure_report(const struct failure *why)
{
	fprintf(stderr, "%s: %s\n", program_invocation_short_name,
	    why->message == NULL ? "failed without a reason" : why->message);
	return why->code == 0 ? EX_SOFTWARE : why->code;
}

int
failure_code_of_errno(int error)
{
	switch (error) {
	case EAGAIN:
	case EBUSY:
	case EDQUOT:
	case EINTR:
	case EIO:
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case ENOSPC:
	case EROFS:
	case ESTALE:
	case ETIMEDOUT:
		return EX_TEMPFAIL;
	default:
		return EX_CONFIG;
	}
}
