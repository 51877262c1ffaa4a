/*
 * test_malformed.c - what no server should take: each line is answered with its status, and the connection is closed
 *
 * Then valid requests that are cut into random pieces, and some that are damaged at random places: the server
 * must answer or close, whatever comes (the sanitizers see to the rest). The seed is printed, and may be
 * given by $COIL_SEED.
 */
#include "http.h"

#include <time.h>

#define HOST    "Host: h\r\n"
#define CHUNKED "POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
#define TEXT(s) s, sizeof(s) - 1

struct malformed {
    const char *request;
    size_t n;
    int status; /* 0: closed without an answer */
};

static const struct malformed table[] = {
    /* request lines */
    {TEXT("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"), 400},
    {TEXT("GET\r\n\r\n"), 400},
    {TEXT("GET /\r\n" HOST "\r\n"), 400},
    {TEXT("GET  / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /  HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1.1 \r\n" HOST "\r\n"), 400},
    {TEXT(" GET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("\r\n\r\n\r\nGET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("\nGET / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /a b HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /a\tb HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /\x80 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /\x01 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /\0 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET /#f HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET * HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET ftp://h/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET http:///admin HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET http://?q HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET http://a@b/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET http://a\\b/ HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET http:/a HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET h:80 HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET / http/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1\r\n" HOST "\r\n"), 400},
    {TEXT("GET / HTTP/11.1\r\n" HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1.10\r\n" HOST "\r\n"), 400},
    {TEXT("get / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {TEXT("GETX / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {TEXT("BREW / HTTP/1.1\r\n" HOST "\r\n"), 501},
    {TEXT("G(T / HTTP/1.1\r\n" HOST "\r\n"), 400},
    {TEXT("CONNECT h:80 HTTP/1.1\r\n" HOST "\r\n"), 501},
    {TEXT("GET / HTTP/2.0\r\n" HOST "\r\n"), 505},
    {TEXT("GET / HTTP/0.9\r\n" HOST "\r\n"), 505},
    {TEXT("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505},

    /* line ends */
    {TEXT("GET / HTTP/1.1\n" HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: h\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: h\r\n\n"), 400},
    {TEXT("GET / HTTP/1.1\nHost: h\n\n"), 400},
    {TEXT("GET / HTTP/1.1\rHost: h\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: h\r\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n"), 400},

    /* fields */
    {TEXT("GET / HTTP/1.1\r\n" HOST "X: a\r\n b\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X: a\r\n\tb\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n " HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost : h\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X Y: z\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST ": z\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X\0: z\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X: a\0b\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X: a\x7f\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X: a\x01\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "\xe9: a\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST "X(: a\r\n\r\n"), 400},

    /* Host */
    {TEXT("GET / HTTP/1.1\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\n" HOST HOST "\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: a b\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"), 400},
    {TEXT("GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"), 400},

    /* the length of the body: what smuggling is made of */
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3, 3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: +3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: -3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 0x3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3 3\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3.\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length:\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 99999999999999999999\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 18446744073709551619\r\n\r\nabc"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
     400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"),
     400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding:\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"), 501},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding\x0b: chunked\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Transfer-Encoding: \x0b"
          "chunked\r\n\r\n0\r\n\r\n"),
     400},
    {TEXT("POST / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 400},
    {TEXT("POST / HTTP/1.0\r\n" HOST "\r\nabc"), 411},

    /* chunks */
    {TEXT(CHUNKED "g\r\n"), 400},
    {TEXT(CHUNKED "\r\n"), 400},
    {TEXT(CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "+3\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "-3\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED " 3\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3 \r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3\rabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3\r\nabcd\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3\r\nabc0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3\r\nabc\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3;a\nb\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3;a\rb\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3;a\0\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "3 a\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "10000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "00000000000000003\r\nabc\r\n0\r\n\r\n"), 400},
    {TEXT(CHUNKED "fffffffffffffff\r\nabc"), 413},
    {TEXT(CHUNKED "0\r\nTrailer\r\n\r\n"), 400},
    {TEXT(CHUNKED "0\r\nTrailer : x\r\n\r\n"), 400},
    {TEXT(CHUNKED "0\r\nTrailer: a\0\r\n\r\n"), 400},
    {TEXT(CHUNKED "0\r\nTrailer: a\n\r\n"), 400},

    /* Expect */
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 200-ok\r\n\r\n"), 417},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\nExpect: 100-continue\r\nExpect: 100-continue\r\n\r\n"),
     417},

    /* cut off */
    {TEXT("GET / HTTP/1.1\r\nHos"), 0},
    {TEXT("GET / HTTP/1.1\r\n" HOST), 0},
    {TEXT("POST / HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nab"), 0},
    {TEXT(CHUNKED "3\r\nab"), 0},
    {TEXT(CHUNKED "3\r\nabc\r\n0\r\n"), 0},
    {TEXT(""), 0},
};

static coil_http_server_options small_limits(void)
{
    return (coil_http_server_options){
        .size = sizeof(coil_http_server_options),
        .target_bytes_max = 100,
        .header_bytes_max = 1000,
        .headers_max = 10,
        .body_bytes_max = 50,
    };
}

static int status_of(const char *heard)
{
    int status = 0;
    ck_assert_msg(!*heard || sscanf(heard, "HTTP/1.1 %d ", &status) == 1, "heard %s", heard);
    return status;
}

static const char *answer_and_end(const coil_http_server *server, const char *request, size_t n)
{
    coil_stream *stream = dial(server);
    OK(coil_stream_write(stream, request, n));
    OK(coil_stream_write_eof(stream));
    return hear_all(stream);
}

NET_TEST(malformed_requests_are_refused_and_the_connection_closed)
{
    coil_http_server_options options = small_limits();
    coil_http_server *server = start(tell, NULL, &options);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct malformed *m = &table[i];
        const char *heard = answer_and_end(server, m->request, m->n);
        ck_assert_msg(status_of(heard) == m->status, "%zu: %s: %s", i, m->request, heard);
        ck_assert_msg(!*heard || strstr(heard, "\r\nConnection: close\r\n"), "%zu: %s", i, heard);
    }
    stop(server);
}

/* What follows a refused request must not be understood as another one. */
NET_TEST(nothing_is_served_after_a_malformed_request)
{
    static const char next[] = "GET /smuggled HTTP/1.1\r\n" HOST "\r\n";
    coil_http_server_options options = small_limits();
    coil_http_server *server = start(tell, NULL, &options);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        char request[1024];
        if (table[i].status == 0)
            continue;
        memcpy(request, table[i].request, table[i].n);
        memcpy(request + table[i].n, next, sizeof next - 1);
        const char *heard = answer_and_end(server, request, table[i].n + sizeof next - 1);
        ck_assert_msg(!strstr(heard, "smuggled"), "%zu: %s: %s", i, table[i].request, heard);
    }
    stop(server);
}

static int oversize(const coil_http_server *server, const char *before, char fill, size_t n, const char *behind)
{
    char request[4096];
    size_t at = strlen(before);
    memcpy(request, before, at);
    memset(request + at, fill, n);
    strcpy(request + at + n, behind);
    return status_of(answer_to_text(server, request));
}

NET_TEST(what_is_too_large_is_refused)
{
    coil_http_server_options options = small_limits();
    coil_http_server *server = start(tell, NULL, &options);
    ck_assert_int_eq(oversize(server, "GET /", 'a', 99, " HTTP/1.1\r\n" HOST "\r\n"), 200);
    ck_assert_int_eq(oversize(server, "GET /", 'a', 100, " HTTP/1.1\r\n" HOST "\r\n"), 414);
    ck_assert_int_eq(oversize(server, "GET /", 'a', 3000, ""), 414);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST "X: ", 'a', 900, "\r\n\r\n"), 200);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST "X: ", 'a', 1000, "\r\n\r\n"), 431);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST "X: ", 'a', 3000, ""), 431);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST "X", 'a', 3000, ""), 431);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST, 'a', 1,
                              ":\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n"),
                     200);
    ck_assert_int_eq(oversize(server, "GET / HTTP/1.1\r\n" HOST, 'a', 1,
                              ":\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n\r\n"),
                     431);
    ck_assert_int_eq(oversize(server, "POST / HTTP/1.1\r\n" HOST "Content-Length: 50\r\n\r\n", 'a', 50, ""), 200);
    ck_assert_int_eq(oversize(server, "POST / HTTP/1.1\r\n" HOST "Content-Length: 51\r\n\r\n", 'a', 51, ""), 413);
    ck_assert_int_eq(oversize(server, CHUNKED "32\r\n", 'a', 50, "\r\n0\r\n\r\n"), 200);
    ck_assert_int_eq(oversize(server, CHUNKED "33\r\n", 'a', 51, "\r\n0\r\n\r\n"), 413);
    ck_assert_int_eq(oversize(server, CHUNKED "32\r\n", 'a', 50, "\r\n1\r\na\r\n0\r\n\r\n"), 413);
    ck_assert_int_eq(oversize(server, CHUNKED "1;", 'a', 3000, "\r\na\r\n0\r\n\r\n"), 400);
    ck_assert_int_eq(oversize(server, CHUNKED "0\r\n", 'a', 3000, ""), 400);
    stop(server);
}

