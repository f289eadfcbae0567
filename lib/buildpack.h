/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_BUILDPACK_H
#define STARPHLEET_BUILDPACK_H

#include <stdbool.h>

#include "lib/failure.h"
#include "lib/settings.h"

/*
 * Our buildpacks, folders of share/buildpacks with Heroku's classic interface: bin/detect BUILD,
 * bin/compile BUILD CACHE ENV, bin/release BUILD. Beside it, each optional: packages (names of the
 * distribution's packages, a line each) and bin/stack (run as root after them) make the stack
 * layer; source-only: there is nothing to compile, the tree as it is is the build.
 */
struct buildpack {
	char *name;
	char *dir;
	bool stack;
	bool source_only;
	char *release; /* what bin/release printed, of one that is source-only */
};

/*
 * The first one, in the order nodejs, python, ruby, static, whose bin/detect knows tree. It runs in
 * a sandbox. -1: *why; 78 names those that were tried.
 */
int buildpack_find(
    const struct settings *settings, const char *tree, struct buildpack *pack, struct failure *why);
void buildpack_clear(struct buildpack *pack);

#define auto_buildpack __attribute__((cleanup(buildpack_clear)))

/*
 * The command line that is the service: `web:` of the Procfile in tree, else what bin/release tells
 * for the process type web; free() it. tree is what came out of a build: nothing in it is trusted.
 * NULL: *why (78).
 */
char *buildpack_web(const struct buildpack *pack, const char *tree, struct failure *why);

#endif
