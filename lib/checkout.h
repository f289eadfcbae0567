/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CHECKOUT_H
#define STARPHLEET_CHECKOUT_H

#include "lib/git.h"

enum { CHECKOUT_FILES_MAX = 100000 };

/* A tree's submodules, as its commit names them. */
struct submodule {
	char *path; /* below the tree */
	char *url; /* as .gitmodules has it */
	char commit[GIT_COMMIT + 1];
};

/* What one checkout may still write, its submodules included. */
struct budget {
	long files;
	long long bytes;
};

struct submodules {
	struct submodule *list;
	size_t count;
	bool described; /* the commit has a .gitmodules */
};

void submodules_clear(struct submodules *submodules);

#define auto_submodules __attribute__((cleanup(submodules_clear)))

/*
 * Write the files of commit, which is in git->directory, into the directory into, without its
 * submodules, which are listed in *submodules. Nothing is written if it passes *budget, which is
 * lowered. EX_CONFIG: it will never do, with these limits. No hook, no filter, no `.git`. The
 * caller holds the repository's lock.
 */
int checkout(const struct git *git, const char *commit, const char *into, struct budget *budget,
    struct submodules *submodules, struct failure *why);

#endif
