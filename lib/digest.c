/* SPDX-License-Identifier: MIT */
#include "lib/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "lib/alloc.h"
#include "lib/own.h"

struct digest {
	EVP_MD_CTX *context;
};

static void
check(int ok)
{
	/* SHA-256 of OpenSSL's default provider fails only without memory. */
	if (ok != 1) {
		fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
		exit(75);
	}
}

struct digest *
digest_new(void)
{
	struct digest *digest = xcalloc(1, sizeof *digest);

	digest->context = EVP_MD_CTX_new();
	check(digest->context != NULL);
	check(EVP_DigestInit_ex(digest->context, EVP_sha256(), NULL));
	return digest;
}

void
digest_free(struct digest *digest)
{
	if (digest == NULL)
		return;
	EVP_MD_CTX_free(digest->context);
	free(digest);
}

void
digest_add(struct digest *digest, const void *data, size_t length)
{
	check(EVP_DigestUpdate(digest->context, data, length));
}

void
digest_add_string(struct digest *digest, const char *text)
{
	text = text == NULL ? "" : text;
	digest_add(digest, text, strlen(text) + 1);
}

void
digest_end(struct digest *digest, char hex[static DIGEST_HEX + 1])
{
	unsigned char bytes[EVP_MAX_MD_SIZE];
	unsigned int length = 0;

	check(EVP_DigestFinal_ex(digest->context, bytes, &length));
	for (unsigned int i = 0; i < length && i < DIGEST_HEX / 2; i++)
		(void)snprintf(hex + (size_t)2 * i, 3, "%02x", (unsigned int)bytes[i]);
	digest_free(digest);
}

void
digest_of_string(const char *text, char hex[static DIGEST_HEX + 1])
{
	struct digest *digest = digest_new();

	digest_add(digest, text, strlen(text));
	digest_end(digest, hex);
}

static int
by_bytes(const void *left, const void *right)
{
	return strcmp(*(char *const *)left, *(char *const *)right);
}

static int
add_file(struct digest *digest, int fd)
{
	char buffer[65536];
	ssize_t got;

	while ((got = read(fd, buffer, sizeof buffer)) != 0) {
		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			return -1;
		digest_add(digest, buffer, (size_t)got);
	}
	return 0;
}

static int add_entry(struct digest *digest, int dirfd, const char *name);

static void
free_names(char **names, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(names[i]);
	free(names);
}

/* Takes fd, a directory's. */
static int
add_directory(struct digest *digest, int fd)
{
	auto_closedir DIR *dir = fdopendir(fd);
	char **names = NULL;
	size_t count = 0;
	struct dirent *entry;
	int result = 0;

	if (dir == NULL) {
		int saved = errno;

		(void)close(fd);
		errno = saved;
		return -1;
	}
	while ((entry = readdir(dir)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		names = xreallocarray(names, count + 1, sizeof *names);
		names[count++] = xstrdup(entry->d_name);
	}
	if (count > 0)
		qsort(names, count, sizeof *names, by_bytes);
	for (size_t i = 0; i < count && result == 0; i++)
		result = add_entry(digest, fd, names[i]);
	free_names(names, count);
	digest_add_string(digest, "end");
	return result;
}

static int
add_entry(struct digest *digest, int dirfd, const char *name)
{
	char target[4096];
	struct stat st;
	ssize_t length;
	int fd;

	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return -1;
	digest_add_string(digest, name);
	switch (st.st_mode & S_IFMT) {
	case S_IFLNK:
		length = readlinkat(dirfd, name, target, sizeof target - 1);
		if (length == -1)
			return -1;
		target[length] = '\0';
		digest_add_string(digest, "link");
		digest_add_string(digest, target);
		return 0;
	case S_IFREG: {
		auto_close int file = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		auto_free char *head =
		    xasprintf("file %s %lld", (st.st_mode & 0111) != 0 ? "x" : "-", (long long)st.st_size);

		digest_add_string(digest, head);
		return file == -1 ? -1 : add_file(digest, file);
	}
	case S_IFDIR:
		digest_add_string(digest, "directory");
		fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		return fd == -1 ? -1 : add_directory(digest, fd);
	default:
		digest_add_string(digest, "special");
		return 0;
	}
}

int
digest_add_tree(struct digest *digest, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd == -1 && errno == ENOENT) {
		digest_add_string(digest, "missing");
		return 0;
	}
	if (fd == -1)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		digest_add_string(digest, "directory");
		return add_directory(digest, fd);
	}
	{
		auto_close int file = fd;

		digest_add_string(digest, "file");
		return S_ISREG(st.st_mode) ? add_file(digest, file) : 0;
	}
}
