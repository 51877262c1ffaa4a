/*
 * old_kernel.h - this kernel, looking older than it is
 *
 * A filter turns io_uring_setup(2) and io_uring_register(2) into a signal, whose handler does what an older
 * kernel would: refuses flags it does not know, hides features, leaves requests out of the list. The call
 * itself it makes with a mark in an argument that the kernel does not look at, so that the filter lets it pass.
 * For tests in a process of their own.
 */
#ifndef COIL_TEST_OLD_KERNEL_H
#define COIL_TEST_OLD_KERNEL_H

#include <linux/io_uring.h>
#include <signal.h>
#include <ucontext.h>
#include <unistd.h>

#include "seccomp.h"

#define OLD_KERNEL_MARK 0x0c0117u

typedef struct old_kernel {
    uint32_t setup_flags; /* that it knows */
    uint32_t features;    /* that it has, of IORING_FEAT_... */
    unsigned last_op;     /* of the requests it knows */
    bool no_buffer_ring;
    bool no_regions;      /* registers no memory, as where RLIMIT_MEMLOCK is low */
} old_kernel;

static old_kernel old;
static unsigned old_regions_asked; /* how often it was to register memory */

static long old_setup(const long args[6])
{
    struct io_uring_params *p = (struct io_uring_params *)args[1];
    if (p->flags & ~old.setup_flags)
        return -EINVAL;
    long rc = syscall(SYS_io_uring_setup, args[0], p, 0, 0, 0, OLD_KERNEL_MARK);
    p->features &= old.features;
    return rc < 0 ? -errno : rc;
}

static long old_register(const long args[6])
{
    if (args[1] == IORING_REGISTER_PBUF_RING && old.no_buffer_ring)
        return -EINVAL;
    if (args[1] == IORING_REGISTER_BUFFERS_UPDATE && old.no_regions && ++old_regions_asked)
        return -ENOMEM;
    long rc = syscall(SYS_io_uring_register, args[0], args[1], args[2], args[3], 0, OLD_KERNEL_MARK);
    if (rc == 0 && args[1] == IORING_REGISTER_PROBE) {
        struct io_uring_probe *list = (struct io_uring_probe *)args[2];
        if (list->last_op > old.last_op)
            list->last_op = (uint8_t)old.last_op;
        for (unsigned i = old.last_op + 1; i < list->ops_len; i++)
            list->ops[i].flags = 0;
    }
    return rc < 0 ? -errno : rc;
}

/* Takes the arguments out of the interrupted context, and puts the result in. */
static void old_call(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;
    int saved = errno;
#if defined(__x86_64__)
    greg_t *r = u->uc_mcontext.gregs;
    const long args[6] = {r[REG_RDI], r[REG_RSI], r[REG_RDX], r[REG_R10], r[REG_R8], r[REG_R9]};
    r[REG_RAX] = info->si_syscall == SYS_io_uring_setup ? old_setup(args) : old_register(args);
#else
    unsigned long long *r = u->uc_mcontext.regs;
    const long args[6] = {(long)r[0], (long)r[1], (long)r[2], (long)r[3], (long)r[4], (long)r[5]};
    r[0] = (unsigned long long)(info->si_syscall == SYS_io_uring_setup ? old_setup(args) : old_register(args));
#endif
    (void)signal;
    errno = saved;
}

/* From now on io_uring is as @kernel has it. 0, or -1 where the kernel has no filters. */
static inline int look_like(old_kernel kernel)
{
    struct sigaction action = {.sa_sigaction = old_call, .sa_flags = SA_SIGINFO};
    struct sock_filter code[] = {
        /* 0 */ SECCOMP_LOAD(nr),
        /* 1 */ SECCOMP_IF(SYS_io_uring_setup, 1, 0),
        /* 2 */ SECCOMP_IF(SYS_io_uring_register, 0, 3), /* another call: allow */
        /* 3 */ SECCOMP_LOAD(args[5]),
        /* 4 */ SECCOMP_IF(OLD_KERNEL_MARK, 1, 0),
        /* 5 */ SECCOMP_RETURN(SECCOMP_RET_TRAP),
        /* 6 */ SECCOMP_RETURN(SECCOMP_RET_ALLOW),
    };
    old = kernel;
    if (sigaction(SIGSYS, &action, NULL) < 0)
        return -1;
    return seccomp_install(code, sizeof code / sizeof *code);
}

#endif
