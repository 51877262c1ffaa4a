/*
 * echo_server.c - the program coil-echo-server: W9's server, one loop, one task per connection
 *
 * Prints "listening on 127.0.0.1:PORT backend=NAME" when it can be reached. SIGTERM and SIGINT end it in order: it stops
 * listening, cancels the connections' tasks, waits for them and exits with 0. The library takes no signals itself, so
 * they are blocked in every thread, and a plain thread waits for them and calls into the loop.
 */
#include <coil.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUFFER_BYTES 16384

typedef struct program {
    const char *port;
    coil_loop_options loop;
    sigset_t signals;     /* blocked in every thread */
    coil_loop *running;   /* that the signals' thread calls into */
    coil_future *stopped; /* completed by the first signal */
} program;

/* --- connections --------------------------------------------------------------------------------------------- */

static int echo(coil_stream *stream)
{
    char buffer[BUFFER_BYTES];
    for (;;) {
        size_t n;
        COIL_TRY(coil_stream_read(stream, buffer, sizeof buffer, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_stream_write(stream, buffer, n));
        COIL_TRY(coil_stream_drain(stream));
    }
}

static int serve_connection(coil_stream *stream, void *arg)
{
    (void)arg;
    int rc = echo(stream);
    if (rc == 0) {
        coil_stream_close(stream);
        rc = coil_stream_wait_closed(stream);
    }
    coil_stream_free(stream);
    /* A client that goes away in the middle is nothing to report; it has noticed. */
    return rc == -ECONNRESET || rc == -EPIPE ? 0 : rc;
}

/* --- signals ------------------------------------------------------------------------------------------------- */

static int stop(void *arg)
{
    program *p = arg;
    return coil_future_done(p->stopped) ? 0 : coil_future_set_result(p->stopped, NULL);
}

static void *wait_for_signal(void *arg)
{
    program *p = arg;
    int signal_number;
    sigwait(&p->signals, &signal_number);
    coil_loop_call_soon_threadsafe(p->running, stop, p, NULL);
    return NULL;
}

/* A positive number of pthread_create() becomes a negative code. */
static int start_signal_thread(program *p)
{
    pthread_t thread;
    int rc = pthread_create(&thread, NULL, wait_for_signal, p);
    if (rc == 0)
        pthread_detach(thread);
    return -rc;
}

/* --- program ------------------------------------------------------------------------------------------------- */

static int announce(const program *p, const coil_server *server)
{
    coil_backend_info info = {.size = sizeof info};
    COIL_TRY(coil_loop_backend_info(p->running, &info));
    printf("listening on 127.0.0.1:%d backend=%s\n", coil_server_port(server), info.name);
    fflush(stdout);
    return 0;
}

static int serve_until_signal(program *p, coil_server *server)
{
    COIL_TRY(announce(p, server));
    COIL_TRY(start_signal_thread(p));
    COIL_TRY(coil_await(p->stopped, NULL));
    coil_server_close(server);
    coil_server_cancel_clients(server);
    return coil_server_wait_closed(server);
}

static int serve(void *arg, void **result)
{
    (void)result;
    program *p = arg;
    coil_server *server;
    coil_server_options options = {.size = sizeof options, .backlog = 4096};
    p->running = coil_get_running_loop();
    COIL_TRY(coil_create_future(&p->stopped));
    int rc = coil_start_server(serve_connection, NULL, "127.0.0.1", p->port, &options, &server);
    if (rc == 0) {
        rc = serve_until_signal(p, server);
        coil_server_free(server);
    }
    coil_release(p->stopped);
    return rc;
}

static int run(program *p)
{
    sigemptyset(&p->signals);
    sigaddset(&p->signals, SIGTERM);
    sigaddset(&p->signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &p->signals, NULL);
    int rc = coil_run_with(&p->loop, coil_coro_of(serve, p), NULL);
    if (rc == 0)
        return 0;
    coil_error *error = coil_catch(rc);
    char text[200];
    coil_error_format(error, text, sizeof text);
    fprintf(stderr, "coil-echo-server: %s\n", text);
    coil_error_release(error);
    return 1;
}

static int usage(void)
{
    fprintf(stderr, "usage: coil-echo-server [--port N] [--backend uring|epoll]\n"
                    "  --port N  where to listen on 127.0.0.1; 0, the default: a free port\n");
    return 2;
}

static bool parse_option(const char *name, const char *value, program *p)
{
    if (strcmp(name, "--port") == 0) {
        char *end;
        unsigned long port = strtoul(value, &end, 10);
        p->port = value;
        return end != value && *end == '\0' && port <= 65535;
    }
    p->loop.backend = strcmp(value, "uring") == 0 ? COIL_BACKEND_URING : COIL_BACKEND_EPOLL;
    return strcmp(name, "--backend") == 0 && (strcmp(value, "uring") == 0 || strcmp(value, "epoll") == 0);
}

int main(int argc, char **argv)
{
    program p = {.port = "0", .loop.size = sizeof(coil_loop_options)};
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &p))
            return usage();
    }
    return run(&p);
}