/* A chunk of one byte with a long extension, again and again, would be much work for little. */
NET_TEST(chunk_extensions_are_limited_in_sum)
{
    coil_http_server *server = start(tell, NULL, NULL);
    coil_stream *stream = dial(server);
    char chunk[1000] = "1;";
    memset(chunk + 2, 'x', 900);
    strcpy(chunk + 902, "\r\na\r\n");
    writes(stream, CHUNKED);
    for (int i = 0; i < 20; i++)
        writes(stream, chunk);
    ck_assert_int_eq(status_of(hear_all(stream)), 400);
    stop(server);
}

static int take_a_little(coil_http_request *request, coil_http_response *response, void *arg)
{
    char *body;
    size_t n;
    (void)arg;
    COIL_TRY(coil_http_request_read_all(request, 5, &body, &n));
    free(body);
    return coil_http_respond(response, 200, NULL, NULL, 0);
}

NET_TEST(a_handlers_own_limit_is_answered_with_413)
{
    coil_http_server *server = start(take_a_little, NULL, NULL);
    ck_assert_int_eq(oversize(server, "POST / HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\n", 'a', 5, ""), 200);
    ck_assert_int_eq(oversize(server, "POST / HTTP/1.1\r\n" HOST "Content-Length: 6\r\n\r\n", 'a', 6, ""), 413);
    stop(server);
}

