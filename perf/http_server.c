/*
 * http_server.c - the program coil-http-server: W10's server, "Hello, World!" in plain text to every request
 *
 * It runs on one loop, or on a runtime of several workers. Prints "listening on 127.0.0.1:PORT backend=NAME"
 * when it can be reached. SIGTERM and SIGINT end it in order.
 */
#include <coil_http.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX 64

typedef struct program {
    const char *port;
    coil_loop_options loop;
    unsigned workers;     /* of a runtime; 0: a plain loop */
    coil_future *stopped; /* completed by the first signal */
} program;

static int hello(coil_http_request *request, coil_http_response *response, void *arg)
{
    static const char text[] = "Hello, World!";
    (void)request, (void)arg;
    return coil_http_respond(response, 200, "text/plain", text, sizeof text - 1);
}

static int stop(void *arg)
{
    program *p = arg;
    return coil_future_done(p->stopped) ? 0 : coil_future_set_result(p->stopped, NULL);
}

static int announce(const coil_http_server *server)
{
    coil_backend_info info = {.size = sizeof info};
    COIL_TRY(coil_loop_backend_info(coil_get_running_loop(), &info));
    printf("listening on 127.0.0.1:%d backend=%s\n", coil_http_server_port(server), info.name);
    fflush(stdout);
    return 0;
}

static int serve(program *p, coil_http_server *server)
{
    COIL_TRY(coil_loop_add_signal_handler(coil_get_running_loop(), SIGTERM, stop, p));
    COIL_TRY(coil_loop_add_signal_handler(coil_get_running_loop(), SIGINT, stop, p));
    COIL_TRY(announce(server));
    COIL_TRY(coil_await(p->stopped, NULL));
    int rc = coil_http_server_drain(server, COIL_SECONDS(2));
    coil_error_release(coil_catch(rc)); /* whoever takes longer was told so */
    return rc == -ETIMEDOUT ? 0 : rc;
}

static int async_main(void *arg, void **result)
{
    program *p = arg;
    coil_http_server *server;
    (void)result;
    COIL_TRY(coil_create_future(&p->stopped));
    COIL_TRY(coil_http_start_server(hello, NULL, "127.0.0.1", p->port, NULL, &server));
    int rc = serve(p, server);
    coil_http_server_free(server);
    coil_release(p->stopped);
    return rc;
}

static int run(program *p)
{
    coil_coro coro = coil_coro_of(async_main, p);
    coil_runtime_options o = {.size = sizeof o, .workers = p->workers, .loop = p->loop};
    int rc = p->workers ? coil_runtime_run(&o, coro, NULL) : coil_run_with(&p->loop, coro, NULL);
    if (rc < 0)
        fprintf(stderr, "coil-http-server: %s\n", coil_strerror(rc));
    return rc < 0;
}

static int usage(FILE *out)
{
    fprintf(out, "usage: coil-http-server [--port N] [--backend uring|epoll] [--workers N]\n"
                 "  --port N       0, the default: a free one\n"
                 "  --workers N    of a runtime; without it one loop\n");
    return out == stdout ? 0 : 2;
}

static bool parse_option(const char *name, const char *value, program *p)
{
    char *end;
    unsigned long number = strtoul(value, &end, 10);
    bool is_number = end != value && *end == '\0';
    if (strcmp(name, "--port") == 0) {
        p->port = value;
        return is_number && number <= 65535;
    }
    if (strcmp(name, "--workers") == 0) {
        p->workers = (unsigned)number;
        return is_number && number > 0 && number <= WORKERS_MAX;
    }
    p->loop.backend = strcmp(value, "uring") == 0 ? COIL_BACKEND_URING : COIL_BACKEND_EPOLL;
    return strcmp(name, "--backend") == 0 && (strcmp(value, "uring") == 0 || strcmp(value, "epoll") == 0);
}

int main(int argc, char **argv)
{
    program p = {.port = "0", .loop.size = sizeof(coil_loop_options)};
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    for (int i = 1; i < argc; i += 2)
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &p))
            return usage(stderr);
    return run(&p);
}
