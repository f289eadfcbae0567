/* SPDX-License-Identifier: MIT */
#ifndef STARPHLEET_SANDBOX_MEMORY_H
#define STARPHLEET_SANDBOX_MEMORY_H

#include <stddef.h>
#include <sys/types.h>

/*
 * The memory of pid and all processes below it, in bytes: their proportional set sizes
 * (proc_pid_smaps(5)), so that pages that many share are counted once. What cannot be read counts
 * as nothing. RLIMIT_AS bounds each process; this is for many that stay below it.
 */
size_t sandbox_memory(pid_t pid);

#endif
