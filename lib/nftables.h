/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_NFTABLES_H
#define STARPHLEET_NFTABLES_H

#include <stdbool.h>

#include <jansson.h>

#include "lib/failure.h"

/*
 * Run commands in nft(8)'s language as one transaction: all of them or none. They must be made of
 * validated names and numbers only. EX_TEMPFAIL, with nft's own words, if the kernel refuses.
 * output (may be NULL) receives what they print, without counters and without the elements of
 * sets and maps; free() it.
 */
int nftables_run(const char *commands, char **output, struct failure *why);

/* The answer to one listing command as libnftables-json(5) has it; the caller owns it. */
json_t *nftables_list(const char *command, struct failure *why);

#endif
