/*
 * kernels.c - the table of known-bad kernels
 *
 * What coil does not use is not in it; neither is what kernels without DEFER_TASKRUN (Linux 6.1) got wrong.
 * Where it is not known which stable release brought the repair, the row covers the whole series. docs/io.md
 * shows the table to users.
 */
#include "kernels.h"

#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "features.h"

static const coil__kernel_flaw flaws[] = {
    /* 6.1.7 reissues multishot receives after racing wake-ups: they run out of buffers in a moment. 6.1.6 does not. */
    {COIL__FEATURE(multishot_recv), COIL__KERNEL(6, 1, 7), COIL__KERNEL(6, 1, 7),
     "Linux 6.1.7: multishot receives eat up all buffers (axboe/liburing#778)"},
    /* Reported for 6.6.1, 6.6.9, 6.7.4 and 6.8-rc3, with DEFER_TASKRUN; 6.2.0 was well. */
    {COIL__FEATURE(multishot_accept), COIL__KERNEL(6, 3, 0), COIL__KERNEL(6, 7, COIL__KERNEL_LAST),
     "Linux 6.3 to 6.7: multishot accepts give descriptors that do not exist (axboe/liburing#1062)"},
    /* A program that was closed through a ring just before cannot be executed: ETXTBSY. */
    {COIL__FEATURE(close), COIL__KERNEL(6, 2, 0), COIL__KERNEL(6, 2, COIL__KERNEL_LAST),
     "Linux 6.2: a file that a ring has closed is still in use (libuv/libuv#4141)"},
    /* Descriptors such as timers' and signals' pass for regular files, of which a short read is taken up again. */
    {COIL__FEATURE(read), COIL__KERNEL(6, 15, 4), COIL__KERNEL(6, 15, 4),
     "Linux 6.15.4: reads of timers, signals and the like wait until the buffer is full (ghostty-org/ghostty#7724)"},
    {COIL__FEATURE(readv), COIL__KERNEL(6, 15, 4), COIL__KERNEL(6, 15, 4),
     "Linux 6.15.4: reads of timers, signals and the like wait until the buffer is full (ghostty-org/ghostty#7724)"},
    {0, 0, 0, NULL},
};

const coil__kernel_flaw *coil__kernel_flaws = flaws;

unsigned long coil__kernel_number(const char *release)
{
    unsigned long part[3] = {0, 0, 0};
    for (int i = 0; i < 3 && *release >= '0' && *release <= '9'; i++) {
        char *end;
        part[i] = strtoul(release, &end, 10);
        if (part[i] > COIL__KERNEL_LAST)
            part[i] = COIL__KERNEL_LAST;
        release = *end == '.' ? end + 1 : "";
    }
    return COIL__KERNEL(part[0], part[1], part[2]);
}

const char *coil__kernel_flaw_of(size_t feature, const char *release)
{
    struct utsname running;
    const char *check = getenv("COIL_KERNEL_CHECK");
    if (check && !strcmp(check, "0"))
        return NULL;
    if (!release)
        release = uname(&running) == 0 ? running.release : "";
    unsigned long number = coil__kernel_number(release);
    for (const coil__kernel_flaw *f = coil__kernel_flaws; f->what; f++) {
        if (f->feature == feature && f->first <= number && number <= f->last)
            return f->what;
    }
    return NULL;
}
