/*
 * echo_server.c - sends everything back: echo_server [PORT] (0 or none: a free port, which it prints)
 *
 * asyncio: server = await asyncio.start_server(handle_echo, '127.0.0.1', 8888)
 *
 * SIGINT and SIGTERM end it in good order: no new connections, five seconds for those that are open, then it
 * cancels them.
 */
#include <coil.h>
#include <signal.h>
#include <stdio.h>

static int echo_all(coil_stream *stream)
{
    char buf[16 * 1024];
    size_t n;
    for (;;) {
        COIL_TRY(coil_stream_read(stream, buf, sizeof buf, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_stream_write(stream, buf, n));
        COIL_TRY(coil_stream_drain(stream));
    }
}

static int handle_client(coil_stream *stream, void *arg)
{
    (void)arg;
    int rc = echo_all(stream);
    coil_error *error = coil_catch(rc);
    coil_stream_close(stream);
    coil_stream_free(stream);
    if (rc == -ECONNRESET || rc == -EPIPE) { /* its own affair */
        coil_error_release(error);
        return 0;
    }
    return coil_raise_error(error);
}

static int set_event(void *event)
{
    coil_event_set(event);
    return 0;
}

static int serve_until(coil_event *stop, const char *port)
{
    coil_server *server;
    COIL_TRY(coil_start_server(handle_client, NULL, "127.0.0.1", port, NULL, &server));
    printf("listening on port %d\n", coil_server_port(server));
    fflush(stdout);
    int rc = coil_event_wait(stop);
    if (rc == 0)
        rc = coil_server_drain(server, COIL_SECONDS(5));
    coil_server_free(server);
    return rc;
}

static int async_main(void *port, void **result)
{
    coil_event *stop;
    coil_loop *loop = coil_get_running_loop();
    (void)result;
    COIL_TRY(coil_event_new(&stop));
    int rc = coil_loop_add_signal_handler(loop, SIGINT, set_event, stop);
    if (rc == 0)
        rc = coil_loop_add_signal_handler(loop, SIGTERM, set_event, stop);
    if (rc == 0)
        rc = serve_until(stop, port);
    (void)coil_loop_remove_signal_handler(loop, SIGTERM);
    (void)coil_loop_remove_signal_handler(loop, SIGINT);
    coil_event_free(stop);
    return rc;
}

int main(int argc, char **argv)
{
    return coil_main(coil_coro_of(async_main, argc > 1 ? argv[1] : "0"));
}
