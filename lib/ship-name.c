/* SPDX-License-Identifier: MIT */
#include "lib/ship-name.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "lib/alloc.h"
#include "lib/failure.h"
#include "lib/file.h"
#include "lib/own.h"

enum { KEY_MAX = 65536 };

static const char *const key_files[] = {"/etc/ssh/ssh_host_ed25519_key.pub",
    "/etc/ssh/ssh_host_ecdsa_key.pub", "/etc/ssh/ssh_host_rsa_key.pub"};

/* The fingerprint of a public key line ("ssh-ed25519 AAAA... comment"); NULL if it is none. */
static char *
fingerprint(const char *line)
{
	const char *blank = strchr(line, ' ');
	size_t length = blank == NULL ? 0 : strcspn(blank + 1, " \t\r\n");
	auto_free char *text = length == 0 ? NULL : xstrndup(blank + 1, length);
	auto_free unsigned char *blob = xcalloc(length + 4, 1);
	unsigned char hash[EVP_MAX_MD_SIZE];
	char *print = xcalloc(EVP_MAX_MD_SIZE * 2, 1);
	unsigned int hashed = 0;
	int size =
	    text == NULL ? -1 : EVP_DecodeBlock(blob, (const unsigned char *)text, (int)length);

	/* EVP_DecodeBlock counts the padding as zero bytes. */
	for (size_t i = length; size > 0 && i > 0 && text[i - 1] == '='; i--)
		size--;
	if (size <= 0 || EVP_Digest(blob, (size_t)size, hash, &hashed, EVP_sha256(), NULL) != 1) {
		free(print);
		return NULL;
	}
	(void)EVP_EncodeBlock((unsigned char *)print, hash, (int)hashed);
	print[strcspn(print, "=")] = '\0';
	return print;
}

char *
ship_name(void)
{
	char host[HOST_NAME_MAX + 1] = "";
	auto_failure struct failure ignored = {0};
	auto_free char *name = file_read("/etc/starphleet-name", KEY_MAX, NULL, &ignored);

	if (name != NULL)
		name[strcspn(name, "\r\n")] = '\0';
	if (name != NULL && *name != '\0')
		return steal(name);
	for (size_t i = 0; i < sizeof key_files / sizeof *key_files; i++) {
		auto_free char *line = file_read(key_files[i], KEY_MAX, NULL, &ignored);
		auto_free char *print = line == NULL ? NULL : fingerprint(line);

		if (print != NULL)
			return xasprintf("ship-%s", print);
	}
	(void)gethostname(host, sizeof host - 1);
	return xasprintf("ship-%s", host);
}
