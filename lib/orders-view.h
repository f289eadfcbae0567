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
 * as possible: a directory with nothing to hide below it is one piece.
 */
struct view {
	char **paths; /* below the headquarters, without a leading slash, sorted by directory */
	bool *links;  /* this piece is a symbolic link */
	size_t count;
};

void view_clear(struct view *view);
#define auto_view __attribute__((cleanup(view_clear)))

/* The pieces of the headquarters top that all orders see. -1: *why. */
int view_shared(struct view *view, const char *top, struct failure *why);

/* The pieces of the order's own directory ("" is the headquarters itself). -1: *why. */
int view_own(struct view *view, const char *top, const char *order, struct failure *why);

/* Add names and contents of all pieces to digest. -1: *why. */
int view_digest(const struct view *view, const char *top, struct digest *digest, struct failure *why);

#endif
