/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_APT_H
#define STARPHLEET_APT_H

#include "lib/failure.h"

/*
 * What this machine's apt is configured with: the base layer is made from the same mirror. Sources:
 * sources.list(5), apt.conf(5).
 */
struct apt {
	char *id; /* os-release: debian, ubuntu */
	char *codename; /* bookworm */
	char *sources; /* one-line entries, each with its newline: the distribution's own suites
			  only */
	char *keys; /* files that the entries are signed by, a line each */
	char *proxies; /* lines of apt.conf; "" if it uses none */
};

/* Read it. -1: *why (78), also if no entry of the distribution itself is among the sources. */
int apt_load(struct apt *apt, struct failure *why);
void apt_clear(struct apt *apt);

#define auto_apt __attribute__((cleanup(apt_clear)))

#endif
