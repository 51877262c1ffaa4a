/*
 * transports.c - both ends of connections write, read, pause, half-close, close and abort at random moments, and
 * are cancelled in all of it: every byte and every descriptor is accounted for
 *
 *     stress_transports [SECONDS [WORKERS [SEED]]]
 *
 * A third of the time on a plain loop, then on a runtime with rings of either kind. A connection has one of four
 * fates:
 *
 *   HALVES   both ends send, shut their sending sides down, and read to the end: all arrives, both ways
 *   CLOSES   one end sends and closes, without waiting for what is buffered: all arrives
 *   ABORTS   one end aborts in the middle: the other has a prefix
 *   VANISHES one end frees the stream in the middle, with what it has received and not read: the same
 *
 * A call that was cancelled is made again, and no byte is lost by that. After each round as many descriptors are
 * open as before.
 */
#include "../support/stress.h"

#include <limits.h>
#include <string.h>

#include "../../src/base/atomic.h"

enum { CONNECTIONS = 24, ENDS = 2 * CONNECTIONS, KILLERS = 2, TASKS_MAX = 4 * ENDS, CHUNK = 30000 };
enum fate { HALVES, CLOSES, ABORTS, VANISHES, FATES };

/* One end of a connection. What the other end does is known to both: it is drawn before they start. */
typedef struct side {
    struct side *other;
    coil_stream *stream;
    enum fate fate;       /* of the connection; the client's end is the one that closes, aborts or vanishes */
    bool client;
    uint64_t goal, sent, got;
    uint64_t writer_random, reader_random;
} side;

static struct {
    side sides[ENDS]; /* the client of connection i is 2 * i, the server's end 2 * i + 1 */
    char port[16];
    _Atomic bool over;                     /* [STRESS-1] relaxed: only when matters */
    _Atomic unsigned count, served;        /* [STRESS-2] of tasks: distinct places; of ends: only how many */
    _Atomic(coil_task *) tasks[TASKS_MAX]; /* [STRESS-3] release, acquire: the task's memory. References */
    _Atomic bool drawn;                    /* [STRESS-5] release, acquire: the sides. Only the kernel knows that who is
                                              served comes after who connects, which ThreadSanitizer does not see */
    _Atomic uint64_t bytes;                /* [STRESS-2] */
    uint64_t rounds, random;
    int fewest; /* descriptors that were open */
} r;

/* The call's outcome, once it was not cancelled. */
#define AGAIN(rc, call)              \
    do                               \
        (rc) = stress_caught(call);  \
    while ((rc) == -ECANCELED)

/* --- tasks that are cancelled ---------------------------------------- */

static coil_task *spawn(coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    stress_ok(coil_create_task(coil_coro_make(fn, arg, NULL, 0, "end"), &task));
    return task;
}

/* A task enlists itself when it has begun: one that is cancelled before that would never do its part. */
static void enlist(void)
{
    unsigned place = fetch_add_relaxed(&r.count, 1); /* [STRESS-2] */
    if (place < TASKS_MAX)
        store_release(&r.tasks[place], coil_retain(coil_current_task())); /* [STRESS-3] */
}

static int killer(void *arg, void **result)
{
    uint64_t random = stress_random_state(1000 + *(unsigned *)arg + 10 * r.rounds);
    (void)result;
    while (!load_relaxed(&r.over)) { /* [STRESS-1] */
        unsigned count = load_relaxed(&r.count), n = count < TASKS_MAX ? count : TASKS_MAX; /* [STRESS-2] */
        unsigned storm = stress_random(&random, 20) == 0 ? 30 : 1;
        for (unsigned i = 0; i < storm && n > 0; i++) {
            coil_task *victim = load_acquire(&r.tasks[stress_random(&random, n)]); /* [STRESS-3] */
            if (victim)
                coil_task_cancel(victim, NULL);
        }
        stress_spin(stress_random(&random, 100) == 0 ? 500000 : 0);
        stress_ok(coil_sleep(stress_random(&random, 4) ? COIL_US(stress_random(&random, 500)) : 0));
    }
    return 0;
}

static void rests(uint64_t *random)
{
    int rc;
    uint32_t how = stress_random(random, 40);
    if (how < 10)
        AGAIN(rc, coil_sleep(0));
    else if (how == 10)
        AGAIN(rc, coil_sleep(COIL_US(stress_random(random, 3000))));
}

/* --- bytes ---------------------------------------- */

static unsigned char byte_at(const side *writer, uint64_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16) + (uint64_t)(writer - r.sides) * 13);
}

