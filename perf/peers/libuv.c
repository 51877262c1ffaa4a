/*
 * libuv.c - the program libuv-peer: W4, W9 and W11 on libuv, as a careful user of it writes them
 *
 *   libuv-peer post | rtt | rtt_1core              one measured round after one that warms up
 *   libuv-peer echo [--workers N] [--stall]        announces its port like coil-echo-server
 *
 * A loop belongs to one thread, so several workers are several loops, each with a listening socket of its own on one
 * port (SO_REUSEPORT): the kernel spreads the connections, and they stay where they are. Posts go through a list under
 * a mutex and one uv_async_send() each, which libuv itself makes one write for a burst. Results are lines
 * "libuv W4.post 1000000 ops/s".
 */
#define _GNU_SOURCE /* sched_setaffinity */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define POSTS 1000000
#define ROUND_TRIPS 20000
#define MESSAGE_BYTES 64
#define BUFFER_BYTES 16384
#define WORKERS_MAX 64

static void die(const char *what, const char *why)
{
    fprintf(stderr, "libuv-peer: %s: %s\n", what, why);
    exit(1);
}

static int64_t monotonic_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* --- W4: a foreign thread and a loop -------------------------------------------------------------------------- */

typedef struct call {
    struct call *next;
    void (*fn)(void *arg);
    void *arg;
} call;

typedef struct inbox {
    uv_loop_t loop;
    uv_async_t async;
    pthread_mutex_t mutex; /* of the list */
    call *first, **last;
    sem_t reply;
    uint64_t count;
    bool round_trips;
    int64_t start_ns, end_ns;
} inbox;

static void post(inbox *in, void (*fn)(void *), void *arg)
{
    call *c = malloc(sizeof *c);
    if (!c)
        die("post", "out of memory");
    *c = (call){NULL, fn, arg};
    pthread_mutex_lock(&in->mutex);
    *in->last = c;
    in->last = &c->next;
    pthread_mutex_unlock(&in->mutex);
    uv_async_send(&in->async);
}

static void run_posted(uv_async_t *async)
{
    inbox *in = async->data;
    pthread_mutex_lock(&in->mutex);
    call *c = in->first;
    in->first = NULL;
    in->last = &in->first;
    pthread_mutex_unlock(&in->mutex);
    while (c) {
        call *next = c->next;
        c->fn(c->arg);
        free(c);
        c = next;
    }
}

static void finish(inbox *in)
{
    in->end_ns = monotonic_ns();
    uv_close((uv_handle_t *)&in->async, NULL);
}

static void count(void *arg)
{
    inbox *in = arg;
    if (++in->count == POSTS)
        finish(in);
}

static void reply(void *arg)
{
    inbox *in = arg;
    sem_post(&in->reply);
    if (++in->count == ROUND_TRIPS)
        finish(in);
}

static void *poster(void *arg)
{
    inbox *in = arg;
    usleep(2000); /* until the loop sleeps */
    in->start_ns = monotonic_ns();
    for (int i = 0; !in->round_trips && i < POSTS; i++)
        post(in, count, in);
    for (int i = 0; in->round_trips && i < ROUND_TRIPS; i++) {
        post(in, reply, in);
        while (sem_wait(&in->reply) < 0) {
        }
    }
    return NULL;
}

static double one_round(bool round_trips)
{
    inbox in = {.mutex = PTHREAD_MUTEX_INITIALIZER, .last = &in.first, .round_trips = round_trips};
    pthread_t thread = 0;
    in.async.data = &in;
    if (uv_loop_init(&in.loop) < 0 || uv_async_init(&in.loop, &in.async, run_posted) < 0 ||
        sem_init(&in.reply, 0, 0) < 0 || pthread_create(&thread, NULL, poster, &in) != 0)
        die("cannot start", strerror(errno));
    uv_run(&in.loop, UV_RUN_DEFAULT);
    pthread_join(thread, NULL);
    uv_loop_close(&in.loop);
    return (double)(in.end_ns - in.start_ns);
}

/* This thread, and those that it makes from now on, on core 0. */
static void pin_to_one_core(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(0, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        die("sched_setaffinity", strerror(errno));
}

static int run_posts(void)
{
    one_round(false);
    printf("libuv W4.post %.0f ops/s\n", POSTS * 1e9 / one_round(false));
    return 0;
}

static int run_round_trips(const char *name)
{
    if (strcmp(name, "rtt_1core") == 0)
        pin_to_one_core();
    one_round(true);
    printf("libuv W4.%s %.0f ns\n", name, one_round(true) / ROUND_TRIPS);
    return 0;
}

/* --- W9, W11: echo --------------------------------------------------------------------------------------------- */

typedef struct connection {
    uv_tcp_t tcp;
    char message[BUFFER_BYTES]; /* read into; with stalls, a message's first `filled` bytes stay until it is whole */
    size_t filled;
} connection;

typedef struct pending {
    uv_write_t request;
    char bytes[];
} pending;

static bool stalls;

static void freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void hang_up(connection *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, freed);
}

