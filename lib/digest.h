/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_DIGEST_H
#define STARPHLEET_DIGEST_H

#include <stddef.h>

/* A running SHA-256 (FIPS 180-4, by OpenSSL). */
struct digest;

enum { DIGEST_HEX = 64 };

struct digest *digest_new(void);
void digest_free(struct digest *digest);

/* Add bytes. */
void digest_add(struct digest *digest, const void *data, size_t length);

/* Add a string with its NUL, so that "a","bc" and "ab","c" differ. NULL counts as "". */
void digest_add_string(struct digest *digest, const char *text);

/*
 * Add the tree below path: names, types, permission bits' executability, contents, link targets, in
 * byte order of the names; neither owners nor times. A missing path adds a mark of its own.
 * -1 with errno if something cannot be read.
 */
int digest_add_tree(struct digest *digest, const char *path);

/* Finish: 64 lower-case hex digits into hex, and release the digest. */
void digest_end(struct digest *digest, char hex[static DIGEST_HEX + 1]);

/* The digest of one string (without its NUL). */
void digest_of_string(const char *text, char hex[static DIGEST_HEX + 1]);

#endif
