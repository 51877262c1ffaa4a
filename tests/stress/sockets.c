/*
 * sockets.c - sock_* calls whose tasks are cancelled at random moments: every byte and every descriptor is accounted
 * for
 *
 * Each round runs on a loop of its own or on a runtime, and has some pairs of sockets with a task at each end;
 * killers cancel them. Who is cancelled goes on where it was: bytes arrive in order and once, so do descriptors,
 * files and datagrams, and each connection that was made is accepted once. After the round as many descriptors are
 * open as before.
 */
#define _GNU_SOURCE /* pipe2, memfd_create */
#include "../support/stress.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../../src/base/atomic.h"

enum { PAIRS = 6, BYTES = 300000, MESSAGES = 150, CONNECTIONS = 40, KILLERS = 3, TASKS_MAX = 64 };

typedef struct pair {
    uint64_t random[2];
    int fds[2];
    int file;       /* with the pattern, for the sender */
    bool by_file;
} pair;

static struct {
    _Atomic unsigned alive;               /* tasks that have still to end. [STRESS-3] release, acquire: what they did */
    _Atomic unsigned begun;               /* [STRESS-3] */
    _Atomic unsigned count;               /* [STRESS-2] relaxed: distinct places */
    _Atomic(coil_task *) tasks[TASKS_MAX]; /* [STRESS-3] release, acquire: the task's memory. References */
    _Atomic uint64_t cancelled, done;     /* [STRESS-1] relaxed: counts */
    coil_address address;                 /* of the listener */
    int listener;
    uint64_t seed;
} r;

/* --- who can be cancelled --------------------------------------------------------------------------------------- */

static void start(coil_coro_fn *fn, void *arg)
{
    coil_task *task;
    fetch_add_acq_rel(&r.alive, 1); /* [STRESS-3] */
    stress_ok(coil_create_task(coil_coro_make(fn, arg, NULL, 0, "member"), &task));
    unsigned place = fetch_add_relaxed(&r.count, 1); /* [STRESS-2] */
    MUST(place < TASKS_MAX);
    store_release(&r.tasks[place], task); /* [STRESS-3] */
}

static void begin(void)
{
    fetch_add_acq_rel(&r.begun, 1); /* [STRESS-3] */
}

static int over(void)
{
    fetch_sub_acq_rel(&r.alive, 1); /* [STRESS-3] */
    return 0;
}

/* Whether the call has to be made again: it was cancelled, and did nothing. */
static bool again(int rc)
{
    if (rc == 0)
        fetch_add_relaxed(&r.done, 1); /* [STRESS-1] */
    if (rc >= 0)
        return false;
    MUST(stress_caught(rc) == -ECANCELED);
    fetch_add_relaxed(&r.cancelled, 1); /* [STRESS-1] */
    return true;
}

static int killer(void *arg, void **result)
{
    uint64_t random = stress_random_state(r.seed + *(unsigned *)arg);
    (void)result;
    while (load_acquire(&r.alive) > 0) { /* [STRESS-3] */
        unsigned n = load_relaxed(&r.count); /* [STRESS-2] */
        coil_task *victim = n > 0 ? load_acquire(&r.tasks[stress_random(&random, n)]) : NULL; /* [STRESS-3] */
        if (victim)
            coil_task_cancel(victim, NULL);
        bool pause = stress_random(&random, 8) == 0;
        stress_ok(coil_sleep(pause ? COIL_US(stress_random(&random, 1500)) : 0));
    }
    return 0;
}

/* --- bytes ------------------------------------------------------------------------------------------------------ */

static char byte_at(size_t i)
{
    return (char)(i * 31 + (i >> 8) * 7 + (i >> 16));
}

static int send_bytes(void *arg, void **result)
{
    pair *p = arg;
    char data[20000];
    size_t sent = 0, n = 0;
    (void)result;
    begin();
    while (sent < BYTES) {
        size_t want = 1 + stress_random(&p->random[0], sizeof data);
        want = want < BYTES - sent ? want : BYTES - sent;
        for (size_t i = 0; i < want; i++)
            data[i] = byte_at(sent + i);
        if (p->by_file)
            (void)again(coil_sock_sendfile(p->fds[0], p->file, (int64_t)sent, want, &n));
        else
            (void)again(coil_sock_sendall(p->fds[0], data, want, &n));
        sent += n;
    }
    return over();
}

