/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_ANSWER_H
#define STARPHLEET_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

/*
 * An HTTP/1 answer as it trickles in, byte by byte from somebody hostile: its status, and whether
 * it is whole. Nothing is kept but the line at hand. Source: RFC 9112, sections 2.2, 4, 6.3, 9.6;
 * since we ask with "Connection: close", an answer without a Content-Length ends with the
 * connection.
 */
enum answer_state {
	ANSWER_HEAD, /* not all of the head is there */
	ANSWER_BODY,
	ANSWER_WHOLE, /* or so much of it that the rest does not matter */
	ANSWER_BAD, /* no HTTP, or more of a head than anybody needs */
};

struct answer {
	enum answer_state state;
	int status; /* 0: not known yet */
	size_t head_bytes, body_bytes;
	long long length; /* Content-Length; -1: none */
	const char *bad; /* what is wrong with it */
	char line[128]; /* the beginning of the line at hand */
	size_t line_length;
};

void answer_init(struct answer *answer);

/* Add bytes. */
void answer_feed(struct answer *answer, const char *data, size_t length);

/* The connection ended: WHOLE if that is how this answer ends. */
void answer_end(struct answer *answer);

#endif
