/*
 * coil_http.h - HTTP/1.1 on streams: a server, a client, and canned answers for testing what uses the client
 *
 * An optional component: the library coil-http (CMake: coil::http; pkg-config: coil-http), built where a
 * parser is present (llhttp, or http-parser). No TLS. The conventions are those of <coil.h>. In a runtime of
 * several workers a server's handlers run on all of them, and a session may be used by all tasks; a request,
 * a response or a reply belongs to one task at a time.
 *
 *     static int hello(coil_http_request *request, coil_http_response *response, void *arg)
 *     {
 *         return coil_http_respond(response, 200, "text/plain", "Hello, World!", 13);
 *     }
 *     ...
 *     COIL_TRY(coil_http_start_server(hello, NULL, "127.0.0.1", "8080", NULL, &server));
 *
 *     coil_http_reply *reply;
 *     COIL_TRY(coil_http_get(session, "http://127.0.0.1:8080/", &reply));
 *     int rc = coil_http_reply_read_all(reply, 1 << 20, &text, &n);
 *     coil_http_reply_free(reply);
 *
 * Errors beside those of streams: -EPROTO (the peer does not speak HTTP as it should), -EMSGSIZE (a limit),
 * -ECONNRESET (the connection ended inside a message), -ETIMEDOUT; the message says more.
 * Source: RFC 9110, RFC 9112; the client's manners are aiohttp's. docs/http.md is the guide.
 */
#ifndef COIL_HTTP_H
#define COIL_HTTP_H

#include <coil.h>
COIL_BEGIN

#define COIL_HTTP_UNLIMITED UINT64_MAX

typedef struct coil_http_header {
    const char *name;
    const char *value;
} coil_http_header;

/* --- server --------------------------------------------------------------------------------------------- */

typedef struct coil_http_server coil_http_server;
typedef struct coil_http_request coil_http_request;
typedef struct coil_http_response coil_http_response;

/*
 * Answers one request, in its connection's task: it may suspend, and the next request of that connection
 * waits. Both objects are lent until it returns. A response that has been begun is ended when it returns 0.
 * If it returns a negative code before having begun one, the client gets an answer nevertheless: what the
 * request deserves if reading its body failed, else 500, and the exception handler is told ("Unhandled
 * exception in HTTP handler"); after that the connection is broken off, as the client must not take half a
 * body for a whole one. Returning 0 without a response is such an error as well.
 */
typedef int coil_http_handler(coil_http_request *request, coil_http_response *response, void *arg);

/* 0 (NULL, false) everywhere is a server for the open network. */
typedef struct coil_http_server_options {
    size_t size; /* sizeof(coil_http_server_options) */
    int backlog; /* 0: 1024 */
    bool reuse_port;
    size_t stack_bytes;      /* of handlers; 0: the loop's default */
    const char *server_name; /* of the Server field (copied); NULL: no such field */

    size_t target_bytes_max; /* 0: 8 KiB; more is answered with 414 */
    size_t header_bytes_max; /* of the whole head, at most 64 KiB; 0: 16 KiB; 431 */
    size_t headers_max;      /* fields; 0: 100; 431 */
    uint64_t body_bytes_max; /* 0: 1 MiB; COIL_HTTP_UNLIMITED: the handlers see to it; 413 */
    size_t connections_max;  /* more are answered with 503; 0: no limit */
    uint64_t requests_max;   /* per connection; 0: no limit */

    int64_t header_timeout_ns; /* from a head's first byte to its last; 0: 10 s; 408 */
    int64_t idle_timeout_ns;   /* without a request; 0: 60 s */
    int64_t body_timeout_ns;   /* without a byte of a body that is being read; 0: 30 s; 408 */
    int64_t body_total_timeout_ns; /* of waiting for one body's bytes, all pauses together; 0: 5 minutes; 408 */
    int64_t write_timeout_ns;  /* for a client to take what has been written; 0: 30 s */
} coil_http_server_options;

/**
 * coil_http_start_server - listen, and serve HTTP
 * @handler: borrows, with @arg, until the server is freed and its last connection has ended
 * @host:    NULL: all interfaces
 * @port:    number or service name; "0": a free one, see coil_http_server_port()
 * @options: borrows; may be NULL. Timeouts: COIL_FOREVER for none; they take effect up to a quarter (at most 1 s) late
 * @server:  gives; coil_http_server_close() or _drain() it, then coil_http_server_free() it
 *
 * Errors: those of coil_start_server; -EINVAL for options that make no sense; -ENOMEM.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_start_server(coil_http_handler *handler, void *arg, const char *host,
                                                      const char *port, const coil_http_server_options *options,
                                                      coil_http_server **server);

/** coil_http_server_port - that the first socket listens on; -1 when it is closed. */
COIL_ON_LOOP int coil_http_server_port(const coil_http_server *server);

