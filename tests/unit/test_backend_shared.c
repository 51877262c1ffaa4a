/*
 * test_backend_shared.c - backends that other threads take completions from, and a submission queue that is full
 *
 * $COIL_BACKEND says which of them is tested. The owner is the test's thread; it computes, without a system call,
 * while the helper's thread takes what has completed.
 */
#include "backend.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "../../io/uring.h"
#include "../../src/base/clock.h"

static bool on_uring(void)
{
    return strcmp(backend->ops->name, "io_uring") == 0;
}

/*
 * --- taking completions for another thread
 * ------------------------------------------------------------------------------
 */

typedef struct helper {
    pthread_t thread;
    coil__list ready;
    int taken, wanted;
    _Atomic bool stop, stopped; /* [HELPER-1] release, acquire: what the helper has done */
} helper;

static void *help(void *arg)
{
    helper *h = arg;
    while (h->taken < h->wanted && !load_acquire(&h->stop)) { /* [HELPER-1] */
        h->taken += backend->ops->reap_for(backend, &h->ready);
        sched_yield();
    }
    store_release(&h->stopped, true); /* [HELPER-1] */
    return NULL;
}

/* As if a runtime with several workers were there: latches lock. */
static void start_helper(helper *h, int wanted)
{
    fetch_add_relaxed(&coil__parallel, 1); /* [PAR-1] */
    *h = (helper){.wanted = wanted};
    coil__list_init(&h->ready);
    ck_assert_int_eq(pthread_create(&h->thread, NULL, help, h), 0);
}

static void end_helper(helper *h)
{
    store_release(&h->stop, true); /* [HELPER-1] */
    pthread_join(h->thread, NULL);
    fetch_sub_acq_rel(&coil__parallel, 1); /* [PAR-1] */
}

/* Computes until the helper has what it wants, or for @ns. */
static void compute(helper *h, int64_t ns)
{
    int64_t end = coil__monotonic_ns() + ns;
    while (!load_acquire(&h->stopped) && coil__monotonic_ns() < end) { /* [HELPER-1] */
    }
}

/* A receive that the kernel knows of, and for which there are data now. */
static void receive_while_away(struct coil__op *op, char *buf, size_t n)
{
    submit(op, COIL__OP_RECV, ends[0], buf, n);
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready));
    ck_assert_int_eq(write(ends[1], "abc", 3), 3);
}

TEST(a_helper_takes_what_completes_while_the_owner_computes)
{
    helper h;
    struct coil__op op;
    char buf[8];
    open_backend_with(COIL_RING_SHARED);
    start_helper(&h, 1);
    receive_while_away(&op, buf, sizeof buf);
    compute(&h, COIL_SECONDS(5));
    end_helper(&h);
    ck_assert_int_eq(h.taken, 1);
    ck_assert_ptr_eq(coil__list_first(&h.ready), &op.handle.node);
    ck_assert_int_eq(op.res, 3);
    ck_assert_mem_eq(buf, "abc", 3);
    ck_assert(!coil__backend_busy(backend));
    ck_assert_int_eq(waits(0), 0);
    ck_assert(coil__list_empty(&ready)); /* it is not delivered twice */
    close_backend();
}

TEST(a_backend_that_is_not_shared_is_left_alone)
{
    helper h;
    struct coil__op op;
    char buf[8];
    open_backend_with(COIL_RING_DEFER);
    start_helper(&h, 1);
    receive_while_away(&op, buf, sizeof buf);
    compute(&h, COIL_MS(20));
    end_helper(&h);
    ck_assert_int_eq(h.taken, 0);
    ck_assert_ptr_eq(next(), &op);
    ck_assert_int_eq(op.res, 3);
    close_backend();
}

/* Whether all that was submitted has been delivered to somebody. */
static bool all_back(void)
{
    COIL__GUARD(&backend->latch);
    return !coil__backend_busy(backend);
}

static void *write_slowly(void *arg)
{
    (void)arg;
    for (int i = 0; i < 1000; i += write(ends[1], "x", 1) == 1) /* the socket may be full */
        sched_yield();
    return NULL;
}

/* Whoever gets a completion, owner or helper, nobody else does, and no wait goes on for ever. */
TEST(owner_and_helper_share_completions_without_loss)
{
    helper h;
    struct coil__op op;
    pthread_t writer;
    char c;
    open_backend_with(COIL_RING_SHARED);
    start_helper(&h, INT_MAX);
    ck_assert_int_eq(pthread_create(&writer, NULL, write_slowly, NULL), 0);
    for (int i = 0; i < 1000; i++) {
        submit(&op, COIL__OP_RECV, ends[0], &c, 1);
        while (!all_back())
            ck_assert_int_eq(waits(i % 3 ? 0 : COIL_US(200)), 0);
        ck_assert_int_eq(op.res, 1);
        coil__node_unlink(&op.handle.node); /* from whosever list */
    }
    pthread_join(writer, NULL);
    end_helper(&h);
    close_backend();
}

/* --- between an event and its look at the descriptor --------------------------------------------------------------- */

static void (*after_wait)(void); /* what another worker does once events have been collected */

