/*
 * format.c - values as the trace prints them
 *
 * Source: the table "Values and how they are printed" of the scenario language.
 */
#include "format.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"
#include "program.h"
#include "world.h"

void text_append(struct text *text, const char *bytes, size_t n)
{
    if (text->n + n + 1 > text->size) {
        text->size = 2 * (text->n + n + 1);
        text->bytes = realloc(text->bytes, text->size);
        if (!text->bytes)
            die("out of memory");
    }
    memcpy(text->bytes + text->n, bytes, n);
    text->n += n;
    text->bytes[text->n] = 0;
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *bytes = malloc((size_t)n + 1);
    if (!bytes)
        die("out of memory");
    vsnprintf(bytes, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    text_append(text, bytes, (size_t)n);
    free(bytes);
}

static void append_flat(struct text *text, const char *bytes)
{
    for (const char *p = bytes; *p; p++) {
        if (*p == '\n')
            text_append(text, "\\n", 2);
        else
            text_append(text, p, 1);
    }
    text_append(text, "", 0);
}

static void format_list(struct text *text, value *const *items, size_t n)
{
    text_append(text, "[", 1);
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_append(text, ", ", 2);
        format_value(text, items[i]);
    }
    text_append(text, "]", 1);
}

static void format_incomplete_read(struct text *text, const void *partial, size_t n, ssize_t expected)
{
    text_printf(text, "IncompleteReadError(");
    format_value(text, value_string(partial, n));
    if (expected < 0)
        text_printf(text, ", None)");
    else
        text_printf(text, ", %zd)", expected);
}

static void format_error(struct text *text, const coil_error *error)
{
    size_t consumed, n;
    ssize_t expected;
    const void *partial;
    if (coil_error_incomplete_read(error, &partial, &n, &expected)) {
        format_incomplete_read(text, partial, n, expected);
        return;
    }
    text_printf(text, "%s(", error_kind_name(error));
    append_flat(text, coil_error_message(error));
    if (coil_error_limit_overrun(error, &consumed))
        text_printf(text, ", %zu", consumed);
    if (coil_error_code(error) == COIL_EGROUP) {
        text_append(text, ", ", 2);
        value *subs = error_suberrors(error);
        format_list(text, subs->as.list.items, subs->as.list.n);
    }
    text_append(text, ")", 1);
}

static void format_future(struct text *text, coil_future *future)
{
    if (coil_future_is_task(future))
        text_printf(text, "<Task %s>", coil_task_get_name(future));
    else
        text_printf(text, "<Future>");
}

void format_value(struct text *text, const value *v)
{
    switch (v->type) {
    case VALUE_NONE:
        text_printf(text, "None");
        break;
    case VALUE_BOOL:
        text_printf(text, v->as.number ? "True" : "False");
        break;
    case VALUE_INT:
        text_printf(text, "%" PRId64, v->as.number);
        break;
    case VALUE_STRING:
        text_append(text, "'", 1);
        append_flat(text, v->as.text);
        text_append(text, "'", 1);
        break;
    case VALUE_LIST:
        format_list(text, v->as.list.items, v->as.list.n);
        break;
    case VALUE_ERROR:
        format_error(text, v->as.error);
        break;
    case VALUE_FUTURE:
        format_future(text, v->as.future);
        break;
    case VALUE_DEF:
        text_printf(text, "<def %s>", v->as.call.function->name);
        break;
    default:
        text_printf(text, "<object>");
    }
}

void format_item(struct text *text, const value *v)
{
    if (v->type == VALUE_STRING)
        append_flat(text, v->as.text);
    else
        format_value(text, v);
}

const char *format_plain(const value *v)
{
    struct text text = {0};
    if (v->type == VALUE_STRING)
        return v->as.text;
    format_value(&text, v);
    char *plain = keep_text(text.bytes, text.n);
    free(text.bytes);
    return plain;
}