/** coil_http_server_connections - that are open, idle or not. */
COIL_ON_LOOP size_t coil_http_server_connections(const coil_http_server *server);

/**
 * coil_http_server_close - stop listening, close idle connections; the others end after the request they are at
 *
 * A second close does nothing.
 */
COIL_ON_LOOP void coil_http_server_close(coil_http_server *server);

/** coil_http_server_wait_closed - wait until it is closed, and its last connection has ended. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_server_wait_closed(coil_http_server *server);

/**
 * coil_http_server_drain - close; give running requests @deadline_ns to finish; then cancel their handlers
 *
 * Returns 0 when all is over, -ETIMEDOUT if handlers had to be cancelled (all is over as well), -ECANCELED.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_server_drain(coil_http_server *server, int64_t deadline_ns);

/** coil_http_server_serve_forever - until cancelled, which closes the server. Errors: as coil_server_serve_forever. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_server_serve_forever(coil_http_server *server);

/** coil_http_server_free - closes first; the memory goes when the last connection has ended. NULL is allowed. */
COIL_ON_LOOP void coil_http_server_free(coil_http_server *server);

/* What a request says. All strings are lent until the handler returns. */
COIL_ON_LOOP const char *coil_http_request_method(const coil_http_request *request); /* "GET" */
COIL_ON_LOOP const char *coil_http_request_target(const coil_http_request *request); /* as sent: "/a%20b?c=d" */
COIL_ON_LOOP const char *coil_http_request_path(const coil_http_request *request);   /* "/a%20b", not decoded */
COIL_ON_LOOP const char *coil_http_request_query(const coil_http_request *request);  /* "c=d"; "" without one */
COIL_ON_LOOP int coil_http_request_minor_version(const coil_http_request *request);  /* HTTP/1.x: 0 or 1 */

/** coil_http_request_header - the value of the first field with this name, in whatever case; NULL without one. */
COIL_ON_LOOP const char *coil_http_request_header(const coil_http_request *request, const char *name);

/** coil_http_request_header_at - the @index-th field, as it was sent; false behind the last. */
COIL_ON_LOOP bool coil_http_request_header_at(const coil_http_request *request, size_t index,
                                              coil_http_header *header);

/** coil_http_request_has_body - whether one is announced, be it empty. coil_http_request_length(): -1 for chunks. */
COIL_ON_LOOP bool coil_http_request_has_body(const coil_http_request *request);
COIL_ON_LOOP int64_t coil_http_request_length(const coil_http_request *request);

/** coil_http_request_peername - of the client; see coil_stream_peername. */
COIL_ON_LOOP size_t coil_http_request_peername(const coil_http_request *request, char *buf, size_t size);

/**
 * coil_http_request_read - some bytes of the body, 0 at its end
 *
 * Sends "100 Continue" first if the client waits for it. What the handler does not read is dropped, or the
 * connection with it if that would take long. Errors: -EPROTO, -EMSGSIZE, -ETIMEDOUT, -ECONNRESET; a handler
 * that just returns them has the client told (400, 413, 408).
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_request_read(coil_http_request *request, void *buf, size_t cap, size_t *n);

/**
 * coil_http_request_read_all - the whole body
 * @max:  bytes; more is -EMSGSIZE
 * @data: gives @n bytes and a zero behind them; free() them
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_request_read_all(coil_http_request *request, size_t max, char **data,
                                                          size_t *n);

/**
 * coil_http_response_add_header - add a field; before the response is begun
 *
 * Errors: -EINVAL if @name is no token, if @value has a control character (CR and LF above all) or blanks at
 * its ends, or for what coil sees to itself: Content-Length, Transfer-Encoding, Connection, Date;
 * COIL_ERUNTIME when it has begun; -ENOMEM.
 */
COIL_ON_LOOP int coil_http_response_add_header(coil_http_response *response, const char *name, const char *value);

/** coil_http_response_set_close - end the connection after this response. */
COIL_ON_LOOP void coil_http_response_set_close(coil_http_response *response);