/* Pieces are small for a while, then large, then small again. */
static size_t piece(side *e)
{
    uint32_t most = (e->sent >> 16) & 1 ? CHUNK : 300;
    size_t n = 1 + stress_random(&e->writer_random, most);
    return n < e->goal - e->sent ? n : (size_t)(e->goal - e->sent);
}

static int write_to_goal(side *e)
{
    unsigned char buf[CHUNK];
    int rc = 0;
    while (rc == 0 && e->sent < e->goal) {
        size_t n = piece(e);
        for (size_t i = 0; i < n; i++)
            buf[i] = byte_at(e, e->sent + i);
        stress_ok(coil_stream_write(e->stream, buf, n));
        e->sent += n;
        if (stress_random(&e->writer_random, 4) || e->sent >> 20)
            AGAIN(rc, coil_stream_drain(e->stream));
        rests(&e->writer_random);
    }
    return rc;
}

static void check(side *e, const unsigned char *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        MUST(buf[i] == byte_at(e->other, e->got + i));
    e->got += n;
    fetch_add_relaxed(&r.bytes, n); /* [STRESS-2] */
}

static int read_once(side *e, unsigned char *buf, size_t *n)
{
    int rc;
    size_t cap = 1 + stress_random(&e->reader_random, stress_random(&e->reader_random, 2) ? CHUNK : 500);
    if (stress_random(&e->reader_random, 3) == 0 && e->fate == HALVES && e->got + cap <= e->other->goal) {
        AGAIN(rc, coil_stream_readexactly(e->stream, buf, cap));
        *n = cap;
    } else {
        AGAIN(rc, coil_stream_read(e->stream, buf, cap, n));
    }
    return rc;
}

/* Reads to the end, or to @most bytes. */
static int read_to(side *e, uint64_t most)
{
    unsigned char buf[CHUNK + 1];
    size_t n = 1;
    int rc = 0;
    while (rc == 0 && n > 0 && e->got < most) {
        rc = read_once(e, buf, &n);
        if (rc == 0)
            check(e, buf, n);
        rests(&e->reader_random);
    }
    return rc;
}

/* --- the ends ---------------------------------------- */

static int writer(void *arg, void **result)
{
    side *e = arg;
    (void)result;
    enlist();
    int rc = write_to_goal(e);
    MUST(rc == 0 || e->fate >= ABORTS);
    if (rc == 0 && e->fate != CLOSES)
        rc = stress_caught(coil_stream_write_eof(e->stream));
    MUST(rc == 0 || e->fate >= ABORTS);
    return 0;
}

static int reader(void *arg, void **result)
{
    side *e = arg;
    (void)result;
    enlist();
    bool leaves = e->client && e->fate >= ABORTS;
    int rc = read_to(e, leaves ? stress_random(&e->reader_random, 200000) : UINT64_MAX);
    MUST(rc == 0 || e->fate >= ABORTS);
    MUST(e->fate >= ABORTS ? e->got <= e->other->goal : e->got == e->other->goal);
    if (leaves && e->fate == ABORTS)
        coil_stream_abort(e->stream); /* under the writer */
    return 0;
}

/* The client of CLOSES reads nothing, since nothing comes. */
static void talk(side *e)
{
    bool reads = !(e->client && e->fate == CLOSES);
    coil_task *from = reads ? spawn(reader, e) : NULL;
    coil_task *to = e->goal > 0 || e->fate == HALVES ? spawn(writer, e) : NULL;
    if (from)
        stress_join_killed(from);
    if (to)
        stress_join_killed(to);
    int rc = 0;
    if (e->fate != VANISHES || !e->client) {
        coil_stream_close(e->stream);
        AGAIN(rc, coil_stream_wait_closed(e->stream));
    }
    MUST(rc == 0 || e->fate >= ABORTS);
    coil_stream_free(e->stream);
}

static int serve(coil_stream *s, void *arg)
{
    unsigned char number = CONNECTIONS;
    (void)arg;
    if (stress_caught(coil_stream_readexactly(s, &number, 1)) == 0) {
        MUST(number < CONNECTIONS && load_acquire(&r.drawn)); /* [STRESS-5] */
        side *e = &r.sides[2 * number + 1];
        e->stream = s;
        talk(e);
    } else { /* the client was gone at once */
        coil_stream_free(s);
    }
    fetch_add_acq_rel(&r.served, 1); /* [STRESS-4] release, acquire: the end is done with its side */
    return 0;
}