static void written(uv_write_t *request, int status)
{
    if (status < 0 && status != UV_ECANCELED)
        hang_up(request->handle->data);
    free(request);
}

/* What the kernel does not take at once is copied and queued. */
static void send_back(connection *c, char *bytes, size_t n)
{
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)n);
    int sent = uv_try_write((uv_stream_t *)&c->tcp, &buffer, 1);
    if (sent == UV_EAGAIN)
        sent = 0;
    if (sent < 0) {
        hang_up(c);
        return;
    }
    size_t rest = n - (size_t)sent;
    if (rest == 0)
        return;
    pending *p = malloc(sizeof *p + rest);
    if (!p)
        die("echo", "out of memory");
    memcpy(p->bytes, bytes + sent, rest);
    buffer = uv_buf_init(p->bytes, (unsigned)rest);
    if (uv_write(&p->request, (uv_stream_t *)&c->tcp, &buffer, 1, written) < 0)
        die("uv_write", "failed");
}

static void compute(uint32_t ns)
{
    int64_t end = monotonic_ns() + ns;
    while (monotonic_ns() < end) {
    }
}

static void serve_messages(connection *c)
{
    size_t at = 0;
    for (; c->filled - at >= MESSAGE_BYTES; at += MESSAGE_BYTES) {
        uint32_t ns;
        memcpy(&ns, c->message + at, sizeof ns);
        if (ns > 0)
            compute(ns);
        send_back(c, c->message + at, MESSAGE_BYTES);
    }
    c->filled -= at;
    memmove(c->message, c->message + at, c->filled);
}

static void give_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    connection *c = handle->data;
    *buffer = uv_buf_init(c->message + c->filled, (unsigned)(sizeof c->message - c->filled));
}

static void received(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    connection *c = stream->data;
    if (n < 0) {
        hang_up(c);
    } else if (stalls) {
        c->filled += (size_t)n;
        serve_messages(c);
    } else if (n > 0) {
        send_back(c, buffer->base, (size_t)n);
    }
}

static void connected(uv_stream_t *listener, int status)
{
    connection *c = status < 0 ? NULL : calloc(1, sizeof *c);
    if (!c)
        return;
    uv_tcp_init(listener->loop, &c->tcp);
    c->tcp.data = c;
    if (uv_accept(listener, (uv_stream_t *)&c->tcp) < 0) {
        hang_up(c);
        return;
    }
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)&c->tcp, give_buffer, received);
}

/* One of several sockets on a port; @port 0 chooses one. */
static int listening_socket(uint16_t *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(*port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&address, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        die("cannot listen", strerror(errno));
    *port = ntohs(address.sin_port);
    return fd;
}

static void *serve(void *arg)
{
    uv_loop_t loop;
    uv_tcp_t listener;
    if (uv_loop_init(&loop) < 0 || uv_tcp_init(&loop, &listener) < 0 ||
        uv_tcp_open(&listener, (int)(intptr_t)arg) < 0 || uv_listen((uv_stream_t *)&listener, 4096, connected) < 0)
        die("cannot serve", "libuv says no");
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

static int run_echo(int workers)
{
    int fds[WORKERS_MAX];
    uint16_t port = 0;
    for (int i = 0; i < workers; i++) {
        fds[i] = listening_socket(&port);
        if (listen(fds[i], 4096) < 0) /* before the port is announced */
            die("cannot listen", strerror(errno));
    }
    printf("listening on 127.0.0.1:%u backend=libuv\n", (unsigned)port);
    fflush(stdout);
    for (int i = 1; i < workers; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fds[i]) != 0)
            die("cannot start", "no thread");
    }
    serve((void *)(intptr_t)fds[0]);
    return 0;
}

/* --- program ---------------------------------------------------------------------------------------------------- */

static int usage(FILE *out)
{
    fprintf(out, "usage: libuv-peer post|rtt|rtt_1core\n       libuv-peer echo [--workers N] [--stall]\n");
    return out == stdout ? 0 : 2;
}

static int parse_echo(int argc, char **argv)
{
    int workers = 1;
    for (int i = 2; i < argc; i++) {
        if (strcmp(argv[i], "--stall") == 0)
            stalls = true;
        else if (strcmp(argv[i], "--workers") == 0 && i + 1 < argc)
            workers = atoi(argv[++i]);
        else
            return usage(stderr);
    }
    return workers < 1 || workers > WORKERS_MAX ? usage(stderr) : run_echo(workers);
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "--help") == 0)
        return usage(stdout);
    if (strcmp(what, "echo") == 0)
        return parse_echo(argc, argv);
    if (argc == 2 && strcmp(what, "post") == 0)
        return run_posts();
    if (argc == 2 && (strcmp(what, "rtt") == 0 || strcmp(what, "rtt_1core") == 0))
        return run_round_trips(what);
    return usage(stderr);
}
