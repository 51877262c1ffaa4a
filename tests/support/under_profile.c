/*
 * under_profile.c - runs a program under the filter that a container's seccomp profile stands for
 *
 * under_profile RULES PROGRAM ARGUMENT... becomes PROGRAM. RULES is what tests/seccomp.sh makes of a profile: a
 * line for each system call,
 *
 *     rule NUMBER ACTION ERROR INDEX VALUE VALUE_TWO OPERATION        the last four are "-" without a condition
 *
 * What no rule lets through fails with EPERM, as the profile's defaultErrnoRet says. Ends with 77 where the
 * kernel has no filters. Source: seccomp(2), seccomp_rule_add(3).
 */
#include <stdio.h>
#include <unistd.h>

#include "seccomp.h"

enum { SKIPPED = 77, BROKEN = 126 };

#if defined(__x86_64__)
#define NATIVE AUDIT_ARCH_X86_64
#else
#define NATIVE AUDIT_ARCH_AARCH64
#endif

static struct sock_filter code[4096 - 16]; /* the kernel's limit, and room for one rule */
static size_t count;

static void add(struct sock_filter instruction)
{
    code[count++] = instruction;
}

#define ADD(macro) add((struct sock_filter)macro)

/* (argument & @mask) == @value, of the low half: masks have no bits in the high one. */
static void add_masked(unsigned number, unsigned index, uint32_t mask, uint32_t value, uint32_t action)
{
    ADD(SECCOMP_IF(number, 0, 5));
    ADD(SECCOMP_LOAD(args[0]));
    code[count - 1].k += 8 * index;
    ADD(BPF_STMT(BPF_ALU | BPF_AND | BPF_K, mask));
    ADD(SECCOMP_IF(value, 0, 1));
    ADD(SECCOMP_RETURN(action));
    ADD(SECCOMP_LOAD(nr));
}

/* argument != @value */
static void add_unequal(unsigned number, unsigned index, uint32_t value, uint32_t action)
{
    ADD(SECCOMP_IF(number, 0, 6));
    ADD(SECCOMP_LOAD(args[0]));
    code[count - 1].k += 8 * index;
    ADD(SECCOMP_IF(value, 0, 2));
    ADD(SECCOMP_LOAD(args[0]));
    code[count - 1].k += 8 * index + 4;
    ADD(SECCOMP_IF(0, 1, 0));
    ADD(SECCOMP_RETURN(action));
    ADD(SECCOMP_LOAD(nr));
}

/* False if the line is not understood. */
static bool add_rule(const char *line)
{
    char action_name[32], index[16], value[32], two[32], operation[32];
    unsigned number, error;
    if (sscanf(line, "rule %u %31s %u %15s %31s %31s %31s", &number, action_name, &error, index, value, two,
               operation) != 7)
        return false;
    uint32_t action = strcmp(action_name, "SCMP_ACT_ALLOW") ? SECCOMP_RET_ERRNO | error : SECCOMP_RET_ALLOW;
    unsigned long n = strtoul(index, NULL, 10), v = strtoul(value, NULL, 10);
    if (v > UINT32_MAX || n > 5)
        return false;
    if (!strcmp(operation, "-")) {
        ADD(SECCOMP_IF(number, 0, 1));
        ADD(SECCOMP_RETURN(action));
    } else if (!strcmp(operation, "SCMP_CMP_MASKED_EQ")) {
        add_masked(number, (unsigned)n, (uint32_t)v, (uint32_t)strtoul(two, NULL, 10), action);
    } else if (!strcmp(operation, "SCMP_CMP_NE")) {
        add_unequal(number, (unsigned)n, (uint32_t)v, action);
    } else {
        return false;
    }
    return true;
}

static bool read_rules(const char *path)
{
    char line[256];
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    ADD(SECCOMP_LOAD(arch));
    ADD(SECCOMP_IF(NATIVE, 1, 0));
    ADD(SECCOMP_RETURN(SECCOMP_RET_KILL_PROCESS));
    ADD(SECCOMP_LOAD(nr));
    bool understood = true;
    while (understood && fgets(line, sizeof line, file))
        understood = count < sizeof code / sizeof *code - 16 && add_rule(line);
    ADD(SECCOMP_RETURN(SECCOMP_RET_ERRNO | EPERM));
    fclose(file);
    if (!understood)
        fprintf(stderr, "%s: not understood: %s", path, line);
    return understood;
}

int main(int argc, char **argv)
{
    if (argc < 3 || !read_rules(argv[1])) {
        fprintf(stderr, "usage: %s RULES PROGRAM ARGUMENT...\n", argv[0]);
        return BROKEN;
    }
    if (seccomp_install(code, count) < 0) {
        perror("skipped, no seccomp filters here");
        return SKIPPED;
    }
    execvp(argv[2], argv + 2);
    perror(argv[2]);
    return BROKEN;
}
