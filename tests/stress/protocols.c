/*
 * protocols.c - connections that call protocols, on several workers: what they are told, and when, is right
 *
 * Pairs of transports. Tasks write to them, on whatever worker; others pause and resume reading, and move the water
 * marks. In a gentle round all that was written arrives, in order, and the end behind it. In a wild one transports are
 * closed, aborted and freed at random moments, and what arrives is a prefix. Each function of the protocol checks that
 * connection_made came before it and connection_lost did not, that nobody else receives at the time, and that pausing
 * and resuming take turns. After each round as many descriptors are open as before, and all connections were lost once.
 */
#include "../support/stress.h"

#include <limits.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../src/base/atomic.h"

enum { PAIRS = 12, CHUNK = 30000, GOAL = 500000 };

/* Counts and flags are [STRESS-4] acq_rel: what one of the functions saw is seen by the next. */
typedef struct side {
    coil_transport *transport;
    struct side *peer;
    int fd;
    coil_event *may_write, *lost;
    uint64_t goal, got;         /* bytes; got is the receiver's */
    uint64_t random, other_random, inner_random, end_random; /* of the writer, the disturber, who receives, who ends */
    _Atomic unsigned receiving, telling; /* how many functions run */
    _Atomic unsigned made, paused, ended, losses;
    _Atomic bool stop;
    bool begun;
} side;

static struct {
    bool wild;
    uint64_t bytes, rounds;
} r;

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

/* --- the protocol ------------------------------------------------------------------------------------------------ */

static void enter(side *s, _Atomic unsigned *count)
{
    MUST(fetch_add_acq_rel(count, 1) == 0);   /* [STRESS-4] */
    MUST(load_acquire(&s->made) == 1);        /* [STRESS-4] */
    MUST(load_acquire(&s->losses) == 0);      /* [STRESS-4] */
}

static void leave(side *s, _Atomic unsigned *count)
{
    MUST(load_acquire(&s->losses) == 0);      /* [STRESS-4] connection_lost waits */
    MUST(fetch_sub_acq_rel(count, 1) == 1);   /* [STRESS-4] */
}

static int made(coil_transport *t, void *arg)
{
    side *s = arg;
    s->transport = t;
    MUST(fetch_add_acq_rel(&s->made, 1) == 0); /* [STRESS-4] */
    return 0;
}

static int received(coil_transport *t, const void *data, size_t n, void *arg)
{
    side *s = arg;
    const unsigned char *bytes = data;
    enter(s, &s->receiving);
    MUST(load_acquire(&s->ended) == 0); /* [STRESS-4] */
    for (size_t i = 0; i < n; i++)
        MUST(bytes[i] == byte_at(s->got + i));
    s->got += n;
    if (stress_random(&s->inner_random, 8) == 0) {
        coil_transport_pause_reading(t);
        stress_spin(2000);
        coil_transport_resume_reading(t);
    }
    leave(s, &s->receiving);
    return 0;
}

static bool at_end(coil_transport *t, void *arg)
{
    side *s = arg;
    (void)t;
    enter(s, &s->receiving);
    MUST(fetch_add_acq_rel(&s->ended, 1) == 0); /* [STRESS-4] */
    leave(s, &s->receiving);
    return true;
}

static void tell(side *s, unsigned was, unsigned is)
{
    enter(s, &s->telling);
    MUST(load_acquire(&s->paused) == was); /* [STRESS-4] */
    store_release(&s->paused, is);         /* [STRESS-4] */
    if (is)
        coil_event_clear(s->may_write);
    stress_spin(5000); /* time for others to end the connection */
    if (!is)
        coil_event_set(s->may_write);
    leave(s, &s->telling);
}

static void pause_writing(coil_transport *t, void *arg)
{
    (void)t;
    tell(arg, 0, 1);
}

static void resume_writing(coil_transport *t, void *arg)
{
    (void)t;
    tell(arg, 1, 0);
}

static void lost(coil_transport *t, coil_error *error, void *arg)
{
    side *s = arg;
    (void)t;
    MUST(r.wild || !error);
    MUST(load_acquire(&s->made) == 1);                                           /* [STRESS-4] */
    MUST(load_acquire(&s->receiving) == 0 && load_acquire(&s->telling) == 0);    /* [STRESS-4] */
    MUST(r.wild || load_acquire(&s->paused) == 0);                               /* [STRESS-4] */
    MUST(fetch_add_acq_rel(&s->losses, 1) == 0);                                 /* [STRESS-4] */
    coil_event_set(s->may_write);
    coil_event_set(s->lost);
}

