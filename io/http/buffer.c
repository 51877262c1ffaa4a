/*
 * buffer.c - growing coil__http_buffer, fields in it, and printing into it; on the task of its connection
 */
#include "buffer.h"

#include <stdarg.h>
#include <stdio.h>

#include "text.h"

#define BYTES_MIN 1024

int coil__http_buffer_make_room(coil__http_buffer *b, size_t n)
{
    size_t size = coil__http_buffer_size(b), cap = b->cap ? b->cap : BYTES_MIN;
    if (n > SIZE_MAX / 4 - size)
        return coil_raise(-ENOMEM, NULL);
    while (cap - size < n)
        cap *= 2;
    if (cap == b->cap) {
        memmove(b->data, coil__http_buffer_first(b), size);
    } else {
        char *larger = malloc(cap);
        if (!larger)
            return coil_raise(-ENOMEM, NULL);
        if (size > 0)
            memcpy(larger, coil__http_buffer_first(b), size);
        free(b->data);
        b->data = larger;
        b->cap = cap;
    }
    b->begin = 0;
    b->end = size;
    return 0;
}

int coil__http_buffer_append(coil__http_buffer *b, const void *data, size_t n)
{
    COIL_TRY(coil__http_buffer_reserve(b, n));
    coil__http_buffer_put(b, data, n);
    return 0;
}

int coil__http_buffer_append_field(coil__http_buffer *b, const char *name, const char *value, const char *const *own,
                                   const char *side)
{
    size_t name_bytes = strlen(name), value_bytes = strlen(value);
    if (!coil__http_is_token(name, name_bytes))
        return coil_raise(-EINVAL, "a field's name must be a token");
    for (; *own; own++)
        if (coil__http_same(name, name_bytes, *own))
            return coil_raise(-EINVAL, "%s is set by the %s itself", name, side);
    if (!coil__http_is_value(value, value_bytes))
        return coil_raise(-EINVAL, "the value of %s has characters that no field can have", name);
    COIL_TRY(coil__http_buffer_reserve(b, name_bytes + value_bytes + 4));
    coil__http_buffer_put_field(b, name, value);
    return 0;
}

int coil__http_buffer_appendf(coil__http_buffer *b, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    int rc =
        n < 0 ? coil_raise(-EINVAL, "the format cannot be converted") : coil__http_buffer_reserve(b, (size_t)n + 1);
    if (rc == 0) {
        vsnprintf(b->data + b->end, (size_t)n + 1, format, again);
        b->end += (size_t)n;
    }
    va_end(again);
    va_end(args);
    return rc;
}
