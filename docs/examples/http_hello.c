/*
 * http_hello.c - an HTTP server on all processors: http_hello [PORT] (0 or none: a free port, which it prints)
 *
 * GET / says hello, POST /echo streams the request's body back; anything else is not found. SIGTERM ends it
 * in good order: no new connections, idle ones are closed, requests that run get five seconds.
 */
#include <coil_http.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

static int echo_body(coil_http_request *request, coil_http_response *response)
{
    char buf[16 * 1024];
    size_t n;
    COIL_TRY(coil_http_response_begin(response, 200, "application/octet-stream", coil_http_request_length(request)));
    for (;;) {
        COIL_TRY(coil_http_request_read(request, buf, sizeof buf, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_http_response_write(response, buf, n));
    }
}

/* Runs on any of the workers, in a task of its connection. */
static int handle(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *method = coil_http_request_method(request), *path = coil_http_request_path(request);
    (void)arg;
    if (strcmp(path, "/echo") == 0 && strcmp(method, "POST") == 0)
        return echo_body(request, response);
    if (strcmp(path, "/") != 0)
        return coil_http_respondf(response, 404, "text/plain", "there is no %s\n", path);
    const char *agent = coil_http_request_header(request, "User-Agent");
    return coil_http_respondf(response, 200, "text/plain", "Hello, %s!\n", agent ? agent : "World");
}

static int set_event(void *event)
{
    coil_event_set(event);
    return 0;
}

static int serve_until(coil_event *stop, const char *port)
{
    coil_http_server *server;
    coil_http_server_options options = {.size = sizeof options,
                                        .body_bytes_max = COIL_HTTP_UNLIMITED}; /* it streams them */
    COIL_TRY(coil_http_start_server(handle, NULL, "127.0.0.1", port, &options, &server));
    printf("listening on port %d, %u workers\n", coil_http_server_port(server), coil_worker_count());
    fflush(stdout);
    int rc = coil_event_wait(stop);
    if (rc == 0)
        rc = coil_http_server_drain(server, COIL_SECONDS(5));
    coil_http_server_free(server);
    return rc;
}

static int async_main(void *port, void **result)
{
    coil_event *stop;
    (void)result;
    COIL_TRY(coil_event_new(&stop));
    COIL_TRY(coil_loop_add_signal_handler(coil_get_running_loop(), SIGTERM, set_event, stop));
    int rc = serve_until(stop, port);
    (void)coil_loop_remove_signal_handler(coil_get_running_loop(), SIGTERM);
    coil_event_free(stop);
    return rc;
}

int main(int argc, char **argv)
{
    return coil_runtime_main(NULL, coil_coro_of(async_main, argc > 1 ? argv[1] : "0")); /* a worker for each processor */
}
