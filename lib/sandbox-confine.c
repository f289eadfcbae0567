/* SPDX-License-Identifier: MIT */
#include "lib/sandbox-confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <seccomp.h>

#include "lib/alloc.h"
#include "lib/own.h"

/*
 * System calls that no orders file and no bin/detect needs, and in which kernels had, or will have,
 * their holes; and those that take memory which no limit counts (memfd_create, sockets, System V
 * shared memory). A list of what is denied, since any program may run here and libc changes.
 */
static const int denied[] = {
    SCMP_SYS(acct),
    SCMP_SYS(add_key),
    SCMP_SYS(adjtimex),
    SCMP_SYS(bpf),
    SCMP_SYS(chroot),
    SCMP_SYS(clock_adjtime),
    SCMP_SYS(clock_settime),
    SCMP_SYS(delete_module),
    SCMP_SYS(fanotify_init),
    SCMP_SYS(finit_module),
    SCMP_SYS(fsconfig),
    SCMP_SYS(fsmount),
    SCMP_SYS(fsopen),
    SCMP_SYS(fspick),
    SCMP_SYS(init_module),
    SCMP_SYS(inotify_init),
    SCMP_SYS(inotify_init1),
    SCMP_SYS(io_setup),
    SCMP_SYS(io_uring_enter),
    SCMP_SYS(io_uring_register),
    SCMP_SYS(io_uring_setup),
    SCMP_SYS(ioperm),
    SCMP_SYS(iopl),
    SCMP_SYS(kcmp),
    SCMP_SYS(kexec_file_load),
    SCMP_SYS(kexec_load),
    SCMP_SYS(keyctl),
    SCMP_SYS(lookup_dcookie),
    SCMP_SYS(mbind),
    SCMP_SYS(memfd_create),
    SCMP_SYS(memfd_secret),
    SCMP_SYS(migrate_pages),
    SCMP_SYS(mount),
    SCMP_SYS(mount_setattr),
    SCMP_SYS(move_mount),
    SCMP_SYS(move_pages),
    SCMP_SYS(mq_open),
    SCMP_SYS(msgget),
    SCMP_SYS(name_to_handle_at),
    SCMP_SYS(nfsservctl),
    SCMP_SYS(open_by_handle_at),
    SCMP_SYS(open_tree),
    SCMP_SYS(perf_event_open),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(pivot_root),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(ptrace),
    SCMP_SYS(quotactl),
    SCMP_SYS(quotactl_fd),
    SCMP_SYS(reboot),
    SCMP_SYS(request_key),
    SCMP_SYS(semget),
    SCMP_SYS(set_mempolicy),
    SCMP_SYS(setdomainname),
    SCMP_SYS(sethostname),
    SCMP_SYS(setns),
    SCMP_SYS(settimeofday),
    SCMP_SYS(shmget),
    SCMP_SYS(socket),
    SCMP_SYS(socketpair),
    SCMP_SYS(swapoff),
    SCMP_SYS(swapon),
    SCMP_SYS(syslog),
    SCMP_SYS(umount2),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(vhangup),
    SCMP_SYS(vmsplice),
};

/* Namespaces by clone(2); CLONE_NEWTIME is 0x80. */
static const unsigned int clone_flags[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
    CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET, 0x80};

static int
add_rules(scmp_filter_ctx context)
{
	for (size_t i = 0; i < sizeof denied / sizeof *denied; i++) {
		/* Negative beyond the pseudo numbers: this libseccomp does not know the call. */
		if (seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), denied[i], 0) < 0 &&
		    denied[i] >= 0)
			return -1;
	}
	for (size_t i = 0; i < sizeof clone_flags / sizeof *clone_flags; i++)
		if (seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
			SCMP_A0(SCMP_CMP_MASKED_EQ, clone_flags[i], clone_flags[i])) < 0)
			return -1;
	/* Its flags lie in memory, where no filter sees them; libc then takes clone. */
	if (seccomp_rule_add(context, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0) < 0)
		return -1;
	/* A run must not outlive us. */
	if (seccomp_rule_add(context, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(prctl), 1,
		SCMP_A0(SCMP_CMP_EQ, PR_SET_PDEATHSIG)) < 0)
		return -1;
	return 0;
}

