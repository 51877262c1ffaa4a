/*
 * download_lines.c - generators in a row over a real HTTP server: URLs -> chunks of downloads -> lines
 *
 * asyncio: async for line in lines(download(urls())): ..., each stage an `async def` that yields. A stage runs only while the
 * next one asks for something: nothing is downloaded that nobody reads. Leaving the loop early closes the last stage,
 * which closes the one before it, and so on: each cleans up after itself, in that order.
 */
#include <coil_http.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- the server: three poems, sent in small pieces --------------------------------------------------------------- */

static const char *poem_of(const char *path)
{
    return !strcmp(path, "/1") ? "roses are red\nviolets are blue\n"
         : !strcmp(path, "/2") ? "this line has no end here"
         : !strcmp(path, "/3") ? ", but there\nthe last line\n"
                               : NULL;
}

static int serve_poem(coil_http_request *request, coil_http_response *response, void *arg)
{
    const char *poem = poem_of(coil_http_request_path(request));
    (void)arg;
    if (!poem)
        return coil_http_respond(response, 404, NULL, "", 0);
    COIL_TRY(coil_http_response_begin(response, 200, "text/plain", -1));
    for (size_t left = strlen(poem); left > 0;) {
        size_t n = left < 7 ? left : 7;
        COIL_TRY(coil_http_response_write(response, poem, n));
        poem += n;
        left -= n;
    }
    return 0;
}

/* --- the stages -------------------------------------------------------------------------------------------------- */

struct urls {
    int port, count;
};

static int urls(coil_agen *self, void *arg)
{
    const struct urls *u = arg;
    char url[64];
    for (int i = 1; i <= u->count; i++) {
        snprintf(url, sizeof url, "http://127.0.0.1:%d/%d", u->port, i);
        int rc = coil_agen_yield(self, url, NULL);
        if (rc < 0) {
            printf("  (urls: closed)\n");
            return rc;
        }
    }
    return 0;
}

struct chunk {
    char data[4096];
    size_t n;
};

/* Yields what of one URL has come, until all has. */
static int download_one(coil_agen *self, coil_http_session *session, const char *url)
{
    coil_http_reply *reply;
    struct chunk chunk;
    printf("  (downloading %s)\n", strrchr(url, '/'));
    COIL_TRY(coil_http_get(session, url, &reply));
    int rc;
    while ((rc = coil_http_reply_read(reply, chunk.data, sizeof chunk.data, &chunk.n)) == 0 && chunk.n > 0) {
        rc = coil_agen_yield(self, &chunk, NULL);
        if (rc < 0)
            break;
    }
    coil_http_reply_free(reply); /* breaks the download off if it is not over */
    return rc;
}

/* Ends with @rc, after the stage before has been closed. */
static int close_source(coil_agen *source, int rc)
{
    coil_error *e = rc == COIL_ESTOPITERATION ? NULL : coil_catch(rc);
    int closed = coil_agen_close(source);
    coil_agen_release(source);
    if (!e)
        return closed;
    coil_error_release(coil_catch(closed));
    return coil_raise_error(e);
}

static int download(coil_agen *self, void *source)
{
    coil_http_session *session;
    void *url;
    COIL_TRY(coil_http_session_new(NULL, &session));
    int rc;
    while ((rc = coil_agen_next(source, &url)) == 0) {
        rc = download_one(self, session, url);
        if (rc < 0)
            break;
    }
    if (rc == COIL_EGENERATOREXIT)
        printf("  (download: closed)\n");
    coil_http_session_free(session);
    return close_source(source, rc);
}

struct line {
    char text[256];
    size_t n;
};

/* Yields the lines that a chunk completes; the rest stays in @line. */
static int split(coil_agen *self, const struct chunk *chunk, struct line *line)
{
    for (size_t i = 0; i < chunk->n; i++) {
        if (chunk->data[i] != '\n') {
            if (line->n + 1 < sizeof line->text)
                line->text[line->n++] = chunk->data[i];
            continue;
        }
        line->text[line->n] = '\0';
        line->n = 0;
        COIL_TRY(coil_agen_yield(self, line->text, NULL));
    }
    return 0;
}

static int lines(coil_agen *self, void *source)
{
    struct line line = {.n = 0};
    void *chunk;
    int rc;
    while ((rc = coil_agen_next(source, &chunk)) == 0) {
        rc = split(self, chunk, &line);
        if (rc < 0)
            break;
    }
    if (rc == COIL_EGENERATOREXIT)
        printf("  (lines: closed)\n");
    return close_source(source, rc);
}

/* --- the program ------------------------------------------------------------------------------------------------- */

static int piped(struct urls *u, coil_agen **all)
{
    coil_agen *first, *second;
    COIL_TRY(coil_agen_new(urls, u, NULL, "urls", &first));
    COIL_TRY(coil_agen_new(download, first, NULL, "download", &second));
    return coil_agen_new(lines, second, NULL, "lines", all);
}

/* Prints lines, at most @most of them. */
static int print_lines(int port, int most)
{
    struct urls u = {port, 3};
    coil_agen *all;
    void *text;
    int rc = 0;
    COIL_TRY(piped(&u, &all));
    printf("at most %d lines:\n", most);
    for (int i = 0; i < most && rc == 0; i++) {
        rc = coil_agen_next(all, &text);
        if (rc == 0)
            printf("%s\n", (char *)text);
    }
    return close_source(all, rc);
}

static int async_main(void *arg, void **result)
{
    coil_http_server *server;
    (void)arg, (void)result;
    COIL_TRY(coil_http_start_server(serve_poem, NULL, "127.0.0.1", "0", NULL, &server));
    int port = coil_http_server_port(server);
    int rc = print_lines(port, 100);
    if (rc == 0)
        rc = print_lines(port, 1);
    int drained = coil_http_server_drain(server, COIL_SECONDS(1));
    coil_http_server_free(server);
    return rc < 0 ? rc : drained;
}

int main(void)
{
    return coil_main(coil_coro_of(async_main, NULL));
}
