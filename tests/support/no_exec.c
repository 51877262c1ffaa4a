/*
 * no_exec.c - runs a program that cannot start another
 *
 * no_exec PROGRAM ARGUMENT... becomes PROGRAM under a filter that kills a process which calls execve or execveat. The one
 * call that makes it PROGRAM is let through by the address of its argument, which means nothing in the new program. Ends
 * with 77 where the kernel refuses filters. PROGRAM is a path. Source: seccomp(2).
 */
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SKIPPED = 77, BROKEN = 126 };

#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define LOAD_HIGH(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member) + sizeof(uint32_t))
#define GO_ON_IF(value, then, otherwise) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(value), then, otherwise)
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, action)

/* Jumps count from the next line on. Both architectures of coil are little-endian. */
static int forbid_exec_but_of(const char *path)
{
    struct sock_filter filter[] = {
        /* 0 */ LOAD(nr),
        /* 1 */ GO_ON_IF(__NR_execveat, 6, 0), /* kill */
        /* 2 */ GO_ON_IF(__NR_execve, 0, 4),   /* another call: allow */
        /* 3 */ LOAD(args[0]),
        /* 4 */ GO_ON_IF((uintptr_t)path, 0, 3),
        /* 5 */ LOAD_HIGH(args[0]),
        /* 6 */ GO_ON_IF((uintptr_t)path >> 32, 0, 1),
        /* 7 */ RETURN(SECCOMP_RET_ALLOW),
        /* 8 */ RETURN(SECCOMP_RET_KILL_PROCESS),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof filter[0], .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: %s PROGRAM ARGUMENT...\n", argv[0]);
        return BROKEN;
    }
    if (forbid_exec_but_of(argv[1]) < 0) {
        perror("skipped, no seccomp filters here");
        return SKIPPED;
    }
    execv(argv[1], argv + 1);
    perror(argv[1]);
    return BROKEN;
}
