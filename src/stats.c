/*
 * stats.c - what a loop has done, and which backend does it
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include "error.h"
#include "loop.h"

void coil_loop_get_stats(const coil_loop *loop, coil_loop_stats *stats)
{
    coil_assert(stats->size == sizeof *stats);
    *stats = (coil_loop_stats){
        .size = sizeof *stats,
        .iterations = loop->iterations,
        .handles = loop->handles_run,
        .wakeups = loop->wakeups,
        .timers = loop->timers.count,
        .tasks = loop->task_count,
    };
    if (!loop->backend)
        return;
    stats->kernel_waits = loop->backend->counters.kernel_waits;
    stats->submissions = loop->backend->counters.submissions;
    stats->completions = loop->backend->counters.completions;
}

/* The release of the running kernel; written once, before the first answer is given. */
static const char *kernel_release(void)
{
    static struct utsname name;
    if (!name.release[0] && uname(&name) < 0)
        return "unknown";
    return name.release;
}

int coil_loop_backend_info(coil_loop *loop, coil_backend_info *info)
{
    coil_assert(info->size == sizeof *info);
    if (coil__loop_closed(loop))
        return coil_raise(COIL_ELOOPCLOSED, "Event loop is closed");
    if (!loop->backend)
        COIL_TRY(coil__loop_open_backend(loop));
    info->name = loop->backend->ops->name;
    info->reason = loop->backend->reason;
    info->kernel = kernel_release();
    return 0;
}