/* Takes the place of the C library's. */
int epoll_wait(int fd, struct epoll_event *events, int max, int timeout)
{
    int n = (int)syscall(SYS_epoll_pwait, fd, events, max, timeout, NULL, 0);
    void (*then)(void) = n > 0 ? after_wait : NULL;
    if (then) {
        after_wait = NULL;
        then();
    }
    return n;
}

static struct coil__op old_poll, new_poll;

static void poll_first_end(struct coil__op *op)
{
    coil__op_init(op, COIL__OP_POLL, ends[0], &no_ops);
    op->events = POLLIN;
    backend->ops->submit(backend, op);
}

/* The sockets are closed, and others come that have their numbers. */
static void exchange_ends(void)
{
    int before = ends[0];
    cancel(&old_poll);
    backend->ops->forget(backend, ends[0]);
    close(ends[0]);
    close(ends[1]);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    ck_assert_int_eq(ends[0], before);
    poll_first_end(&new_poll);
}

TEST(an_event_of_a_closed_descriptor_is_not_its_successor_s)
{
    open_backend();
    if (!on_uring()) {
        poll_first_end(&old_poll);
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        after_wait = exchange_ends;
        ck_assert_int_eq(waits(0), 0);
        ck_assert_ptr_null(after_wait);
        ck_assert_ptr_eq(next(), &old_poll);
        ck_assert_int_eq(old_poll.res, -ECANCELED);
        ck_assert_int_eq(waits(0), 0);
        ck_assert(coil__list_empty(&ready));
        ck_assert_int_eq(write(ends[1], "x", 1), 1);
        ck_assert_ptr_eq(next(), &new_poll);
        ck_assert_int_eq(new_poll.res, POLLIN);
    }
    close_backend();
}

/*
 * --- a full submission queue
 * ------------------------------------------------------------------------------------------------
 */

#ifdef COIL_URING

static int refusals; /* how often the kernel does not take requests, for want of memory */

/* Takes the place of liburing's: the same, but for refusals. */
int io_uring_enter2(unsigned fd, unsigned submit_count, unsigned min, unsigned flags, sigset_t *arg, size_t bytes);
int io_uring_enter2(unsigned fd, unsigned submit_count, unsigned min, unsigned flags, sigset_t *arg, size_t bytes)
{
    if (refusals > 0 && submit_count > 0) {
        refusals--;
        return -EAGAIN;
    }
    long rc = syscall(SYS_io_uring_enter, fd, submit_count, min, flags, arg, bytes);
    return rc < 0 ? -errno : (int)rc;
}

static void open_small_backend(void)
{
    coil__uring_sq_entries = 4;
    open_backend();
    coil__uring_sq_entries = 1024;
    ck_assert_int_eq(waits(0), 0);
}

TEST(a_cancellation_that_finds_no_room_is_not_forgotten)
{
    struct coil__op ops[4];
    char bufs[4];
    open_small_backend();
    if (on_uring()) {
        for (int i = 0; i < 4; i++)
            submit(&ops[i], COIL__OP_RECV, ends[0], &bufs[i], 1);
        refusals = 4;
        cancel(&ops[2]); /* nothing is taken, so that there is no room */
        ck_assert(coil__node_linked(&ops[2].asked));
        ck_assert_ptr_eq(next(), &ops[2]);
        ck_assert_int_eq(ops[2].res, -ECANCELED);
    }
    close_backend();
}

TEST(a_cancellation_that_was_not_asked_for_in_time_changes_nothing)
{
    struct coil__op ops[4];
    char bufs[4];
    open_small_backend();
    if (on_uring()) {
        for (int i = 0; i < 4; i++)
            submit(&ops[i], COIL__OP_RECV, i == 0 ? ends[1] : ends[0], &bufs[i], 1);
        ck_assert_int_eq(write(ends[0], "a", 1), 1);
        refusals = 4;
        cancel(&ops[0]);
        ck_assert_ptr_eq(next(), &ops[0]);
        ck_assert(ops[0].res == 1 || ops[0].res == -ECANCELED);
        ck_assert(!coil__node_linked(&ops[0].asked));
    }
    close_backend();
}

static void limit_descriptors(rlim_t n)
{
    struct rlimit limit;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = n;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/*
 * Without a descriptor to give, an accept has to be made again: most of these are about to be when they are
 * cancelled.
 */
TEST(a_postponed_operation_that_is_cancelled_completes_once)
{
    enum { MANY = 12 };
    struct coil__op ops[MANY];
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr anywhere = {.sa_family = AF_UNIX};
    ck_assert_int_eq(bind(listener, &anywhere, sizeof(sa_family_t)), 0);
    ck_assert_int_eq(listen(listener, 1), 0);
    open_small_backend();
    limit_descriptors(3);
    for (int i = 0; on_uring() && i < MANY; i++)
        submit(&ops[i], COIL__OP_ACCEPT, listener, NULL, 0);
    for (int i = 0; on_uring() && i < MANY; i++)
        cancel(&ops[i]);
    for (int i = 0; on_uring() && i < MANY; i++)
        ck_assert_int_eq(next()->res, -ECANCELED);
    limit_descriptors(1024);
    ck_assert(!coil__backend_busy(backend));
    ck_assert_int_eq(waits(COIL_MS(1)), 0);
    ck_assert(coil__list_empty(&ready));
    close_backend();
    close(listener);
}

#endif

COIL_TEST_MAIN("backend_shared")