static int receive_bytes(void *arg, void **result)
{
    pair *p = arg;
    char data[20000];
    size_t got = 0, n;
    (void)result;
    begin();
    while (got < BYTES) {
        if (again(coil_sock_recv(p->fds[1], data, 1 + stress_random(&p->random[1], sizeof data), &n)))
            continue;
        MUST(n > 0);
        for (size_t i = 0; i < n; i++)
            MUST(data[i] == byte_at(got + i));
        got += n;
    }
    return over();
}

/* --- descriptors ------------------------------------------------------------------------------------------------ */

static int send_fds(void *arg, void **result)
{
    pair *p = arg;
    (void)result;
    begin();
    for (int i = 0; i < MESSAGES; i++) {
        int ends[2], rc;
        char c = (char)i;
        size_t n;
        MUST(pipe2(ends, O_CLOEXEC) == 0);
        MUST(write(ends[1], &c, 1) == 1);
        do
            rc = coil_sock_send_fds(p->fds[0], &c, 1, ends, 1 + (size_t)i % 2, &n);
        while (again(rc));
        close(ends[0]);
        close(ends[1]);
    }
    return over();
}

static int receive_fds(void *arg, void **result)
{
    pair *p = arg;
    (void)result;
    begin();
    for (int i = 0; i < MESSAGES; i++) {
        int fds[2], rc;
        char c, in_pipe;
        size_t n, count;
        do
            rc = coil_sock_recv_fds(p->fds[1], &c, 1, fds, 2, &count, &n);
        while (again(rc));
        MUST(n == 1 && c == (char)i && count == 1 + (size_t)i % 2);
        MUST(read(fds[0], &in_pipe, 1) == 1 && in_pipe == c);
        for (size_t k = 0; k < count; k++)
            close(fds[k]);
    }
    return over();
}

/* --- datagrams -------------------------------------------------------------------------------------------------- */

static int send_datagrams(void *arg, void **result)
{
    pair *p = arg;
    (void)result;
    begin();
    for (int i = 0; i < MESSAGES; i++) {
        int rc;
        size_t n;
        do
            rc = coil_sock_sendto(p->fds[0], &i, sizeof i, NULL, &n);
        while (again(rc));
    }
    return over();
}

static int receive_datagrams(void *arg, void **result)
{
    pair *p = arg;
    (void)result;
    begin();
    for (int i = 0; i < MESSAGES; i++) {
        int got, rc;
        size_t n;
        do
            rc = coil_sock_recvfrom(p->fds[1], &got, sizeof got, NULL, &n);
        while (again(rc));
        MUST(n == sizeof got && got == i);
    }
    return over();
}

/* --- connections ------------------------------------------------------------------------------------------------ */

/* One connection that carries a number; a cancelled attempt is given up, whatever the kernel has made of it. */
static void connect_with(int number)
{
    for (;;) {
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        size_t sent = 0, n;
        char ack;
        MUST(fd >= 0);
        bool failed = again(coil_sock_connect(fd, &r.address));
        while (!failed && sent < sizeof number) {
            (void)again(coil_sock_sendall(fd, (char *)&number + sent, sizeof number - sent, &n));
            sent += n;
        }
        while (!failed && again(coil_sock_recv(fd, &ack, 1, &n)))
            ;
        MUST(failed || n == 1);
        close(fd);
        if (!failed)
            return;
    }
}

static int connect_many(void *arg, void **result)
{
    (void)arg;
    (void)result;
    begin();
    for (int i = 0; i < CONNECTIONS; i++)
        connect_with(i);
    return over();
}

/* The number that came; -1: the connection was given up. */
static int serve(int fd)
{
    int number, rc = 0;
    size_t got = 0, n;
    while (got < sizeof number) {
        rc = coil_sock_recv(fd, (char *)&number + got, sizeof number - got, &n);
        if (rc == -ECONNRESET) {
            stress_caught(rc);
            return -1;
        }
        if (again(rc))
            continue;
        if (n == 0)
            return -1;
        got += n;
    }
    while (again(coil_sock_sendall(fd, "a", 1, NULL)))
        ;
    return number;
}

