/*
 * stats.c - what a loop has done, and which backend does it
 */
#include <pthread.h>
#include <string.h>
#include <sys/utsname.h>

#include "error.h"
#include "loop.h"
#include "task.h"

static void add_member(coil_loop_stats *stats, coil_loop *loop)
{
    stats->iterations += load_relaxed(&loop->iterations); /* [BEAT-1] and those below */
    stats->handles += load_relaxed(&loop->handles_run);
    stats->wakeups += load_relaxed(&loop->wakeups);
    {
        COIL__GUARD(&loop->timers_latch);
        stats->timers += loop->timers.count;
    }
    COIL__GUARD(&loop->backend_latch);
    if (!loop->backend)
        return;
    const coil__backend_counters *counters = &loop->backend->counters;
    stats->kernel_waits += load_relaxed(&counters->kernel_waits); /* [BACKEND-1] and those below */
    stats->submissions += load_relaxed(&counters->submissions);
    stats->completions += load_relaxed(&counters->completions);
}

void coil_loop_get_stats(const coil_loop *loop, coil_loop_stats *stats)
{
    coil_assert(stats->size == sizeof *stats);
    *stats = (coil_loop_stats){
        .size = sizeof *stats,
        .tasks = coil__task_count(loop),
    };
    coil_loop *member, *first = (coil_loop *)(uintptr_t)loop; /* const for the caller; latches are taken */
    for (unsigned i = 0; (member = coil__loop_member(first, i)); i++)
        add_member(stats, member);
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
    coil_loop *here = coil__here(loop); /* the facade's backend is worker 0's to open; all workers' are alike */
    if (!here->backend)
        COIL_TRY(coil__loop_open_backend(here));
    info->name = here->backend->ops->name;
    info->reason = here->backend->reason;
    info->kernel = kernel_release();
    info->features = here->backend->features;
    info->feature_count = COIL__BACKEND_FEATURES;
    return 0;
}
