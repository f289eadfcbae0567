/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_OWN_H
#define STARPHLEET_OWN_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <jansson.h>

/*
 * Owning locals: a variable declared with one of these is released when its scope ends, whatever
 * return leaves it. Releases accept NULL and -1 and keep errno. They do not run on exec, _exit or
 * a signal. A result leaves its scope through steal().
 */
#define auto_free __attribute__((cleanup(own_free)))
#define auto_close __attribute__((cleanup(own_close)))
#define auto_fclose __attribute__((cleanup(own_fclose)))
#define auto_closedir __attribute__((cleanup(own_closedir)))
#define auto_json __attribute__((cleanup(own_json)))

/* The pointer that variable holds; the variable is NULL afterwards, so its release does nothing. */
#define steal(variable)                                                                            \
	({                                                                                         \
		__typeof__(variable) stolen_ = (variable);                                         \
		(variable) = NULL;                                                                 \
		stolen_;                                                                           \
	})

static inline void
own_free(void *place)
{
	int saved = errno;

	free(*(void **)place);
	errno = saved;
}

static inline void
own_close(const int *fd)
{
	int saved = errno;

	/* On Linux the number is free again even after EINTR: closing twice would hit a stranger. */
	if (*fd >= 0)
		(void)close(*fd);
	errno = saved;
}

static inline void
own_fclose(FILE **file)
{
	int saved = errno;

	if (*file != NULL)
		(void)fclose(*file);
	errno = saved;
}

static inline void
own_closedir(DIR **dir)
{
	int saved = errno;

	if (*dir != NULL)
		(void)closedir(*dir);
	errno = saved;
}

static inline void
own_json(json_t **json)
{
	json_decref(*json);
}

#endif
