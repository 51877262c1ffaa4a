/*
 * streams.c - the methods of stream readers, on strings of ASCII characters
 */
#include <stdlib.h>
#include <string.h>

#include "builtins.h"
#include "world.h"

static const char *text_argument(const arguments *args)
{
    if (args->items[0]->type != VALUE_STRING)
        die("a string is needed");
    return args->items[0]->as.text;
}

static int feed_data(value *self, const arguments *args, value **out)
{
    (void)out;
    const char *text = text_argument(args);
    return coil_stream_reader_feed_data(self->as.reader, text, strlen(text));
}

static int feed_eof(value *self, const arguments *args, value **out)
{
    (void)args, (void)out;
    coil_stream_reader_feed_eof(self->as.reader);
    return 0;
}

static int set_exception(value *self, const arguments *args, value **out)
{
    (void)out;
    if (args->items[0]->type != VALUE_ERROR)
        die("an exception is needed");
    coil_stream_reader_set_exception(self->as.reader, coil_error_retain(args->items[0]->as.error));
    return 0;
}

static int at_eof(value *self, const arguments *args, value **out)
{
    (void)args;
    *out = value_bool(coil_stream_reader_at_eof(self->as.reader));
    return 0;
}

static int readline(value *self, const arguments *args, value **out)
{
    (void)args;
    const char *line;
    size_t n;
    COIL_TRY(coil_stream_reader_readline(self->as.reader, &line, &n));
    *out = value_string(line, n);
    return 0;
}

static int readuntil(value *self, const arguments *args, value **out)
{
    const char *separator = text_argument(args), *data;
    size_t n;
    COIL_TRY(coil_stream_reader_readuntil(self->as.reader, separator, strlen(separator), &data, &n));
    *out = value_string(data, n);
    return 0;
}

/* A negative size becomes one beyond SSIZE_MAX, which is what the library refuses. */
static int readexactly(value *self, const arguments *args, value **out)
{
    int64_t n = int_argument(args, 0, NULL, 0);
    char *bytes = keep(n > 0 ? (size_t)n : 1);
    COIL_TRY(coil_stream_reader_readexactly(self->as.reader, bytes, (size_t)n));
    *out = value_string(bytes, (size_t)n);
    return 0;
}

static int read_all(const value *self, value **out)
{
    char *data;
    size_t n;
    COIL_TRY(coil_stream_reader_read_all(self->as.reader, &data, &n));
    *out = value_string(data, n);
    free(data);
    return 0;
}

static int read_(value *self, const arguments *args, value **out)
{
    int64_t most = int_argument(args, 0, "n", -1);
    size_t n = 0;
    if (most < 0)
        return read_all(self, out);
    char *bytes = keep((size_t)most + 1);
    COIL_TRY(coil_stream_reader_read(self->as.reader, bytes, (size_t)most, &n));
    *out = value_string(bytes, n);
    return 0;
}

const native reader_methods[] = {
    {"feed_data", feed_data, 1, 1, false},
    {"feed_eof", feed_eof, 0, 0, false},
    {"set_exception", set_exception, 1, 1, false},
    {"at_eof", at_eof, 0, 0, false},
    {"readline", readline, 0, 0, true},
    {"readuntil", readuntil, 0, 1, true},
    {"readexactly", readexactly, 1, 1, true},
    {"read", read_, 0, 1, true},
    {0},
};
