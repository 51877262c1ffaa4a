/*
 * test_runtime_starts.c - runtimes that cannot be started: for want of a thread, or of a worker's loop
 *
 * What has been started by then ends, and the next runtime starts as if nothing had been.
 */
#define _GNU_SOURCE /* pthread_setattr_default_np */
#include <pthread.h>
#include <sys/resource.h>

#include "base/latch.h"
#include "coil_test.h"
#include "descriptors.h"
#include "threads.h"

static coil_runtime_options options_for(unsigned workers)
{
    return (coil_runtime_options){.size = sizeof(coil_runtime_options), .workers = workers, .stall_ns = COIL_FOREVER};
}

/* Starts it, and ends it if that was possible. */
static int start(const coil_runtime_options *o)
{
    coil_runtime *rt = NULL;
    int rc = coil_runtime_new(o, &rt);
    coil_runtime_free(rt);
    return rc;
}

/* With pthread_create() made to fail. */
static int start_without_threads(const coil_runtime_options *o)
{
    pthread_attr_t normal, huge;
    pthread_getattr_default_np(&normal);
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, (size_t)1 << 50);
    ck_assert_int_eq(pthread_setattr_default_np(&huge), 0);
    int rc = start(o);
    ck_assert_int_eq(pthread_setattr_default_np(&normal), 0);
    return rc;
}

TEST(without_threads_a_runtime_is_refused)
{
    coil_runtime_options o = options_for(4);
    OK(start(&o));
    int descriptors = open_descriptors();
    RAISES(-EAGAIN, "cannot start the thread of worker 1", start_without_threads(&o));
    o.stall_ns = 0;
    RAISES(-EAGAIN, "cannot start the watchdog's thread", start_without_threads(&o));
    ck_assert_int_eq(open_descriptors(), descriptors);
    ck_assert(!coil__is_parallel());
    OK(start(&o));
}

/* With descriptors below @end only, until it has started. */
static int start_with_descriptors(const coil_runtime_options *o, int end)
{
    coil_runtime *rt = NULL;
    struct rlimit normal, low;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &normal), 0);
    low = normal;
    low.rlim_cur = (rlim_t)end;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
    int rc = coil_runtime_new(o, &rt);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &normal), 0);
    coil_runtime_free(rt);
    return rc;
}

/* Each worker in turn is the one that there is no descriptor for. */
TEST(a_runtime_is_refused_if_a_worker_cannot_open_its_loop)
{
    enum { WORKERS = 4 };
    coil_runtime_options o = options_for(WORKERS);
    OK(start(&o));
    int end = dup(STDERR_FILENO), rc, refusals_of_workers = 0;
    close(end);
    size_t threads = live_threads();
    int descriptors = open_descriptors();
    while ((rc = start_with_descriptors(&o, end++)) < 0) {
        ck_assert_int_eq(rc, -EMFILE);
        const char *message = caught(rc);
        bool of_worker = strncmp(message, "worker ", strlen("worker ")) == 0;
        refusals_of_workers += of_worker;
        ck_assert(!of_worker || message[strlen(message) - 1] != ' '); /* it says why */
        ck_assert_int_eq(open_descriptors(), descriptors);
        ck_assert_uint_eq(live_threads(), threads);
        ck_assert(!coil__is_parallel());
    }
    ck_assert_int_ge(refusals_of_workers, WORKERS - 1);
}

COIL_TEST_MAIN("runtime_starts")
