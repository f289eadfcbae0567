/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ORDERS_VIEW_H
#define STARPHLEET_ORDERS_VIEW_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/digest.h"
#include "lib/failure.h"

/*
 * What an order may see of its headquarters: its own directory, without orders nested in it; and
 * what belongs to nobody: files and directories that are neither orders (or remotes), nor lie in
 * one, nor are reserved, nor begin with a dot (but for .starphleet). A view names it as few pieces
 * as possible: a directory with nothing to hide below it is one piece; or all its files.
 */
enum view_kind { VIEW_DIRECTORY, VIEW_FILE, VIEW_PROGRAM, VIEW_LINK };
enum view_grain { VIEW_PIECES, VIEW_FILES };

struct view {
	char *
	    *paths; /* below the headquarters, without a leading slash, in an order of their own */
	enum view_kind *kinds;
	size_t count;
};

void view_clear(struct view *view);
#define auto_view __attribute__((cleanup(view_clear)))

/* The pieces of the headquarters top that all orders see. -1: *why. */
int view_shared(struct view *view, const char *top, enum view_grain grain, struct failure *why);

/* The pieces of the order's own directory ("" is the headquarters itself). -1: *why. */
int view_own(struct view *view, const char *top, const char *order, enum view_grain grain,
    struct failure *why);

/*
 * Add names, executability and contents of a view of files to digest: what comes out depends on
 * nothing that is hidden. -1: *why.
 */
int view_digest(
    const struct view *view, const char *top, struct digest *digest, struct failure *why);

#endif
