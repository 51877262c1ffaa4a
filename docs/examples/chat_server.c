/*
 * chat_server.c - a chat: chat_server [PORT] (0 or none: a free port, which it prints)
 *
 * The first line of a client is its name. What it says then goes to everybody else; /nick NAME changes the
 * name, /who lists who is there, /quit leaves. Each client has a task that reads from it; writing never waits,
 * so a client that does not read holds nobody up: it is thrown out when too much is waiting for it.
 */
#include <coil.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 32
#define BACKLOG_BYTES ((size_t)256 * 1024)

typedef struct member {
    struct member *next;
    coil_stream *stream;
    char name[NAME_MAX_BYTES];
} member;

/* All tasks run on one thread, so nothing here needs a lock. */
typedef struct room {
    member *members;
} room;

/* --- the room ------------------------------------------------------------------------------------------------- */

static void tell(member *m, const char *text)
{
    coil_stream_write(m->stream, text, strlen(text));
    if (coil_stream_write_buffer_size(m->stream) > BACKLOG_BYTES)
        coil_stream_abort(m->stream);
}

/* Tells everybody but @from. */
static void tell_others(const room *r, const member *from, const char *text)
{
    for (member *m = r->members; m; m = m->next)
        if (m != from)
            tell(m, text);
}

static const member *find(const room *r, const char *name)
{
    for (const member *m = r->members; m; m = m->next)
        if (strcmp(m->name, name) == 0)
            return m;
    return NULL;
}

static void enter(room *r, member *m)
{
    char text[64];
    snprintf(text, sizeof text, "* %s has joined\n", m->name);
    tell_others(r, m, text);
    m->next = r->members;
    r->members = m;
}

static void leave(room *r, member *m)
{
    char text[64];
    for (member **link = &r->members; *link; link = &(*link)->next) {
        if (*link == m) {
            *link = m->next;
            break;
        }
    }
    snprintf(text, sizeof text, "* %s has left\n", m->name);
    tell_others(r, m, text);
}

/* --- one client ----------------------------------------------------------------------------------------------- */

/* The next line without its end, in @buf. 1, or 0 at the end of the stream. */
static int read_line(coil_stream *stream, char *buf, size_t size)
{
    const char *line;
    size_t n;
    COIL_TRY(coil_stream_readline(stream, &line, &n));
    if (n == 0)
        return 0;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    if (n >= size)
        n = size - 1;
    memcpy(buf, line, n);
    buf[n] = '\0';
    return 1;
}

static bool take_name(const room *r, member *m, const char *name)
{
    if (!*name || strlen(name) >= NAME_MAX_BYTES || strchr(name, ' ') || find(r, name))
        return false;
    snprintf(m->name, sizeof m->name, "%s", name);
    return true;
}

static void change_name(room *r, member *m, const char *name)
{
    char old[NAME_MAX_BYTES], text[128];
    snprintf(old, sizeof old, "%s", m->name);
    if (!take_name(r, m, name)) {
        tell(m, "* that name cannot be had\n");
        return;
    }
    snprintf(text, sizeof text, "* %s is now called %s\n", old, m->name);
    tell_others(r, NULL, text);
}

static void list_members(const room *r, member *to)
{
    for (const member *m = r->members; m; m = m->next) {
        char text[64];
        snprintf(text, sizeof text, "* %s is here\n", m->name);
        tell(to, text);
    }
}

/* Ask until the client has a name. 1, or 0 if it has gone. */
static int ask_name(const room *r, member *m)
{
    char line[256];
    for (;;) {
        tell(m, "* your name?\n");
        int rc = read_line(m->stream, line, sizeof line);
        if (rc <= 0)
            return rc;
        if (take_name(r, m, line))
            return 1;
        tell(m, "* that name cannot be had\n");
    }
}

/* Until /quit or the end of the stream. */
static int talk(room *r, member *m)
{
    char line[1024], text[1100];
    int rc;
    while ((rc = read_line(m->stream, line, sizeof line)) > 0) {
        if (strcmp(line, "/quit") == 0)
            return 0;
        if (strncmp(line, "/nick ", 6) == 0) {
            change_name(r, m, line + 6);
        } else if (strcmp(line, "/who") == 0) {
            list_members(r, m);
        } else if (*line) {
            snprintf(text, sizeof text, "%s: %s\n", m->name, line);
            tell_others(r, m, text);
        }
    }
    return rc;
}

static int visit(room *r, member *m)
{
    int rc = ask_name(r, m);
    if (rc <= 0)
        return rc;
    enter(r, m);
    rc = talk(r, m);
    leave(r, m);
    return rc;
}

static int handle_client(coil_stream *stream, void *arg)
{
    member m = {.stream = stream}; /* in the room only while this function runs */
    int rc = visit(arg, &m);
    coil_error *error = coil_catch(rc);
    coil_stream_close(stream);
    coil_stream_free(stream);
    if (rc == -ECONNRESET || rc == -EPIPE || rc == -EINVAL) { /* it vanished, or sent an endless line */
        coil_error_release(error);
        return 0;
    }
    return coil_raise_error(error);
}

/* --- the server ----------------------------------------------------------------------------------------------- */

static int async_main(void *port, void **result)
{
    (void)result;
    static room r; /* the clients' tasks may outlive this function by a moment */
    coil_server *server;
    COIL_TRY(coil_start_server(handle_client, &r, "127.0.0.1", port, NULL, &server));
    printf("listening on port %d\n", coil_server_port(server));
    fflush(stdout);
    int rc = coil_server_serve_forever(server);
    coil_server_free(server);
    return rc;
}

int main(int argc, char **argv)
{
    return coil_main(coil_coro_of(async_main, argc > 1 ? argv[1] : "0"));
}