/* --- chance --------------------------------------------------------------------------------------------- */

static uint64_t chance_state;

static size_t chance(size_t n)
{
    chance_state = chance_state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(chance_state >> 33) % n;
}

static void seed_chance(void)
{
    const char *given = getenv("COIL_SEED");
    chance_state = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000003u;
    printf("COIL_SEED=%llu\n", (unsigned long long)chance_state);
    fflush(stdout);
}

static const char good[] =
    "GET /a?b HTTP/1.1\r\n" HOST "Accept: */*\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n"
    "POST /b HTTP/1.1\r\n" HOST "Content-Length: 10\r\nExpect: 100-continue\r\n\r\n0123456789"
    "POST /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n4;x=y\r\nabcd\r\n6\r\nefghij\r\n0\r\nT: u\r\n\r\n"
    "OPTIONS * HTTP/1.1\r\n" HOST "\r\n"
    "DELETE /d HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n";

static void write_in_pieces(coil_stream *stream, const char *text, size_t n)
{
    while (n > 0) {
        size_t piece = 1 + chance(chance(2) ? 10 : n);
        piece = piece < n ? piece : n;
        OK(coil_stream_write(stream, text, piece));
        turns((int)chance(4));
        text += piece;
        n -= piece;
    }
}

NET_TEST(requests_are_understood_however_they_are_cut)
{
    coil_http_server *server = start(tell, NULL, NULL);
    seed_chance();
    for (int i = 0; i < 200; i++) {
        coil_stream *stream = dial(server);
        write_in_pieces(stream, good, sizeof good - 1);
        const char *heard = hear_all(stream), *at = heard;
        static const char *const bodies[] = {"\r\n\r\nGET /a?b ", "\r\n\r\nPOST /b 0123456789",
                                             "\r\n\r\nPOST /c abcdefghij", "\r\n\r\nOPTIONS * ",
                                             "\r\n\r\nDELETE /d "};
        for (size_t k = 0; k < 5; k++) {
            at = strstr(at, bodies[k]);
            ck_assert_msg(at != NULL, "%zu: %s", k, heard);
        }
    }
    stop(server);
}

static void damage(char *text, size_t *n)
{
    static const char nasty[] = "\r\n\0 \t:;,=/?#%\"()<>@\x7f\x80\xff"
                                "0123456789abcdefGPH";
    size_t at = chance(*n), length = 1 + chance(8);
    length = length < *n - at ? length : *n - at;
    switch (chance(4)) {
    case 0:
        text[at] = (char)chance(256);
        break;
    case 1:
        text[at] = nasty[chance(sizeof nasty)];
        break;
    case 2: /* cut out */
        memmove(text + at, text + at + length, *n - at - length);
        *n -= length;
        break;
    default: /* say twice */
        memmove(text + at + length, text + at, *n - at);
        *n += length;
        break;
    }
}

NET_TEST(damaged_requests_are_answered_or_the_connection_is_closed)
{
    coil_http_server *server = start(tell, NULL, NULL);
    seed_chance();
    for (int i = 0; i < 1000; i++) {
        char text[sizeof good + 64];
        size_t n = sizeof good - 1;
        memcpy(text, good, n);
        for (size_t k = 1 + chance(4); k > 0; k--)
            damage(text, &n);
        coil_stream *stream = dial(server);
        write_in_pieces(stream, text, n);
        int rc = coil_stream_write_eof(stream);
        ck_assert(rc == 0 || rc == -ENOTCONN); /* the server has closed already, with bytes behind the last request */
        caught(rc);
        char *data;
        size_t heard;
        rc = coil_stream_read_all(stream, &data, &heard);
        ck_assert_msg(rc == 0 || rc == -ECONNRESET || rc == -EPIPE, "%d", rc); /* it went on writing */
        if (rc == 0) {
            ck_assert(heard == 0 || strncmp(data, "HTTP/1.1 ", 9) == 0);
            free(data);
        } else {
            caught(rc);
        }
        coil_stream_free(stream);
    }
    stop(server);
}

COIL_TEST_MAIN("http malformed")
