/*
 * head.h - the head of a message: its first line and its fields, found by the parser and checked by coil
 *
 * Belongs to one connection and its task. Fed with the bytes of the input buffer as they arrive; when it is
 * over, everything in it is an offset from the head's first byte, so that the buffer may move before that.
 * What two programs on the way of a message could understand differently is refused: that is what request
 * smuggling lives on.
 * Source: RFC 9112 2 to 6, 11; RFC 9110 5.
 *
 * I1 the fields' spans lie in the head, in order, each in a line of its own (checked when the head is over)
 */
#ifndef COIL_IO_HTTP_HEAD_H
#define COIL_IO_HTTP_HEAD_H

#include <coil.h>

#include "parser.h"

typedef struct coil__http_span {
    uint32_t at, bytes;
} coil__http_span;

typedef struct coil__http_field {
    coil__http_span name, value;
} coil__http_field;

/* How long the body is. */
enum coil__http_framing { COIL__HTTP_EMPTY, COIL__HTTP_LENGTH, COIL__HTTP_CHUNKED, COIL__HTTP_UNTIL_CLOSE };

typedef struct coil__http_head {
    coil__http_parser parser;
    enum coil__http_kind kind;
    const char *base;         /* the first byte, while it is fed */
    size_t fed;               /* bytes that the parser has seen */
    coil__http_field *fields; /* owned; field_max of them */
    size_t field_count, field_max;
    size_t target_max, bytes_max;
    coil__http_span target;
    bool in_value; /* the parser's last word was of a value */
    bool done;
    int refused; /* by a limit: the status to answer with; 0: none */

    /* When it is over. */
    const char *method; /* static; of a request */
    int status, minor;  /* of a response; HTTP/1.minor, 0 or 1 */
    enum coil__http_framing framing;
    uint64_t length; /* with COIL__HTTP_LENGTH */
    bool keep_alive, expects_continue, has_length;
} coil__http_head;

int coil__http_head_init(coil__http_head *h, enum coil__http_kind kind, size_t target_max, size_t bytes_max,
                         size_t field_max);
void coil__http_head_fini(coil__http_head *h);

/* Begins another one. */
void coil__http_head_start(coil__http_head *h);

/*
 * The head begins at @base, where there are @n bytes now: those that were there before, and new ones. Returns
 * 1 when it is over:
 * *bytes of them are the head's; 0 if there is more to come; or the negative status (such as -431) with which a
 * server refuses it.
 */
int coil__http_head_feed(coil__http_head *h, char *base, size_t n, size_t *bytes);

/*
 * Called when it is over: puts zeros behind the target, the names and the values, so that they are strings.
 */
void coil__http_head_terminate(coil__http_head *h, char *base);

/* The first field with this name, or NULL. */
const coil__http_field *coil__http_head_find(const coil__http_head *h, const char *base, const char *name);

/* The response's framing, which depends on the request: @to_head: its method was HEAD. */
void coil__http_head_frame_response(coil__http_head *h, bool to_head);

/* What the parser tells. Not 0 ends it. */
int coil__http_head_target(coil__http_head *h, const char *at, size_t n);
int coil__http_head_name(coil__http_head *h, const char *at, size_t n);
int coil__http_head_value(coil__http_head *h, const char *at, size_t n);

#endif
