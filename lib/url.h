/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_URL_H
#define STARPHLEET_URL_H

#include <stdbool.h>

#include "lib/digest.h"
#include "lib/failure.h"

/*
 * The grammar of URL[#REF], checked before git, curl or ssh sees anything of it.
 *   https://[user[:password]@]host[:port]/path    http:// likewise
 *   ssh://[user@]host[:port]/path                 user@host:path
 *   file:///absolute/path                         only where the ship's settings allow it
 * REF is what git-check-ref-format(1) allows for a branch or tag, or a commit id.
 */
enum url_scheme { URL_HTTPS, URL_HTTP, URL_SSH, URL_FILE };

struct url {
	enum url_scheme scheme;
	char *text; /* what git is given: without credentials and #REF */
	char *shown; /* for people and records: credentials are ***, without #REF */
	char *secret; /* "user:password" as the server wants it (percent-decoded); NULL: none */
	char *whole; /* with credentials, without #REF: what relative submodules start from */
	char *ref; /* NULL: the remote's HEAD */
	char digest[DIGEST_HEX + 1]; /* of whole: names the repository's place */
};

/* Fill *url from given. -1: *why says what is wrong (EX_CONFIG), without any credential. */
int url_parse(struct url *url, const char *given, bool allow_file, struct failure *why);
void url_clear(struct url *url);

#define auto_url __attribute__((cleanup(url_clear)))

/* given without its credentials, whatever else it is, for messages and records; free() it. */
char *url_redact(const char *given);

/*
 * A submodule's URL as .gitmodules of the repository base has it: one that begins with ./ or ../ is
 * taken relative to base->whole (gitmodules(5)); free() it. It still has to pass url_parse.
 */
char *url_relative(const struct url *base, const char *given);

/* Why ref cannot be a branch, tag or commit, or NULL if it can. */
const char *url_ref_fault(const char *ref);

#endif
