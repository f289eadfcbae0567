/* SPDX-License-Identifier: MIT */
#include "lib/become.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/own.h"

int
become_user_find(struct become_user *user, const char *name)
{
	auto_fclose FILE *passwords = fopen("/etc/passwd", "re");
	const struct passwd *account;
	const struct group *group;
	auto_fclose FILE *groups = NULL;

	if (passwords == NULL)
		return -1;
	do
		account = fgetpwent(passwords);
	while (account != NULL && strcmp(account->pw_name, name) != 0);
	if (account == NULL) {
		errno = ENOENT;
		return -1;
	}
	*user = (struct become_user){.uid = account->pw_uid,
	    .gid = account->pw_gid,
	    .groups = {account->pw_gid},
	    .group_count = 1};
	groups = fopen("/etc/group", "re");
	while (groups != NULL && (group = fgetgrent(groups)) != NULL)
		for (char **member = group->gr_mem; *member != NULL; member++)
			if (strcmp(*member, name) == 0 && user->group_count < BECOME_GROUPS_MAX)
				user->groups[user->group_count++] = group->gr_gid;
	return 0;
}

/* The whole of a small plain file, with a NUL behind it: free() it. NULL with errno. */
static char *
read_small(const char *path, size_t *size)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	auto_free char *text = NULL;
	struct stat status;

	if (fd == -1 || fstat(fd, &status) == -1)
		return NULL;
	if (!S_ISREG(status.st_mode) || status.st_size > BECOME_ENV_MAX) {
		errno = S_ISREG(status.st_mode) ? EFBIG : EINVAL;
		return NULL;
	}
	text = calloc(1, (size_t)status.st_size + 1);
	if (text == NULL)
		return NULL;
	for (*size = 0; *size < (size_t)status.st_size;) {
		ssize_t got = read(fd, text + *size, (size_t)status.st_size - *size);

		if (got == 0)
			break;
		if (got > 0)
			*size += (size_t)got;
		else if (errno != EINTR)
			return NULL;
	}
	return steal(text);
}

char **
become_environment(const char *path)
{
	size_t size = 0, count = 0;
	auto_free char *text = read_small(path, &size);
	char **entries, *copy;

	if (text == NULL)
		return NULL;
	for (size_t at = 0; at < size; at += strlen(text + at) + 1)
		count++;
	entries = malloc((count + 1) * sizeof(*entries) + size + 1);
	if (entries == NULL)
		return NULL;
	copy = memcpy(entries + count + 1, text, size + 1);
	count = 0;
	for (size_t at = 0; at < size; at += strlen(copy + at) + 1)
		if (strchr(copy + at, '=') != NULL)
			entries[count++] = copy + at;
	entries[count] = NULL;
	return entries;
}

const char *
become(const char *program, const char *directory, const struct become_user *user,
    char *environment[], int output_fd)
{
	char *argv[] = {(char *)(uintptr_t)program, NULL};
	sigset_t none;

	(void)setsid();
	if (dup2(output_fd, STDOUT_FILENO) == -1 || dup2(output_fd, STDERR_FILENO) == -1)
		return "its output";
	(void)close(STDIN_FILENO);
	if (open("/dev/null", O_RDONLY) != STDIN_FILENO)
		return "/dev/null";
	(void)close_range(STDERR_FILENO + 1, ~0U, 0);
	if (setgroups(user->group_count, user->groups) == -1 ||
	    setresgid(user->gid, user->gid, user->gid) == -1 ||
	    setresuid(user->uid, user->uid, user->uid) == -1)
		return "its user";
	if (chdir(directory) == -1)
		return directory;
	(void)umask(022);
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execve(program, argv, environment);
	return program;
}
