/*
 * echo_server.c - sends everything back: echo_server [PORT] (0 or none: a free port, which it prints)
 *
 * asyncio: server = await asyncio.start_server(handle_echo, '127.0.0.1', 8888)
 *
 * SIGINT and SIGTERM end it in good order: no new connections, five seconds for those that are open, then it
 * cancels them. A thread waits for the signals and tells the loop, since a signal handler may not call the
 * library.
 */
#include <coil.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
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

/* --- signals -------------------------------------------------------------------------------------------------- */

struct watch {
    coil_loop *loop;
    coil_event *stop;
    atomic_bool over; /* the server could not start: nobody waits for the event */
};

static sigset_t stop_signals(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return set;
}

static int set_event(void *event)
{
    coil_event_set(event);
    return 0;
}

static void *wait_for_signal(void *arg)
{
    struct watch *w = arg;
    sigset_t set = stop_signals();
    int signal;
    sigwait(&set, &signal);
    if (!atomic_load(&w->over))
        coil_loop_call_soon_threadsafe(w->loop, set_event, w->stop, NULL);
    return NULL;
}

/* --- the server ----------------------------------------------------------------------------------------------- */

static int wait_closed(void *server, void **result)
{
    (void)result;
    return coil_server_wait_closed(server);
}

static int shut_down(coil_server *server)
{
    coil_server_close(server);
    int rc = coil_wait_for(coil_coro_of(wait_closed, server), COIL_SECONDS(5), NULL);
    if (rc != -ETIMEDOUT)
        return rc;
    coil_server_cancel_clients(server);
    return coil_server_wait_closed(server);
}

static int serve_until(coil_event *stop, const char *port)
{
    coil_server *server;
    COIL_TRY(coil_start_server(handle_client, NULL, "127.0.0.1", port, NULL, &server));
    printf("listening on port %d\n", coil_server_port(server));
    fflush(stdout);
    int rc = coil_event_wait(stop);
    if (rc == 0)
        rc = shut_down(server);
    coil_server_free(server);
    return rc;
}

static int async_main(void *port, void **result)
{
    (void)result;
    static struct watch watch; /* the thread may outlive this function */
    pthread_t thread;
    COIL_TRY(coil_event_new(&watch.stop));
    watch.loop = coil_get_running_loop();
    int error = pthread_create(&thread, NULL, wait_for_signal, &watch);
    if (error)
        return coil_raise(-error, "no thread for signals");
    int rc = serve_until(watch.stop, port);
    if (rc < 0) {
        atomic_store(&watch.over, true);
        pthread_kill(thread, SIGTERM); /* it still waits */
    }
    pthread_join(thread, NULL);
    coil_event_free(watch.stop);
    return rc;
}

int main(int argc, char **argv)
{
    sigset_t set = stop_signals();
    pthread_sigmask(SIG_BLOCK, &set, NULL); /* for all threads: only sigwait() takes them */
    return coil_main(coil_coro_of(async_main, argc > 1 ? argv[1] : "0"));
}
