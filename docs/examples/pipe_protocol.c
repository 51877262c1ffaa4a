/*
 * pipe_protocol.c - what another program prints, told to a protocol as it comes
 *
 * asyncio: loop.subprocess_exec() with a SubprocessProtocol, of its chapter on transports and protocols. Here the pipe has a
 * protocol of its own, and the end of the program is waited for.
 */
#define _GNU_SOURCE /* pipe2 */
#include <coil.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

typedef struct output {
    size_t bytes;
    coil_event *ended;
} output;

static int connection_made(coil_transport *transport, void *arg)
{
    (void)transport;
    (void)arg;
    return 0;
}

static int data_received(coil_transport *transport, const void *data, size_t n, void *arg)
{
    (void)transport;
    ((output *)arg)->bytes += n;
    fwrite(data, 1, n, stdout);
    return 0;
}

static void connection_lost(coil_transport *transport, coil_error *error, void *arg)
{
    (void)transport;
    (void)error;
    coil_event_set(((output *)arg)->ended);
}

static const coil_protocol output_protocol = {
    .connection_made = connection_made,
    .data_received = data_received,
    .connection_lost = connection_lost,
};

/* Starts the program; @in is where its output can be read. */
static int start(coil_process **process, int *in)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return coil_raise(-errno, "pipe");
    coil_process_options options = {.size = sizeof options, .argv = (const char *[]){"echo", "what echo prints", NULL},
                                    .stdout_to = ends[1]};
    int rc = coil_create_subprocess_exec(&options, process);
    close(ends[1]); /* the program has it; as long as this one had it too, there would be no end */
    if (rc < 0)
        close(ends[0]);
    else
        *in = ends[0];
    return rc;
}

/* Takes the descriptor. */
static int watch(output *o, int in)
{
    coil_transport *transport;
    COIL_TRY(coil_create_read_pipe_transport(&output_protocol, o, in, &transport));
    int rc = coil_event_wait(o->ended);
    coil_transport_free(transport);
    return rc;
}

static int run(output *o)
{
    coil_process *process;
    int in = -1, status = 0;
    COIL_TRY(start(&process, &in));
    int rc = watch(o, in);
    if (rc == 0)
        rc = coil_process_wait(process, &status);
    coil_process_free(process);
    printf("%zu bytes, exit status %d\n", o->bytes, status);
    return rc;
}

static int async_main(void *arg, void **result)
{
    output o = {0};
    (void)arg;
    (void)result;
    COIL_TRY(coil_event_new(&o.ended));
    int rc = run(&o);
    coil_event_free(o.ended);
    return rc;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
