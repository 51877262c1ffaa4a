/*
 * lines.c - numbers the lines of a file, or of whatever standard input is: lines [FILE]
 *
 * A pipe, a terminal, a file: coil_open_stdin() makes a stream of each. Meanwhile the loop is free: another task
 * counts the tenths of a second that the lines took to come.
 * asyncio: await loop.connect_read_pipe(lambda: StreamReaderProtocol(reader), sys.stdin), which takes no files
 */
#include <coil.h>
#include <stdio.h>

static void print_line(int number, const char *line, size_t n)
{
    printf("%d %.*s%s", number, (int)n, line, n > 0 && line[n - 1] == '\n' ? "" : "\n");
    fflush(stdout);
}

static int number_lines(coil_stream *in, int *lines)
{
    for (;;) {
        const char *line;
        size_t n;
        COIL_TRY(coil_stream_readline(in, &line, &n));
        if (n == 0)
            return 0;
        print_line(++*lines, line, n);
    }
}

/* A file that is opened by its name is no stream, but reads lines as well. */
static int number_lines_of(coil_file *file, int *lines)
{
    for (;;) {
        const char *line;
        size_t n;
        COIL_TRY(coil_file_readline(file, &line, &n));
        if (n == 0)
            return 0;
        print_line(++*lines, line, n);
    }
}

static int from_stdin(int *lines)
{
    coil_stream *in;
    COIL_TRY(coil_open_stdin(&in));
    int rc = number_lines(in, lines);
    coil_error *error = coil_catch(rc);
    coil_stream_close(in);
    coil_stream_free(in);
    return coil_raise_error(error);
}

static int from_file(const char *path, int *lines)
{
    coil_file *file;
    COIL_TRY(coil_file_open(path, O_RDONLY, 0, &file));
    coil_error *error = coil_catch(number_lines_of(file, lines));
    int rc = coil_file_close(file);
    return error ? coil_raise_error(error) : rc;
}

static int count_tenths(void *arg, void **result)
{
    (void)result;
    for (;;) {
        COIL_TRY(coil_sleep(COIL_MS(100)));
        ++*(int *)arg;
    }
}

static int async_main(void *path, void **result)
{
    int lines = 0, tenths = 0;
    coil_task *counting;
    (void)result;
    COIL_TRY(coil_create_task(coil_coro_of(count_tenths, &tenths), &counting));
    int rc = path ? from_file(path, &lines) : from_stdin(&lines);
    coil_error *error = coil_catch(rc);
    coil_task_cancel(counting, NULL);
    rc = coil_join(counting, NULL);
    if (error)
        return coil_raise_error(error);
    printf("%d lines; %d tenths of a second\n", lines, tenths);
    return rc == -ECANCELED ? 0 : rc;
}

int main(int argc, char **argv)
{
    return coil_main(coil_coro_of(async_main, argc > 1 ? argv[1] : NULL));
}