int
sandbox_filter_make(struct sandbox_filter *filter)
{
	scmp_filter_ctx context = seccomp_init(SCMP_ACT_ALLOW);
	auto_close int fd = memfd_create("filter", MFD_CLOEXEC);
	struct stat st;
	int result = -1;

	*filter = (struct sandbox_filter){0};
	errno = ENOMEM;
	if (context != NULL && fd != -1 && add_rules(context) == 0 &&
	    seccomp_export_bpf(context, fd) == 0 && fstat(fd, &st) == 0) {
		filter->code = xcalloc((size_t)st.st_size, 1);
		filter->length = (unsigned short)((size_t)st.st_size / sizeof *filter->code);
		if (pread(fd, filter->code, (size_t)st.st_size, 0) == st.st_size)
			result = 0;
	}
	if (context != NULL)
		seccomp_release(context);
	return result;
}

unsigned int
sandbox_uid(void)
{
	/*
	 * A uid for each run, so that limits on processes count one run, and no signal and no /proc
	 * file crosses to another; by our pid, for we wait for one run at a time. The range is
	 * nobody's: above those that containers get by convention, below those that programs take
	 * for negative. pid_max is at most 2^22.
	 */
	return 0x70000000U + (unsigned int)getpid();
}

/* Lower a limit; a hard limit that is lower already stays. */
static int
limit(__rlimit_resource_t resource, rlim_t value)
{
	struct rlimit old;

	if (getrlimit(resource, &old) == -1)
		return -1;
	if (old.rlim_max != RLIM_INFINITY && value > old.rlim_max)
		value = old.rlim_max;
	return setrlimit(resource, &(struct rlimit){value, value});
}

static int
set_limits(const struct sandbox_run *run)
{
	if (run->memory_bytes != 0 && (limit(RLIMIT_AS, run->memory_bytes) == -1 ||
					  limit(RLIMIT_DATA, run->memory_bytes) == -1))
		return -1;
	if (limit(RLIMIT_CPU, (rlim_t)run->cpu_s) == -1 ||
	    limit(RLIMIT_NPROC, run->processes) == -1 || limit(RLIMIT_FSIZE, 0) == -1 ||
	    limit(RLIMIT_NOFILE, 64) == -1 || limit(RLIMIT_CORE, 0) == -1 ||
	    limit(RLIMIT_MEMLOCK, 0) == -1 || limit(RLIMIT_MSGQUEUE, 0) == -1 ||
	    limit(RLIMIT_SIGPENDING, 64) == -1)
		return -1;
	return 0;
}

int
sandbox_confine(const struct sandbox_run *run, const struct sandbox_filter *filter,
    unsigned int uid, struct sandbox_trouble *trouble)
{
	const struct sock_fprog program = {.len = filter->length, .filter = filter->code};
	gid_t gid = uid;

	for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0;
	     capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == -1)
			return sandbox_trouble(trouble, "cannot drop", "capabilities");
	if (set_limits(run) == -1)
		return sandbox_trouble(trouble, "cannot set", "limits");
	/* Leaving uid 0 empties the effective, permitted, ambient capabilities: capabilities(7). */
	if (setgroups(0, NULL) == -1 || setresgid(gid, gid, gid) == -1 ||
	    setresuid(uid, uid, uid) == -1)
		return sandbox_trouble(trouble, "cannot become", "an unprivileged user");
	if (setuid(0) != -1 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
		return sandbox_trouble(trouble, "cannot give up", "privileges");
	/* Only now: a change of uid clears it. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == -1)
		return sandbox_trouble(trouble, "cannot follow", "the parent");
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == -1)
		return sandbox_trouble(trouble, "cannot load", "the filter of system calls");
	return 0;
}
