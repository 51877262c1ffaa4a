/*
 * streams.c - connections between tasks on several workers, with cancellations and closings at random: every byte
 * and every descriptor is accounted for
 *
 * Rounds of two kinds. In a gentle one whoever is cancelled goes on with what it did, and every byte has to arrive:
 * echoes, which one task writes and another reads, and messages that several tasks write to one stream, which must
 * not be mixed. In a wild one connections are closed, aborted and freed under those who use them, connecting is
 * cancelled, and so are the server's clients and accepting itself: what arrives is a prefix of what was sent. After
 * each round as many descriptors are open as before. With COIL_RING_MODE=shared workers that compute for a while
 * have their completions taken by others.
 */
#include "../support/stress.h"

#include <string.h>
#include <unistd.h>

#include "../../src/loop.h"

enum { CLIENTS = 16, WRITERS = 3, MESSAGES = 40, KILLERS = 2, TASKS_MAX = 1024, CHUNK = 20000, ROUND_SECONDS = 60 };

typedef struct connection {
    unsigned number;
    uint64_t random, reader_random;
    coil_stream *stream;
    uint64_t goal, got;
    _Atomic bool reading; /* [STRESS-1] relaxed: only when matters */
} connection;

static struct {
    bool wild;
    char port[16];
    _Atomic bool over;                    /* [STRESS-1] relaxed: only when matters */
    _Atomic unsigned count;               /* of tasks; [STRESS-2] distinct places */
    _Atomic(coil_task *) tasks[TASKS_MAX]; /* [STRESS-3] release, acquire: the task's memory. References */
    _Atomic uint64_t bytes;               /* [STRESS-2] */
    uint64_t random;
} r;

/* --- who can be cancelled --------------------------------------------------------------------------------------- */

static void enlist(coil_task *task)
{
    unsigned place = fetch_add_relaxed(&r.count, 1); /* [STRESS-2] */
    if (place < TASKS_MAX)
        store_release(&r.tasks[place], coil_retain(task)); /* [STRESS-3] */
}

static coil_task *spawn_unlisted(coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    stress_ok(coil_create_task(coil_coro_make(fn, arg, NULL, 0, "member"), &task));
    return task;
}

static coil_task *spawn(coil_coro_fn *fn, void *arg)
{
    coil_task *task = spawn_unlisted(fn, arg);
    enlist(task);
    return task;
}

/* Takes what has completed for another worker, as one does that finds it computing. */
static void stand_in(uint64_t *random)
{
    coil_loop *here = coil__current()->loop;
    coil_loop *other = here->members[stress_random(random, here->member_count)];
    COIL__GUARD(&other->backend_latch);
    if (other != here && other->backend)
        other->backend->ops->reap_for(other->backend, &here->ready);
}

static int killer(void *arg, void **result)
{
    uint64_t random = stress_random_state(*(unsigned *)arg + 1000) ^ r.random;
    (void)result;
    while (!load_relaxed(&r.over)) { /* [STRESS-1] */
        unsigned count = load_relaxed(&r.count), n = count < TASKS_MAX ? count : TASKS_MAX; /* [STRESS-2] */
        coil_task *victim = n > 0 ? load_acquire(&r.tasks[stress_random(&random, n)]) : NULL; /* [STRESS-3] */
        if (victim)
            coil_task_cancel(victim, NULL);
        stand_in(&random);
        stress_spin(stress_random(&random, 64) == 0 ? 1000000 : 0);
        bool pause = stress_random(&random, 16) == 0; /* without pauses nobody would get connected */
        stress_ok(coil_sleep(pause ? COIL_MS(stress_random(&random, 20)) : 0));
    }
    return 0;
}

/* The call's outcome, once it was not cancelled. */
#define AGAIN(rc, call)                                          \
    do                                                           \
        (rc) = stress_caught(call);                              \
    while ((rc) == -ECANCELED && !r.wild)

/* --- bytes ----------------------------------------------------------------------------------------------------- */

