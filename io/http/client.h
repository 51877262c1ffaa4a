/*
 * client.h - sessions inside: the connections kept for each host, and a reply, which is a connection in use
 *
 * A session may be used by tasks on several workers: its lock guards the hosts and their lists of idle
 * connections. A reply belongs to the task that got it. Source: aiohttp's ClientSession and TCPConnector, as
 * far as manners go.
 *
 * I1 an idle connection is in its host's list, has been read to the end of its last reply, and belongs to nobody
 * I2 a host is freed with its session; `users` counts its connections in use, and those being made
 */
#ifndef COIL_IO_HTTP_CLIENT_H
#define COIL_IO_HTTP_CLIENT_H

#include <coil_http.h>

#include <pthread.h>

#include "body.h"
#include "buffer.h"
#include "head.h"
#include "url.h"

#include "../../src/base/atomic.h"
#include "../../src/base/list.h"

typedef struct coil__http_host {
    struct coil__http_host *next;
    coil__list idle; /* of replies, the one used last at the end */
    size_t idle_count;
    size_t users;          /* I2 */
    coil_semaphore *slots; /* NULL: no limit */
    char origin[];
} coil__http_host;

struct coil_http_session {
    coil_http_session_options options; /* with the defaults filled in */
    char *user_agent;                  /* owned; NULL: none */
    coil_http_mock *mock;              /* borrowed */
    pthread_mutex_t lock;
    coil__http_host *hosts;
    size_t idle_count;
    bool janitor; /* there is a task that closes what has been idle for too long, or it is being started */
    coil_task *janitor_task; /* borrowed; NULL until it has begun: I1 of pool.c */
    bool closed;
    _Atomic uint32_t refs; /* of the user, and of the janitor */
};

struct coil_http_reply {
    coil__node node; /* I1 */
    coil_http_session *session;
    coil__http_host *host;
    coil_stream *stream;      /* owned; NULL: canned */
    coil__http_buffer canned; /* what a mock has to say */
    coil__http_input input;
    coil__http_head head;
    coil__http_body body;
    coil__http_buffer out;
    coil__http_url url;
    const char *base; /* of the head's strings */
    coil_loop *loop;
    int64_t deadline; /* of the whole request */
    int64_t idle_since;
    bool reused;    /* it has served a request before */
    bool answered;  /* the first byte of the reply has come */
    bool has_slot;  /* of the host's semaphore */
    bool listening; /* the head is awaited while the body is being sent: without a limit of its own */
    bool broken;    /* sending has failed */
};

/* pool.c: a connection for @url, kept or new; takes what @url owns on success. */
int coil__http_pool_take(coil_http_session *s, coil__http_url *url, bool fresh, int64_t deadline,
                         coil_http_reply **reply);

/* Back to its host, or closed if it is not @good for another request. */
void coil__http_pool_give(coil_http_reply *r, bool good);

/* exchange.c: runs @fn for at most @timeout_ns, and not beyond the deadline; @what names it in the error. */
int coil__http_limited(int64_t deadline, int64_t timeout_ns, const char *what, int (*fn)(void *), void *arg);

/* Sends the request, and reads the head of the reply. */
int coil__http_exchange(coil_http_reply *r, const coil_http_call *call);

/* exchange.c: the input's read. */
int coil__http_receive(coil__http_input *in, void *buf, size_t cap, size_t *n);

/* mock.c: chooses an answer for what was put into r->out, and waits for its delay. */
int coil__http_mock_answer(coil_http_mock *m, const coil_http_call *call, coil_http_reply *r);

#endif
