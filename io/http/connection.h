/*
 * connection.h - the server's side of one connection, and the watch that ends its waiting
 *
 * All of a connection belongs to its task, but for the watch, which the server's sweeper and
 * coil_http_server_close() look at from whatever worker they run on. The task says in it what it waits for
 * and until when; who finds the time over, or the server closed, takes the watch by a compare and swap, and
 * then closes the stream: the task's read finds the end, or its drain an error, and looks who did it. So a
 * wait costs a store and a compare and swap for its timeout, and no timer.
 *
 *   word          set by                        means
 *   BUSY          the task                      it runs, or its handler does: nothing to watch
 *   waiting       the task                      it waits for FRESH (a first request), IDLE (another one), HEAD,
 *                                               BODY, WRITE or LINGER until the deadline in the word
 *   FIRING        who took it                   the stream is about to be closed
 *   FIRED         the same                      it is closed; the task is to end
 *
 * I1 a watch is in the server's list, under the server's lock, from the start of its connection's task until its end
 * I2 who sets FIRING holds the lock until FIRED; so the lock is how the task waits for that
 * I3 the out buffer is empty while the task waits for input
 */
#ifndef COIL_IO_HTTP_CONNECTION_H
#define COIL_IO_HTTP_CONNECTION_H

#include <coil_http.h>

#include <pthread.h>
#include <time.h>

#include "body.h"
#include "buffer.h"
#include "head.h"

#include "../../src/base/atomic.h"
#include "../../src/base/list.h"

typedef struct coil__http_connection coil__http_connection;

enum coil__http_waiting {
    COIL__HTTP_BUSY,
    COIL__HTTP_FRESH,
    COIL__HTTP_IDLE,
    COIL__HTTP_HEAD,
    COIL__HTTP_BODY,
    COIL__HTTP_WRITE,
    COIL__HTTP_LINGER,
    COIL__HTTP_FIRING,
    COIL__HTTP_FIRED,
};

/* A client that has just connected gets this long for its request when the server is closed. */
#define COIL__HTTP_GRACE_NS COIL_MS(250)

static inline uint64_t coil__http_word(enum coil__http_waiting what, int64_t deadline)
{
    return (uint64_t)deadline << 4 | what;
}

static inline enum coil__http_waiting coil__http_word_what(uint64_t word)
{
    return (enum coil__http_waiting)(word & 15);
}

static inline int64_t coil__http_word_deadline(uint64_t word)
{
    return (int64_t)(word >> 4);
}

typedef struct coil__http_watch {
    coil__node node;       /* I1 */
    _Atomic uint64_t word; /* deadline << 4 | what */
} coil__http_watch;

struct coil_http_request {
    coil__http_connection *connection;
    const char *base; /* of the head's strings */
    const char *path, *query;
    coil__http_buffer copy; /* of the path, where a query follows it */
    bool asked_to_continue; /* 100 was sent, or is not wanted */
};

struct coil_http_response {
    coil__http_connection *connection;
    coil__http_buffer fields; /* added by the handler, as lines */
    enum { COIL__HTTP_NEW, COIL__HTTP_BEGUN, COIL__HTTP_ENDED, COIL__HTTP_BROKEN } state;
    bool chunked, bodyless; /* bodyless: what is written is dropped */
    uint64_t left;          /* of an announced length */
    size_t at;              /* where it begins in the out buffer; 0 once that was sent */
};

struct coil__http_connection {
    coil__http_watch watch;
    coil__http_input input;
    coil_http_server *server; /* a reference */
    coil_stream *stream;      /* owned */
    coil_loop *loop;
    enum coil__http_waiting waiting; /* what reading waits for at the moment, */
    int64_t deadline;                /* and until when, but for bodies */
    int64_t body_left_ns;            /* of the client's time for this one */
    coil__http_head head;
    coil__http_body body;
    coil__http_buffer out;
    struct coil_http_request request;
    struct coil_http_response response;
    uint64_t requests;
    bool keep;   /* the connection may go on after this request */
    bool linger; /* the client may still be sending: read that away before closing */
    time_t date_time;
    char date[40]; /* of date_time: "Sun, 06 Nov 1994 08:49:37 GMT" */
};

struct coil_http_server {
    coil_http_server_options options; /* with the defaults filled in */
    char *server_name;                /* owned; NULL: none */
    coil_http_handler *handler;
    void *arg;
    coil_loop *loop;
    coil_server *tcp;
    pthread_mutex_t lock;
    coil__list watches; /* under the lock, with the four below */
    size_t connections;
    bool sweeping;      /* there is a sweeper, or it is being started */
    coil_task *sweeper; /* borrowed; NULL until it has begun: I1 of server.c */
    bool rests;    /* closed, and its last connection has ended */
    int64_t tick_ns;
    _Atomic bool closed;
    _Atomic uint32_t refs;
};

/* server.c */
void coil__http_server_retain(coil_http_server *s);
void coil__http_server_release(coil_http_server *s);

/* Puts a connection's watch into the list: I1. False if there are too many, or no memory for a sweeper. */
bool coil__http_server_enter(coil_http_server *s, coil__http_connection *c);
void coil__http_server_leave(coil_http_server *s, coil__http_connection *c);

/* connection.c: serves one connection; a coil_client_connected. */
int coil__http_serve(coil_stream *stream, void *server);

/* Before and after a wait. end_wait is false if the watch was taken: the connection is over. */
void coil__http_begin_wait(coil__http_connection *c, enum coil__http_waiting what, int64_t deadline);
bool coil__http_end_wait(coil__http_connection *c);

/* Sends what is in the out buffer, and waits while the client is slow. */
int coil__http_flush(coil__http_connection *c);

/* The same, then @data and @end at once, which are not copied into the buffer. */
int coil__http_flush_with(coil__http_connection *c, const void *data, size_t n, const char *end);

/* request.c: the head is over; the strings are ready for the handler. -ENOMEM. */
int coil__http_request_start(coil_http_request *r);

/* Reads what is left of a small body away, as coil__http_body_skip(); 0 if the connection has to end instead. */
int coil__http_request_skip(coil_http_request *r);

/* Whether the body will be gone after the request, as far as that is known now. */
bool coil__http_request_skippable(const coil_http_request *r);

/* response.c */
void coil__http_response_start(coil_http_response *r);

/* An answer without a body that ends the connection. */
int coil__http_response_refuse(coil_http_response *r, int status);

#endif