static unsigned char byte_at(uint64_t i)
{
    return (unsigned char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static void fill(unsigned char *buf, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = byte_at(from + i);
}

static void check(const unsigned char *buf, size_t n, uint64_t from)
{
    for (size_t i = 0; i < n; i++)
        MUST(buf[i] == byte_at(from + i));
    fetch_add_relaxed(&r.bytes, n); /* [STRESS-2] */
}

/* Sends bytes until @goal or an error. */
static int send_bytes(coil_stream *s, uint64_t goal, uint64_t *random)
{
    unsigned char buf[CHUNK];
    int rc = 0;
    for (uint64_t sent = 0; sent < goal && rc == 0;) {
        size_t n = 1 + stress_random(random, CHUNK - 1);
        if (n > goal - sent)
            n = (size_t)(goal - sent);
        fill(buf, n, sent);
        rc = stress_caught(coil_stream_write(s, buf, n));
        sent += n;
        if (rc == 0)
            AGAIN(rc, coil_stream_drain(s));
    }
    return rc;
}

static int read_once(connection *l, unsigned char *buf, size_t *n)
{
    int rc;
    size_t want = 1 + stress_random(&l->reader_random, CHUNK - 1);
    if (r.wild || stress_random(&l->reader_random, 2) || l->got + want > l->goal) {
        AGAIN(rc, coil_stream_read(l->stream, buf, want, n));
        return rc;
    }
    AGAIN(rc, coil_stream_readexactly(l->stream, buf, want));
    *n = want;
    return rc;
}

/* Reads until the end or an error; what it reads has to be right. */
static int reader(void *arg, void **result)
{
    connection *l = arg;
    unsigned char buf[CHUNK];
    size_t n = 1;
    int rc = 0;
    (void)result;
    store_relaxed(&l->reading, true); /* [STRESS-1] */
    enlist(coil_current_task());
    while (n > 0 && (rc = read_once(l, buf, &n)) == 0) {
        check(buf, n, l->got);
        l->got += n;
    }
    MUST(rc == 0 || r.wild);
    return 0;
}

/*
 * --- the server's side
 * ---------------------------------------------------------------------------------------------
 */

static void end(coil_stream *s, bool hard)
{
    if (hard)
        coil_stream_abort(s);
    else
        coil_stream_close(s);
    coil_stream_free(s);
}

static void echo(coil_stream *s)
{
    unsigned char buf[CHUNK];
    size_t n = 1;
    int rc = 0;
    while (rc == 0 && n > 0) {
        AGAIN(rc, coil_stream_read(s, buf, sizeof buf, &n));
        if (rc == 0 && n > 0)
            rc = stress_caught(coil_stream_write(s, buf, n));
        if (rc == 0)
            AGAIN(rc, coil_stream_drain(s));
    }
    MUST(rc == 0 || r.wild);
}

/* A message: who, which, how long, and that many bytes that say the same. */
static bool take_message(coil_stream *s, unsigned next[WRITERS])
{
    unsigned char head[3], body[256];
    int rc;
    AGAIN(rc, coil_stream_readexactly(s, head, 3));
    if (rc == COIL_EINCOMPLETEREAD)
        return false;
    MUST(rc == 0 && head[0] < WRITERS && head[1] == next[head[0]]);
    next[head[0]]++;
    AGAIN(rc, coil_stream_readexactly(s, body, head[2]));
    MUST(rc == 0);
    for (unsigned i = 0; i < head[2]; i++)
        MUST(body[i] == (unsigned char)(head[0] + head[1]));
    fetch_add_relaxed(&r.bytes, 3u + head[2]); /* [STRESS-2] */
    return true;
}

static void take_messages(coil_stream *s)
{
    unsigned next[WRITERS] = {0};
    unsigned char answer[WRITERS];
    while (take_message(s, next)) {
    }
    for (unsigned i = 0; i < WRITERS; i++)
        answer[i] = (unsigned char)next[i];
    stress_ok(coil_stream_write(s, answer, sizeof answer));
}

static int serve(coil_stream *s, void *arg)
{
    char kind;
    int rc;
    uint64_t random = stress_random_state((uintptr_t)s / 64);
    (void)arg;
    enlist(coil_current_task());
    AGAIN(rc, coil_stream_readexactly(s, &kind, 1));
    if (rc == 0 && kind == 'e')
        echo(s);
    else if (rc == 0 && kind == 'm')
        take_messages(s);
    else if (rc == 0)
        (void)send_bytes(s, UINT64_MAX, &random);
    end(s, r.wild && stress_random(&random, 2));
    return 0;
}

/*
 * --- gentle clients
 * -------------------------------------------------------------------------------------------------
 */

static bool open_link(connection *l, char kind)
{
    int rc;
    AGAIN(rc, coil_open_connection(stress_random(&l->random, 8) ? "127.0.0.1" : "localhost", r.port, &l->stream));
    if (rc < 0)
        return false;
    stress_ok(coil_stream_write(l->stream, &kind, 1));
    return true;
}

/* Nobody cancels it before it has begun: somebody has to read what comes. */
static coil_task *spawn_reader(connection *l)
{
    int rc;
    coil_task *task = spawn_unlisted(reader, l);
    while (!load_relaxed(&l->reading)) /* [STRESS-1] */
        AGAIN(rc, coil_sleep(0));
    return task;
}

static int echo_client(void *arg, void **result)
{
    connection *l = arg;
    (void)result;
    l->goal = stress_random(&l->random, 400000);
    MUST(open_link(l, 'e'));
    coil_task *task = spawn_reader(l);
    MUST(send_bytes(l->stream, l->goal, &l->random) == 0);
    stress_ok(coil_stream_write_eof(l->stream));
    stress_join_killed(task);
    MUST(l->got == l->goal);
    end(l->stream, false);
    return 0;
}

typedef struct writer {
    connection *of;
    unsigned number;
    uint64_t random;
    unsigned sent;
} writer;

static int write_messages(void *arg, void **result)
{
    writer *w = arg;
    unsigned char message[258];
    int rc;
    (void)result;
    for (; w->sent < MESSAGES; w->sent++) {
        unsigned char n = (unsigned char)stress_random(&w->random, 255);
        message[0] = (unsigned char)w->number;
        message[1] = (unsigned char)w->sent;
        message[2] = n;
        memset(message + 3, message[0] + message[1], n);
        stress_ok(coil_stream_write(w->of->stream, message, 3u + n));
        if (stress_random(&w->random, 4) == 0)
            AGAIN(rc, coil_stream_drain(w->of->stream));
        if (stress_random(&w->random, 4) == 0)
            AGAIN(rc, coil_sleep(0));
    }
    return 0;
}

static int message_client(void *arg, void **result)
{
    connection *l = arg;
    writer writers[WRITERS];
    coil_task *tasks[WRITERS];
    unsigned char answer[WRITERS];
    int rc;
    (void)result;
    MUST(open_link(l, 'm'));
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (writer){l, i, stress_random_state(l->number * 8 + i), 0};
        tasks[i] = spawn(write_messages, &writers[i]);
    }
    for (unsigned i = 0; i < WRITERS; i++)
        stress_join_killed(tasks[i]);
    stress_ok(coil_stream_write_eof(l->stream));
    AGAIN(rc, coil_stream_readexactly(l->stream, answer, WRITERS));
    MUST(rc == 0);
    for (unsigned i = 0; i < WRITERS; i++)
        MUST(answer[i] == writers[i].sent);
    coil_stream_close(l->stream);
    AGAIN(rc, coil_stream_wait_closed(l->stream));
    coil_stream_free(l->stream);
    return 0;
}

/*
 * --- wild clients
 * ----------------------------------------------------------------------------------------------------
 */

static int wild_writer(void *arg, void **result)
{
    connection *l = arg;
    uint64_t random = stress_random_state(l->number + 77);
    (void)result;
    (void)send_bytes(l->stream, 1000000, &random);
    return 0;
}

static int wild_closer(void *arg, void **result)
{
    connection *l = arg;
    uint64_t random = stress_random_state(l->number + 99);
    (void)result;
    for (unsigned n = stress_random(&random, 50); n > 0; n--)
        (void)stress_caught(coil_sleep(stress_random(&random, 3) == 0 ? COIL_US(100) : 0));
    switch (stress_random(&random, 3)) {
    case 0:
        coil_stream_abort(l->stream);
        break;
    case 1:
        coil_stream_close(l->stream);
        break;
    default:
        (void)stress_caught(coil_stream_write_eof(l->stream));
        break;
    }
    return 0;
}

static int wild_client(void *arg, void **result)
{
    static coil_coro_fn *const bodies[] = {wild_writer, reader, wild_closer};
    connection *l = arg;
    coil_task *tasks[3];
    (void)result;
    if (!open_link(l, stress_random(&l->random, 2) ? 'e' : 'f'))
        return 0;
    for (unsigned i = 0; i < 3; i++)
        tasks[i] = spawn(bodies[i], l);
    (void)stress_caught(coil_sleep(COIL_MS(stress_random(&l->random, 10))));
    coil_stream_abort(l->stream);
    for (unsigned i = 0; i < 3; i++)
        stress_join_killed(tasks[i]);
    coil_stream_free(l->stream);
    return 0;
}

/*
 * --- rounds
 * -------------------------------------------------------------------------------------------------------------
 */

static void run_clients(connection *links)
{
    coil_task *tasks[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        coil_coro_fn *fn = r.wild ? wild_client : i % 4 == 3 ? message_client : echo_client;
        links[i] = (connection){.number = i};
        links[i].random = stress_random_state(i) ^ r.random;
        links[i].reader_random = stress_random_state(i + CLIENTS) ^ r.random;
        tasks[i] = spawn(fn, &links[i]);
    }
    for (unsigned i = 0; i < CLIENTS; i++)
        stress_join_killed(tasks[i]);
}

static void interfere(coil_server *server)
{
    uint64_t random = stress_random_state(500) ^ r.random;
    for (unsigned n = stress_random(&random, 20); n > 0; n--)
        stress_ok(coil_sleep(COIL_US(stress_random(&random, 300))));
    coil_server_cancel_clients(server);
    if (stress_random(&random, 2))
        coil_server_close(server);
}

static int interferer(void *arg, void **result)
{
    (void)result;
    interfere(arg);
    return 0;
}

static void end_killing(coil_task *killers[KILLERS])
{
    store_relaxed(&r.over, true); /* [STRESS-1] */
    for (unsigned i = 0; i < KILLERS; i++) {
        stress_ok(coil_await(killers[i], NULL));
        coil_release(killers[i]);
    }
}

static void begin_round(coil_server **server)
{
    r.wild = stress_random(&r.random, 2);
    store_relaxed(&r.over, false); /* [STRESS-1] */
    store_relaxed(&r.count, 0);    /* [STRESS-2] */
    stress_ok(coil_start_server(serve, NULL, "127.0.0.1", "0", NULL, server));
    snprintf(r.port, sizeof r.port, "%d", coil_server_port(*server));
}

static void end_round(coil_server *server)
{
    coil_server_close(server);
    if (r.wild)
        coil_server_cancel_clients(server);
    stress_ok(coil_server_wait_closed(server));
    coil_server_free(server);
    for (unsigned i = 0; i < TASKS_MAX; i++) {
        coil_release(load_acquire(&r.tasks[i])); /* [STRESS-3] */
        store_relaxed(&r.tasks[i], NULL);        /* [STRESS-3] nobody looks any more */
    }
}

static void run_round(void)
{
    static unsigned numbers[KILLERS] = {0, 1};
    static connection links[CLIENTS];
    coil_task *killers[KILLERS], *other = NULL;
    coil_server *server;
    begin_round(&server);
    for (unsigned i = 0; i < KILLERS; i++)
        stress_ok(coil_create_task(coil_coro_of(killer, &numbers[i]), &killers[i]));
    if (r.wild)
        stress_ok(coil_create_task(coil_coro_of(interferer, server), &other));
    run_clients(links);
    if (other)
        stress_ok(coil_join(other, NULL));
    end_killing(killers);
    end_round(server);
}

static int run(void *arg, void **result)
{
    unsigned rounds = 0;
    (void)arg, (void)result;
    r.random = stress_random_state(0);
    run_round(); /* so that everything has been opened once */
    int before = open_descriptors(); /* or more: what the round had may be closing still. A later one shows fewer then */
    for (; rounds == 0 || stress_time_left(); rounds++) {
        alarm(ROUND_SECONDS);
        run_round();
        before = stress_descriptors_settle(before);
    }
    printf("%u rounds, %" PRIu64 " bytes\n", rounds, load_relaxed(&r.bytes)); /* [STRESS-2] */
    return 0;
}

int main(int argc, char **argv)
{
    return stress_main(argc, argv, run, NULL);
}
