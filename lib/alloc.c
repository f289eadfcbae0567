/* SPDX-License-Identifier: MIT */
#include "lib/alloc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

static void *
or_end(void *memory)
{
	if (memory == NULL) {
		fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
		exit(EX_TEMPFAIL);
	}
	return memory;
}

void *
xcalloc(size_t count, size_t size)
{
	return or_end(calloc(count == 0 ? 1 : count, size == 0 ? 1 : size));
}

void *
xreallocarray(void *old, size_t count, size_t size)
{
	return or_end(reallocarray(old, count == 0 ? 1 : count, size == 0 ? 1 : size));
}

char *
xstrdup(const char *text)
{
	return or_end(strdup(text));
}

char *
xstrndup(const char *text, size_t length)
{
	return or_end(strndup(text, length));
}

char *
xasprintf(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	return or_end(length < 0 ? NULL : text);
}
