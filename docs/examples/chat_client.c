/*
 * chat_client.c - a client for chat_server: chat_client PORT [NAME]
 *
 * What comes from the server is printed, what is typed is sent, a line at a time; NAME answers its first question.
 * /quit, or the end of the input, ends the program, and so does the server's end. Keyboard and connection are streams
 * alike.
 * asyncio: await asyncio.wait([typing, hearing], return_when=asyncio.FIRST_COMPLETED)
 */
#include <coil.h>
#include <stdio.h>
#include <string.h>

struct talk {
    coil_stream *keyboard, *server;
};

static int send_what_is_typed(void *arg, void **result)
{
    const struct talk *talk = arg;
    (void)result;
    for (;;) {
        const char *line;
        size_t n;
        COIL_TRY(coil_stream_readline(talk->keyboard, &line, &n));
        if (n == 0)
            return coil_stream_write_eof(talk->server); /* the server ends the talk then, as after /quit */
        COIL_TRY(coil_stream_write(talk->server, line, n));
        COIL_TRY(coil_stream_drain(talk->server));
    }
}

static int print_what_comes(const struct talk *talk)
{
    for (;;) {
        const char *line;
        size_t n;
        COIL_TRY(coil_stream_readline(talk->server, &line, &n));
        if (n == 0)
            return 0;
        fwrite(line, 1, n, stdout);
        fflush(stdout);
    }
}

static int talk_to_the_end(struct talk *talk)
{
    coil_task *typing;
    COIL_TRY(coil_create_task(coil_coro_of(send_what_is_typed, talk), &typing));
    coil_error *error = coil_catch(print_what_comes(talk));
    coil_task_cancel(typing, NULL);
    int rc = coil_join(typing, NULL);
    if (error)
        return coil_raise_error(error);
    return rc == -ECANCELED ? 0 : rc;
}

static void hang_up(coil_stream *stream)
{
    coil_stream_close(stream);
    coil_stream_free(stream);
}

static int async_main(void *arg, void **result)
{
    char **argv = arg;
    struct talk talk = {NULL, NULL};
    (void)result;
    int rc = coil_open_connection("127.0.0.1", argv[1], &talk.server);
    if (rc == 0)
        rc = coil_open_stdin(&talk.keyboard);
    if (rc == 0 && argv[2])
        rc = coil_stream_writef(talk.server, "%s\n", argv[2]);
    if (rc == 0)
        rc = talk_to_the_end(&talk);
    coil_error *error = coil_catch(rc);
    if (talk.keyboard)
        hang_up(talk.keyboard);
    if (talk.server)
        hang_up(talk.server);
    return coil_raise_error(error);
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: chat_client PORT [NAME]\n");
        return 2;
    }
    return coil_main(coil_coro_of(async_main, argv));
}