static int client(void *arg, void **result)
{
    side *e = arg;
    unsigned char number = (unsigned char)((e - r.sides) / 2);
    (void)result;
    store_release(&r.drawn, true); /* [STRESS-5] */
    stress_ok(coil_open_connection("127.0.0.1", r.port, &e->stream));
    stress_ok(coil_stream_write(e->stream, &number, 1));
    talk(e);
    return 0;
}

/* --- rounds ---------------------------------------- */

static void draw(unsigned i)
{
    uint64_t random = stress_random_state(r.rounds * CONNECTIONS + i);
    side *c = &r.sides[2 * i], *s = c + 1;
    enum fate fate = (enum fate)stress_random(&random, FATES);
    uint32_t most = stress_random(&random, 3) ? 20000 : 700000;
    *c = (side){.other = s, .fate = fate, .client = true, .goal = stress_random(&random, most)};
    *s = (side){.other = c, .fate = fate, .goal = fate == CLOSES ? 0 : stress_random(&random, most)};
    c->writer_random = random + 2;
    c->reader_random = random + 4;
    s->writer_random = random + 6;
    s->reader_random = random + 8;
}

static void forget_tasks(void)
{
    unsigned count = load_relaxed(&r.count); /* [STRESS-2] */
    for (unsigned i = 0; i < count && i < TASKS_MAX; i++) {
        coil_release(load_acquire(&r.tasks[i])); /* [STRESS-3] */
        store_release(&r.tasks[i], NULL);        /* [STRESS-3] */
    }
    store_relaxed(&r.count, 0); /* [STRESS-2] */
}

static void connect_all(void)
{
    coil_task *clients[CONNECTIONS], *killers[KILLERS];
    unsigned numbers[KILLERS];
    for (unsigned i = 0; i < CONNECTIONS; i++)
        draw(i);
    store_relaxed(&r.over, false); /* [STRESS-1] */
    store_relaxed(&r.served, 0);   /* [STRESS-2] */
    for (unsigned i = 0; i < KILLERS; i++) {
        numbers[i] = i;
        killers[i] = spawn(killer, &numbers[i]);
    }
    for (unsigned i = 0; i < CONNECTIONS; i++)
        clients[i] = spawn(client, &r.sides[2 * i]);
    for (unsigned i = 0; i < CONNECTIONS; i++)
        stress_join_killed(clients[i]);
    while (load_acquire(&r.served) < CONNECTIONS) /* [STRESS-4] */
        stress_ok(coil_sleep(COIL_US(200)));
    store_relaxed(&r.over, true); /* [STRESS-1] */
    for (unsigned i = 0; i < KILLERS; i++)
        stress_join_killed(killers[i]);
    forget_tasks();
}

static void run_round(void)
{
    static const size_t limits[] = {50, 1000, 8000, COIL_STREAM_LIMIT};
    int now = open_descriptors();
    r.fewest = now < r.fewest ? now : r.fewest; /* workers that start have some more for a moment */
    coil_server_options options = {.size = sizeof options, .limit_bytes = limits[stress_random(&r.random, 4)]};
    coil_server *server;
    stress_ok(coil_start_server(serve, NULL, "127.0.0.1", "0", &options, &server));
    snprintf(r.port, sizeof r.port, "%d", coil_server_port(server));
    connect_all();
    coil_server_close(server);
    stress_ok(coil_server_wait_closed(server));
    coil_server_free(server);
    (void)stress_descriptors_settle(r.fewest); /* the last have been freed, and the kernel has let go */
    r.rounds++;
}

static int rounds(void *arg, void **result)
{
    double until = *(double *)arg;
    (void)result;
    r.fewest = INT_MAX;
    do
        run_round();
    while (stress_now() < until);
    return 0;
}

int main(int argc, char **argv)
{
    stress_begin(argc, argv);
    r.random = stress_random_state(0);
    int before = open_descriptors();
    double part = (stress_end - stress_now()) / 3, until = stress_now() + part;
    stress_ok(coil_run(coil_coro_make(rounds, &until, NULL, 0, "main"), NULL));
    stress_options.ring_mode = COIL_RING_DEFER;
    until = stress_now() + part;
    stress_run(rounds, &until);
    stress_options.ring_mode = COIL_RING_SHARED;
    until = stress_now() + part;
    stress_run(rounds, &until);
    MUST(open_descriptors() == before);
    printf("%" PRIu64 " rounds, %" PRIu64 " bytes\n", r.rounds, load_relaxed(&r.bytes)); /* [STRESS-2] */
    return 0;
}
