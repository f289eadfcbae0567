/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ALLOC_H
#define STARPHLEET_ALLOC_H

#include <stddef.h>

/*
 * Allocation that does not fail: out of memory ends the tool with EX_TEMPFAIL (75). State on disk
 * is whole at every moment, so ending is the safe thing to do. free() what they return.
 */
void *xcalloc(size_t count, size_t size);
void *xreallocarray(void *old, size_t count, size_t size);
char *xstrdup(const char *text);
char *xstrndup(const char *text, size_t length);
char *xasprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
