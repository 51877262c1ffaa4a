/*
 * stats.c - what a loop has done, and which backend does it
 */
#include <pthread.h>
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
        .handles = load_relaxed(&loop->handles_run), /* [BEAT-1] */
        .wakeups = loop->wakeups,
        .timers = loop->timers.count,
        .tasks = loop->task_count,
    };
    if (!loop->backend)
        return;
    stats->kernel_waits = load_relaxed(&loop->backend->counters.kernel_waits); /* [BACKEND-1] and those below */
    stats->submissions = load_relaxed(&loop->backend->counters.submissions);
    stats->completions = load_relaxed(&loop->backend->counters.completions);
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct utsname kernel; /* written once, before the first answer is given */

static void ask_kernel(void)
{
    if (uname(&kernel) < 0)
        strcpy(kernel.release, "unknown");
}

/* The release of the running kernel. */
static const char *kernel_release(void)
{
    pthread_once(&once, ask_kernel);
    return kernel.release;
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
