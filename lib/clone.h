/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_CLONE_H
#define STARPHLEET_CLONE_H

#include "lib/checkout.h"
#include "lib/fetch.h"
#include "lib/repository.h"

/*
 * Fetch what wanted means into <home>/git and write its files to the directory into, which is made
 * anew. A clone that is missing, of another URL, or that seems to be corrupt is made anew beside
 * and swapped, a corrupt one at most once a minute. The caller holds <home>/lock.
 */
int clone_checkout(const struct repository *repository, struct wanted *wanted, const char *into,
    struct budget *budget, struct submodules *submodules, struct failure *why);

#endif
