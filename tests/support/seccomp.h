/*
 * seccomp.h - system calls that fail on purpose, by a filter that stays until the process ends
 *
 * For tests that run in a process of their own, and for wrappers that become another program. Source: seccomp(2).
 */
#ifndef COIL_TEST_SECCOMP_H
#define COIL_TEST_SECCOMP_H

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define SECCOMP_LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define SECCOMP_IF(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then, otherwise)
#define SECCOMP_IF_ANY(bits, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (uint32_t)(bits), then, otherwise)
#define SECCOMP_RETURN(action) BPF_STMT(BPF_RET | BPF_K, (uint32_t)(action))

/* 0, or -1 where the kernel has no filters. */
static inline int seccomp_install(struct sock_filter *code, size_t count)
{
    struct sock_fprog program = {.len = (unsigned short)count, .filter = code};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* From now on this process gets @error from the system call @number. */
static inline int forbid(int number, int error)
{
    struct sock_filter code[] = {
        SECCOMP_LOAD(nr),
        SECCOMP_IF(number, 0, 1),
        SECCOMP_RETURN(SECCOMP_RET_ERRNO | (unsigned)error),
        SECCOMP_RETURN(SECCOMP_RET_ALLOW),
    };
    return seccomp_install(code, sizeof code / sizeof *code);
}

/* Whether each test of Check has a process of its own: in a shared one a filter would stay. */
static inline bool forks(void)
{
    const char *word = getenv("CK_FORK");
    return !word || strcmp(word, "no") != 0;
}

#endif
