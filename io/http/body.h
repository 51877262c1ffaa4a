/*
 * body.h - what arrives on a connection: a buffer of it, and the body of the message in it, unframed
 *
 * Belongs to one connection and its task. The head of the current message stays in front of the body in the
 * buffer, and does not move while somebody may look at it.
 * Source: RFC 9112 6, 7.1.
 *
 * I1 floor <= begin <= end <= cap; what lies before `floor` is the current message's head
 * I2 from coil__http_input_keep_head() to coil__http_input_drop_head() the memory is not replaced
 */
#ifndef COIL_IO_HTTP_BODY_H
#define COIL_IO_HTTP_BODY_H

#include <coil.h>

#include "head.h"

typedef struct coil__http_input coil__http_input;

struct coil__http_input {
    /* Reads at least one byte, or none at the end; suspends. */
    int (*read)(coil__http_input *in, void *buf, size_t cap, size_t *n);
    char *data; /* owned; malloc'ed */
    size_t floor, begin, end, cap;
};

void coil__http_input_fini(coil__http_input *in);

static inline size_t coil__http_input_size(const coil__http_input *in)
{
    return in->end - in->begin;
}

/* Reads more into the buffer, which has room or gets it; *n is 0 at the end of the connection. */
int coil__http_input_fill(coil__http_input *in, size_t *n);

/* The first @bytes are the head of the current message; returns where it begins. -ENOMEM. */
int coil__http_input_keep_head(coil__http_input *in, size_t bytes, char **head);
void coil__http_input_drop_head(coil__http_input *in);

typedef struct coil__http_body {
    enum coil__http_framing framing;
    enum { COIL__HTTP_SIZE_LINE, COIL__HTTP_DATA, COIL__HTTP_DATA_END, COIL__HTTP_TRAILERS, COIL__HTTP_OVER } state;
    uint64_t left;  /* of the body, or of the chunk */
    uint64_t total; /* bytes of the body, as far as they have been announced */
    uint64_t max;   /* more is -EMSGSIZE */
    size_t extras;  /* bytes of chunk extensions and trailers */
    int failed;     /* what reading it failed with: it fails with that again */
} coil__http_body;

void coil__http_body_start(coil__http_body *b, const coil__http_head *h, uint64_t max);

/* Whether all of it has been read. */
static inline bool coil__http_body_over(const coil__http_body *b)
{
    return b->state == COIL__HTTP_OVER;
}

/*
 * Some bytes of the body; 0 at its end. Errors: -EPROTO (bad framing), -EMSGSIZE, -ECONNRESET (the connection ended
 * inside it), those of reading.
 */
int coil__http_body_read(coil__http_body *b, coil__http_input *in, void *buf, size_t cap, size_t *n);

#define COIL__HTTP_SKIP_MAX ((size_t)64 * 1024) /* of a body that nobody reads; more costs the connection */

/* Reads what is left away, if it is not much more than that. 1: all has been read; 0: not. Errors: only what ends the task. */
int coil__http_body_skip(coil__http_body *b, coil__http_input *in);

/* All of it, at most @max bytes; gives malloc'ed @n bytes and a zero behind them. */
int coil__http_body_read_all(coil__http_body *b, coil__http_input *in, size_t max, char **data, size_t *n);

#endif