/**
 * coil_http_respond - answer, all at once
 * @status:       200 .. 599
 * @content_type: NULL: no such field
 * @body:         borrows for the call; dropped in the answer to HEAD, and must be empty for 204 and 304 (-EINVAL)
 *
 * It is sent when the handler has returned, together with the answers to requests that came in the same batch.
 * Errors: -EINVAL; COIL_ERUNTIME if a response was begun before; -ENOMEM; after a large body those of writing.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_respond(coil_http_response *response, int status, const char *content_type,
                                                 const void *body, size_t n);

/** coil_http_respondf - answer with a formatted text. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_respondf(coil_http_response *response, int status, const char *content_type,
                                                  const char *format, ...) COIL_PRINTF(4, 5);

/**
 * coil_http_response_begin - begin a response whose body comes in pieces
 * @length: of the body, if it is known; -1: it is sent in chunks (to HTTP/1.0: up to the end of the connection)
 */
COIL_ON_LOOP int coil_http_response_begin(coil_http_response *response, int status, const char *content_type,
                                          int64_t length);

/**
 * coil_http_response_write - a piece of the body; sent at once, and waits while the client is slow
 *
 * Errors: COIL_ERUNTIME unless begun, or after the end; -EINVAL for more bytes than announced; -ETIMEDOUT,
 * those of writing.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_response_write(coil_http_response *response, const void *data, size_t n);

/** coil_http_response_end - the end of the body; implied by the handler's return. -EINVAL: too few bytes. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_response_end(coil_http_response *response);

/* --- client --------------------------------------------------------------------------------------------- */

typedef struct coil_http_session coil_http_session;
typedef struct coil_http_reply coil_http_reply;
typedef struct coil_http_mock coil_http_mock;

typedef struct coil_http_session_options {
    size_t size;                /* sizeof(coil_http_session_options) */
    size_t idle_max;            /* connections kept open per host; 0: 8 */
    size_t connections_max;     /* per host; further requests wait for one; 0: no limit */
    int64_t idle_timeout_ns;    /* how long a connection is kept; 0: 15 s */
    int64_t total_timeout_ns;   /* of a request, from its call to the last byte read; 0: 5 minutes, as aiohttp */
    int64_t connect_timeout_ns; /* 0: 30 s */
    int64_t read_timeout_ns;    /* without a byte; 0: 60 s */
    unsigned redirects_max;     /* followed; 0: none, a redirect is a reply like any other */
    size_t header_bytes_max;    /* of a reply's head, at most 64 KiB; 0: 32 KiB */
    size_t headers_max;         /* 0: 100 */
    uint64_t body_bytes_max;    /* of a reply; 0: COIL_HTTP_UNLIMITED */
    const char *user_agent;     /* copied; NULL: "coil/VERSION"; "": no such field */
} coil_http_session_options;

/** coil_http_session_new - a client, and its connections. @options: borrows; may be NULL. Gives. */
COIL_ANY_THREAD int coil_http_session_new(const coil_http_session_options *options, coil_http_session **session);

/** coil_http_session_free - close its connections. No reply of it may be in use (asserted). NULL is allowed. */
COIL_ON_LOOP void coil_http_session_free(coil_http_session *session);

/*
 * Gives the next piece of a request's body: 1 .. @cap bytes; *n = 0 at its end. May suspend. Called in a task of the request's,
 * on a stack of the loop's default size, with a copy of the asking task's context. That is cancelled when the server does not want the rest.
 */
typedef int coil_http_source(void *arg, void *buf, size_t cap, size_t *n);

typedef struct coil_http_call {
    size_t size;                     /* sizeof(coil_http_call) */
    const char *method;              /* NULL: GET */
    const char *url;                 /* http://host[:port][/path][?query][#fragment] */
    const coil_http_header *headers; /* in addition to Host, User-Agent, Accept and those of the body */
    size_t header_count;
    const char *content_type; /* of the body; may be NULL */
    const void *body;         /* the body, of @body_bytes; or */
    size_t body_bytes;
    coil_http_source *source; /* where it comes from, in pieces; */
    void *source_arg;
    int64_t source_bytes;     /* how many; -1: unknown, sent in chunks */
    int64_t total_timeout_ns; /* instead of the session's; 0: that */
} coil_http_call;

/**
 * coil_http_session_request - send a request, and wait for the head of its reply
 * @call:  borrows, with all that it points to
 * @reply: gives; coil_http_reply_free() it
 *
 * A status such as 404 is no error. If a connection that had been kept turns out to be closed before the
 * first byte of a reply, the request is sent once more on a new one, provided that its method allows that
 * (GET, HEAD, OPTIONS, TRACE, PUT, DELETE) and its body is no source. Errors: -EINVAL (URL, method or fields;
 * the message says which), -EPROTONOSUPPORT for https, -ETIMEDOUT,
 * -EPROTO, -EMSGSIZE, -ELOOP (too many redirects), those of coil_open_connection and of writing, and the source's own.
 */
