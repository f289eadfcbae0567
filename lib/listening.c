/* SPDX-License-Identifier: MIT */
#include "lib/listening.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "lib/alloc.h"
#include "lib/own.h"

enum { SOCKETS_MAX = 8, LINES_MAX = 4096, LISTENING = 0x0a };

/* The address as the kernel prints it, words of 32 bits in the machine's order, in our notation. */
static int
print_socket(FILE *out, const char *hex, unsigned int port, bool first)
{
	uint32_t words[4] = {0};
	size_t count = strlen(hex) / 8;
	char text[INET6_ADDRSTRLEN];

	if (strlen(hex) != 8 && strlen(hex) != 32)
		return -1;
	for (size_t i = 0; i < count; i++)
		if (sscanf(hex + i * 8, "%8" SCNx32, &words[i]) != 1)
			return -1;
	if (inet_ntop(count == 4 ? AF_INET6 : AF_INET, words, text, sizeof(text)) == NULL)
		return -1;
	return fprintf(out, count == 4 ? "%s[%s]:%u" : "%s%s:%u", first ? "" : ", ", text, port);
}

char *
listening_at(pid_t pid)
{
	static const char *const tables[] = {"tcp", "tcp6"};
	char *text = NULL;
	size_t size = 0;
	auto_fclose FILE *out = open_memstream(&text, &size);
	int found = 0;

	for (size_t i = 0; out != NULL && i < sizeof(tables) / sizeof(tables[0]); i++) {
		auto_free char *path = xasprintf("/proc/%d/net/%s", (int)pid, tables[i]);
		auto_fclose FILE *table = fopen(path, "re");
		char line[512], hex[33];
		unsigned int port, state;

		if (table == NULL && i == 0) { /* IPv6 may be off; the process may be gone */
			own_fclose(&out);
			out = NULL;
			free(text);
			return NULL;
		}
		for (int n = 0; table != NULL && n < LINES_MAX && found < SOCKETS_MAX &&
				fgets(line, sizeof(line), table) != NULL;
		     n++)
			if (sscanf(line, " %*d: %32[0-9A-F]:%x %*[0-9A-F]:%*x %x", hex, &port,
				&state) == 3 &&
			    state == LISTENING && print_socket(out, hex, port, found == 0) > 0)
				found++;
	}
	own_fclose(&out);
	out = NULL;
	return text;
}