static const coil_protocol protocol = {
    .connection_made = made,
    .data_received = received,
    .eof_received = at_end,
    .pause_writing = pause_writing,
    .resume_writing = resume_writing,
    .connection_lost = lost,
};

/* --- those who use it -------------------------------------------------------------------------------------------- */

static int writer(void *arg, void **result)
{
    side *s = arg;
    unsigned char buf[CHUNK];
    (void)result;
    for (uint64_t sent = 0; sent < s->goal && !load_acquire(&s->stop);) { /* [STRESS-4] */
        size_t n = 1 + stress_random(&s->random, CHUNK - 1);
        n = n < s->goal - sent ? n : (size_t)(s->goal - sent);
        for (size_t i = 0; i < n; i++)
            buf[i] = byte_at(sent + i);
        stress_ok(coil_transport_write(s->transport, buf, n));
        sent += n;
        stress_ok(coil_event_wait(s->may_write));
        if (stress_random(&s->random, 8) == 0)
            stress_ok(coil_sleep(0));
    }
    stress_ok(coil_transport_write_eof(s->transport));
    return 0;
}

static void disturb_once(side *s)
{
    size_t high = stress_random(&s->other_random, 100000);
    switch (stress_random(&s->other_random, 4)) {
    case 0:
        coil_transport_pause_reading(s->transport);
        stress_ok(coil_sleep(0));
        coil_transport_resume_reading(s->transport);
        break;
    case 1:
        stress_ok(coil_transport_set_write_buffer_limits(s->transport, high, high / 2));
        break;
    case 2:
        (void)coil_transport_get_write_buffer_size(s->transport);
        break;
    default:
        stress_spin(stress_random(&s->other_random, 20000));
        break;
    }
}

static int disturber(void *arg, void **result)
{
    side *s = arg;
    (void)result;
    while (!load_acquire(&s->stop)) { /* [STRESS-4] */
        disturb_once(s);
        stress_ok(coil_sleep(stress_random(&s->other_random, 4) ? 0 : COIL_US(stress_random(&s->other_random, 500))));
    }
    return 0;
}

static coil_task *spawn(coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    stress_ok(coil_create_task(coil_coro_make(fn, arg, NULL, 0, "member"), &task));
    return task;
}

static bool arrived(const side *s)
{
    return load_acquire(&s->ended) > 0; /* [STRESS-4] */
}

/* Ends a transport in one of many ways; freed by itself or here. */
static void end_wildly(side *s, uint64_t *random, coil_task *writing, coil_task *disturbing)
{
    stress_ok(coil_sleep(COIL_US(stress_random(random, 3000))));
    switch (stress_random(random, 3)) {
    case 0:
        coil_transport_close(s->transport);
        break;
    case 1:
        coil_transport_abort(s->transport);
        break;
    default:
        break;
    }
    store_release(&s->stop, true); /* [STRESS-4] */
    coil_event_set(s->may_write);
    stress_join(disturbing);
    if (stress_random(random, 2)) /* else it may wait for a peer that does not read any more */
        coil_transport_abort(s->transport);
    coil_event_set(s->may_write);
    while (!coil_future_done(writing)) {
        coil_event_set(s->may_write);
        stress_ok(coil_sleep(0));
    }
    stress_join(writing);
    coil_transport_free(s->transport);
    stress_ok(coil_event_wait(s->lost));
}

static void end_gently(side *s, const side *peer, coil_task *writing, coil_task *disturbing)
{
    stress_join(writing);
    while (!arrived(s) || !arrived(peer))
        stress_ok(coil_sleep(COIL_US(200)));
    store_release(&s->stop, true); /* [STRESS-4] */
    stress_join(disturbing);
    coil_transport_close(s->transport);
    stress_ok(coil_event_wait(s->lost));
    coil_transport_free(s->transport);
}

static void open_side(side *s, int fd)
{
    coil_event_set(s->may_write);
    stress_ok(coil_connect_accepted_socket(&protocol, s, fd, NULL, &s->transport));
}