COIL_IN_TASK COIL_SUSPENDS int coil_http_session_request(coil_http_session *session, const coil_http_call *call,
                                                         coil_http_reply **reply);

/** coil_http_get, coil_http_post - the most frequent ones. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_get(coil_http_session *session, const char *url, coil_http_reply **reply);
COIL_IN_TASK COIL_SUSPENDS int coil_http_post(coil_http_session *session, const char *url, const char *content_type,
                                              const void *body, size_t n, coil_http_reply **reply);

COIL_ON_LOOP int coil_http_reply_status(const coil_http_reply *reply);

/** coil_http_reply_header - the first field with this name, NULL without one; lent until the reply is freed. */
COIL_ON_LOOP const char *coil_http_reply_header(const coil_http_reply *reply, const char *name);
COIL_ON_LOOP bool coil_http_reply_header_at(const coil_http_reply *reply, size_t index, coil_http_header *header);

/** coil_http_reply_url - that it comes from, after redirects; lent until the reply is freed. */
COIL_ON_LOOP const char *coil_http_reply_url(const coil_http_reply *reply);

/** coil_http_reply_read - some bytes of the body, 0 at its end. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_reply_read(coil_http_reply *reply, void *buf, size_t cap, size_t *n);

/** coil_http_reply_read_all - the rest of the body, at most @max bytes. Gives @data with a zero behind; free() it. */
COIL_IN_TASK COIL_SUSPENDS int coil_http_reply_read_all(coil_http_reply *reply, size_t max, char **data, size_t *n);

/**
 * coil_http_reply_json - the rest of the body, at most @max bytes, as JSON
 * @json: gives; cJSON_Delete() it (<cjson/cJSON.h>)
 *
 * Errors: as read_all; -EBADMSG if it is no JSON; -ENOTSUP if coil-http was built without cJSON.
 */
struct cJSON;
COIL_IN_TASK COIL_SUSPENDS int coil_http_reply_json(coil_http_reply *reply, size_t max, struct cJSON **json);

/** coil_http_reply_free - its connection is kept if the body was read to its end. NULL is allowed. */
COIL_ON_LOOP void coil_http_reply_free(coil_http_reply *reply);

/** coil_http_session_idle - connections that are kept at the moment. */
COIL_ON_LOOP size_t coil_http_session_idle(coil_http_session *session);

/* --- canned answers ------------------------------------------------------------------------------------- */

/*
 * A session with a mock opens no connections: requests are answered by what was registered, after its delay,
 * on the loop's clock. The bytes of the answer go through the same parser as a server's would. Of several
 * answers for a URL each is given
 * @times times, in the order of registration. A request that nothing was registered for raises -ECONNREFUSED, as
 * aioresponses has it.
 */
typedef struct coil_http_answer {
    size_t size;              /* sizeof(coil_http_answer) */
    const char *method;       /* NULL: GET */
    const char *url;          /* of the request, without fragment */
    unsigned times;           /* 0: once; UINT_MAX: always */
    int status;               /* 0: 200 */
    const char *content_type; /* NULL: application/json */
    const coil_http_header *headers;
    size_t header_count;
    const void *body;
    size_t body_bytes; /* 0: @body is a string */
    int64_t delay_ns;  /* before the first byte */
    int error;         /* negative: connecting fails with it, after the delay */
    bool drop;         /* the connection is lost after @drop_after bytes of the body */
    size_t drop_after;
} coil_http_answer;

/** coil_http_mock_new - gives. Used by one worker at a time, with the tasks of the sessions it is set for. */
COIL_ANY_THREAD int coil_http_mock_new(coil_http_mock **mock);
COIL_ON_LOOP void coil_http_mock_free(coil_http_mock *mock); /* NULL is allowed */

/** coil_http_session_set_mock - from now on @session is answered by @mock (borrows until the session is freed). */
COIL_ON_LOOP void coil_http_session_set_mock(coil_http_session *session, coil_http_mock *mock);

/** coil_http_mock_add - register an answer (copied). Errors: -EINVAL for what no answer can be; -ENOMEM. */
COIL_ON_LOOP int coil_http_mock_add(coil_http_mock *mock, const coil_http_answer *answer);

/** coil_http_mock_calls - requests with this method and URL so far, answered or not. NULL stands for any. */
COIL_ON_LOOP size_t coil_http_mock_calls(const coil_http_mock *mock, const char *method, const char *url);

/** coil_http_mock_sent - what the last request sent: head and body as on the wire; lent until the next request. */
COIL_ON_LOOP const char *coil_http_mock_sent(const coil_http_mock *mock, size_t *n);

COIL_END
#endif
