/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_MAKING_H
#define STARPHLEET_MAKING_H

#include "lib/failure.h"

/*
 * A folder in the making: it gets its name when it is whole and synced, so nobody ever finds half
 * of it. Its maker holds a lock on it; what is not locked was left by one that was killed, and goes
 * when the next is made beside it.
 */
struct making {
	char *path; /* <folder>/.tmp.starphleet.XXXXXX, mode 0700; NULL: none */
	int lock;
};

/* Begin one in folder, made if missing (0711). Release with making_discard, always. */
int making_begin(const char *folder, struct making *making, struct failure *why);

/*
 * Sync it and give it its final name. 0: so be it; 1: something of that name is there already, and
 * making is as it was; -1: *why.
 */
int making_finish(struct making *making, const char *final, struct failure *why);

/* Remove it, unless it was finished. */
void making_discard(struct making *making);

#define auto_making __attribute__((cleanup(making_discard)))

/*
 * Remove the folder path, whole or not at all to the eyes of others: first it loses its name. What
 * is not there is fine.
 */
int making_undo(const char *path, struct failure *why);

#endif