static int run_side(void *arg, void **result)
{
    side *s = arg;
    (void)result;
    open_side(s, s->fd);
    coil_task *writing = spawn(writer, s), *disturbing = spawn(disturber, s);
    if (r.wild)
        end_wildly(s, &s->end_random, writing, disturbing);
    else
        end_gently(s, s->peer, writing, disturbing);
    return 0;
}

/* Is cancelled while it waits for connection_made, or just after. */
static int create_in_vain(void *arg, void **result)
{
    side *s = arg;
    coil_transport *t;
    (void)result;
    s->begun = true;
    int rc = stress_caught(coil_connect_accepted_socket(&protocol, s, s->fd, NULL, &t));
    MUST(rc == 0 || rc == -ECANCELED);
    if (rc == 0)
        coil_transport_free(t);
    return 0;
}

static void create_and_cancel(side *s)
{
    coil_task *task = spawn(create_in_vain, s);
    for (unsigned n = stress_random(&s->random, 4); n > 0; n--)
        stress_ok(coil_sleep(0));
    stress_spin(stress_random(&s->random, 3000));
    coil_task_cancel(task, NULL);
    (void)stress_caught(coil_join(task, NULL));
}

/* --- rounds ------------------------------------------------------------------------------------------------------ */

static void init_side(side *s, side *peer, unsigned number, int fd)
{
    uint64_t seed = (r.rounds * PAIRS * 2 + number) * 4;
    *s = (side){.peer = peer, .fd = fd};
    s->random = stress_random_state(seed);
    s->other_random = stress_random_state(seed + 1);
    s->inner_random = stress_random_state(seed + 2);
    s->end_random = stress_random_state(seed + 3);
    s->goal = stress_random(&s->random, GOAL);
    stress_ok(coil_event_new(&s->may_write));
    stress_ok(coil_event_new(&s->lost));
}

static void check_side(side *s)
{
    MUST(load_acquire(&s->losses) == 1);             /* [STRESS-4] */
    MUST(r.wild || s->got == s->peer->goal);
    coil_event_free(s->may_write);
    coil_event_free(s->lost);
    r.bytes += s->got;
}

static void run_pairs(void)
{
    static side sides[2 * PAIRS];
    coil_task *tasks[2 * PAIRS];
    for (unsigned i = 0; i < PAIRS; i++) {
        int ends[2];
        MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
        init_side(&sides[2 * i], &sides[2 * i + 1], 2 * i, ends[0]);
        init_side(&sides[2 * i + 1], &sides[2 * i], 2 * i + 1, ends[1]);
    }
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        tasks[i] = spawn(run_side, &sides[i]);
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        stress_join(tasks[i]);
    for (unsigned i = 0; i < 2 * PAIRS; i++)
        check_side(&sides[i]);
}

/* Whatever the moment of the cancellation: who was told of the connection is told of its loss. */
static void run_cancelled(void)
{
    static side s; /* stays: what must not come late finds it */
    int ends[2];
    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
    init_side(&s, NULL, 0, ends[0]);
    int before = open_descriptors() - 1;
    create_and_cancel(&s);
    if (!s.begun)
        close(ends[0]);
    (void)stress_descriptors_settle(before);
    unsigned told = load_acquire(&s.made); /* [STRESS-4] */
    if (told > 0)
        stress_ok(coil_event_wait(s.lost));
    stress_ok(coil_sleep(COIL_US(50)));
    MUST(load_acquire(&s.made) == told && load_acquire(&s.losses) == told); /* [STRESS-4] nothing comes late */
    coil_event_free(s.may_write);
    coil_event_free(s.lost);
    close(ends[1]);
}

static int run_rounds(void *arg, void **result)
{
    int before = INT_MAX;
    (void)arg, (void)result;
    for (; stress_time_left(); r.rounds++) {
        r.wild = r.rounds % 2;
        run_pairs();
        before = stress_descriptors_settle(before);
        for (int i = 0; i < 20 && r.wild; i++)
            run_cancelled();
    }
    printf("%" PRIu64 " rounds, %" PRIu64 " bytes received\n", r.rounds, r.bytes);
    return 0;
}

int main(int argc, char **argv)
{
    return stress_main(argc, argv, run_rounds, NULL);
}