static int accept_many(void *arg, void **result)
{
    (void)arg;
    (void)result;
    begin();
    for (int expected = 0; expected < CONNECTIONS;) {
        int fd;
        if (again(coil_sock_accept(r.listener, &fd, NULL)))
            continue;
        int number = serve(fd);
        MUST(number == -1 || number == expected);
        expected += number == expected;
        close(fd);
    }
    return over();
}

static void open_listener(void)
{
    coil_address any;
    stress_ok(coil_address_parse("127.0.0.1:0", &any));
    r.listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    MUST(r.listener >= 0 && bind(r.listener, &any.any, any.bytes) == 0 && listen(r.listener, 100) == 0);
    stress_ok(coil_address_of_socket(r.listener, &r.address));
}

/* --- rounds ----------------------------------------------------------------------------------------------------- */

static void open_pair(pair *p, unsigned i, int type)
{
    p->random[0] = stress_random_state(r.seed + 10 + 2 * i);
    p->random[1] = stress_random_state(r.seed + 11 + 2 * i);
    p->file = -1;
    MUST(socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, p->fds) == 0);
}

static void make_file(pair *p)
{
    static char data[BYTES];
    p->by_file = true;
    p->file = memfd_create("stress", MFD_CLOEXEC);
    for (size_t i = 0; i < BYTES; i++)
        data[i] = byte_at(i);
    MUST(write(p->file, data, BYTES) == BYTES);
}

static void start_pair(pair *p, unsigned i)
{
    *p = (pair){.by_file = false};
    open_pair(p, i, i % 6 == 3 ? SOCK_DGRAM : SOCK_STREAM);
    if (i % 6 == 1)
        make_file(p);
    start(i % 6 == 2 ? receive_fds : i % 6 == 3 ? receive_datagrams : receive_bytes, p);
    start(i % 6 == 2 ? send_fds : i % 6 == 3 ? send_datagrams : send_bytes, p);
}

static void close_pair(pair *p)
{
    close(p->fds[0]);
    close(p->fds[1]);
    if (p->file >= 0)
        close(p->file);
}

static int round_body(void *arg, void **result)
{
    static pair pairs[PAIRS];
    coil_task *killers[KILLERS];
    unsigned numbers[KILLERS];
    (void)arg;
    (void)result;
    store_relaxed(&r.count, 0); /* [STRESS-2] */
    store_release(&r.alive, 0); /* [STRESS-3] */
    store_release(&r.begun, 0); /* [STRESS-3] */
    open_listener();
    for (unsigned i = 0; i < PAIRS; i++)
        start_pair(&pairs[i], i);
    start(accept_many, NULL);
    start(connect_many, NULL);
    while (load_acquire(&r.begun) < load_relaxed(&r.count)) /* [STRESS-3] one that is cancelled before never runs */
        stress_ok(coil_sleep(0));
    for (unsigned i = 0; i < KILLERS; i++) {
        numbers[i] = i;
        stress_ok(coil_create_task(coil_coro_make(killer, &numbers[i], NULL, 0, "killer"), &killers[i]));
    }
    for (unsigned i = 0; i < KILLERS; i++)
        stress_join_killed(killers[i]);
    for (unsigned i = 0; i < load_relaxed(&r.count); i++) /* [STRESS-2] */
        stress_join_killed(load_acquire(&r.tasks[i]));                  /* [STRESS-3] */
    for (unsigned i = 0; i < PAIRS; i++)
        close_pair(&pairs[i]);
    close(r.listener);
    return 0;
}

int main(int argc, char **argv)
{
    unsigned rounds = 0;
    stress_begin(argc, argv);
    int before = open_descriptors();
    uint64_t random = stress_random_state(1);
    do {
        r.seed = stress_random(&random, 1u << 30);
        if (rounds++ % 2 == 0)
            stress_ok(coil_run(coil_coro_make(round_body, NULL, NULL, 0, "round"), NULL));
        else
            stress_run(round_body, NULL);
        MUST(open_descriptors() == before);
    } while (stress_time_left());
    printf("%u rounds, %" PRIu64 " calls, %" PRIu64 " cancelled\n", rounds, load_relaxed(&r.done),
           load_relaxed(&r.cancelled)); /* [STRESS-1] */
    return 0;
}
