/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_LISTENING_H
#define STARPHLEET_LISTENING_H

#include <sys/types.h>

/*
 * Where somebody listens for TCP in the network of process pid, as "127.0.0.1:3000, [::]:22"; "" if
 * nowhere. free() it. NULL if that cannot be known. Source: proc(5), /proc/[pid]/net/tcp.
 */
char *listening_at(pid_t pid);

#endif
