/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_FETCH_H
#define STARPHLEET_FETCH_H

#include "lib/git.h"

/* What a URL's REF means to the remote at this moment. */
struct wanted {
	char *name; /* full name, as refs/heads/main, or HEAD; NULL: only the commit is known */
	char *abbreviated; /* a commit's first digits, to be looked up in the history; else NULL */
	char commit[GIT_COMMIT + 1]; /* "" where abbreviated is set */
	char *
	    shown; /* for people: branch, tag or commit as asked for; of HEAD the branch it means */
};

void wanted_clear(struct wanted *wanted);

#define auto_wanted __attribute__((cleanup(wanted_clear)))

/*
 * Ask the remote for git->url's REF: a branch, else a tag (an annotated one stands for its commit),
 * else the beginning of a commit id; a whole id is not asked for. Needs no local repository.
 * -1: EX_TEMPFAIL if the remote gives no sensible answer, EX_CONFIG if it has nothing of that name.
 */
int fetch_ask(const struct git *git, struct wanted *wanted, struct failure *why);

/* True if the objects of wanted's commit are in git->directory already. */
bool fetch_has(const struct git *git, const char *commit);

/* Make git->directory an empty bare repository that knows whose clone it is. */
int fetch_init(const struct git *git, struct failure *why);

/* True if git->directory is a clone of git->url. */
bool fetch_is_clone(const struct git *git);

/*
 * Fetch what wanted means into git->directory: that commit alone where the server can, else the
 * whole history. wanted->commit becomes the commit that arrived, should the branch have moved on.
 */
int fetch_wanted(const struct git *git, struct wanted *wanted, struct failure *why);

#endif
