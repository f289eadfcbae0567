/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_REPOSITORY_H
#define STARPHLEET_REPOSITORY_H

#include <stdbool.h>

#include "lib/failure.h"
#include "lib/git.h"
#include "lib/settings.h"
#include "lib/url.h"

/*
 * A repository's place on the ship, <root>/repos/<digest of the URL> or <root>/headquarters:
 *   git/             bare clone; replaced as a whole if it is corrupt or of another URL
 *   trees/<commit>/  files of a commit, submodules included: made beside, synced, renamed in,
 *                    never changed after; its time says when it was last asked for (to 5 minutes)
 *   lock             held while git/ is worked on
 */
struct repository {
	const struct settings *settings;
	const struct url *url;
	const char *home;
	long long deadline_ms; /* of state_now_ms(); nothing goes on after it */
	long size_mib;
	bool pass_over; /* do not wait for another process that works on it */
};

struct tree {
	char *dir;
	char *commit;
	char *ref; /* as it was asked for; without #REF the branch that HEAD leads to */
};

void tree_clear(struct tree *tree);

#define auto_tree __attribute__((cleanup(tree_clear)))

/* <root>/repos/<digest>; free() it. */
char *repository_home(const struct settings *settings, const struct url *url);

/*
 * Ask the remote what its REF is now and see to it that the tree of that commit is there; if it is,
 * nothing is fetched. 0; 1 if passed over; -1: *why, and all trees are as they were.
 */
int repository_sync(const struct repository *repository, struct tree *tree, struct failure *why);

#endif
