/*
 * peer.c - what talks to strangers in these tests: a server of four kinds, and a client
 *
 *     peer echo            sends everything back, and ends when its peer has shut its side down
 *     peer late BYTES      reads to the end, then goes on sending: the bytes i % 251, as many, in pieces; then closes
 *     peer many CLIENTS    echoes to many at once; when all have gone it says what they have left behind
 *     peer pipe PORT IN OUT    a client: sends the file IN and shuts its side down, while what comes goes to OUT
 *
 * Servers print "listening on port N", and run until SIGTERM kills them.
 */
#include <coil.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define BUFFER_BYTES ((size_t)64 * 1024)

/* --- echo ---------------------------------------- */

static int echo_with(coil_stream *s, char *buf, size_t bytes)
{
    size_t n;
    for (;;) {
        COIL_TRY(coil_stream_read(s, buf, bytes, &n));
        if (n == 0)
            return 0;
        COIL_TRY(coil_stream_write(s, buf, n));
        COIL_TRY(coil_stream_drain(s));
    }
}

/* Closes, and frees, whatever has happened. */
static int finish(coil_stream *s, int rc)
{
    coil_error *error = coil_catch(rc);
    coil_stream_close(s);
    int closed = coil_stream_wait_closed(s);
    coil_stream_free(s);
    if (rc == 0)
        return closed;
    coil_error_release(coil_catch(closed));
    return coil_raise_error(error);
}

static int serve_echo(coil_stream *s, void *arg)
{
    char *buf = malloc(BUFFER_BYTES);
    (void)arg;
    int rc = buf ? echo_with(s, buf, BUFFER_BYTES) : coil_raise(-ENOMEM, NULL);
    free(buf);
    return finish(s, rc);
}

/* --- late ---------------------------------------- */

static int read_to_end(coil_stream *s)
{
    char buf[4096];
    size_t n = 1;
    while (n > 0)
        COIL_TRY(coil_stream_read(s, buf, sizeof buf, &n));
    return 0;
}

static int send_late(coil_stream *s, size_t bytes)
{
    char buf[2000];
    for (size_t sent = 0; sent < bytes;) {
        size_t n = 1 + sent % sizeof buf;
        n = n < bytes - sent ? n : bytes - sent;
        for (size_t i = 0; i < n; i++)
            buf[i] = (char)((sent + i) % 251);
        COIL_TRY(coil_stream_write(s, buf, n));
        COIL_TRY(coil_stream_drain(s));
        COIL_TRY(coil_sleep(sent % 7 == 0 ? COIL_US(100) : 0));
        sent += n;
    }
    return 0;
}

static int serve_late(coil_stream *s, void *arg)
{
    int rc = read_to_end(s);
    if (rc == 0)
        rc = send_late(s, *(size_t *)arg);
    return finish(s, rc);
}

/* --- many ---------------------------------------- */

static struct {
    unsigned wanted, gone;
    long descriptors;
} many;

static long descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    long n = 0;
    while (dir && readdir(dir))
        n++;
    if (dir)
        closedir(dir);
    return n;
}

static long resident_kib(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f || fscanf(f, "%*d %ld", &pages) != 1)
        pages = -1;
    if (f)
        fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* "gone CLIENTS DESCRIPTORS-MORE-THAN-BEFORE RESIDENT-KIB", when the kernel has let go of the last of them. */
static int report_gone(void)
{
    for (int i = 0; i < 2000 && descriptors() > many.descriptors; i++)
        COIL_TRY(coil_sleep(COIL_MS(1)));
    printf("gone %u %ld %ld\n", many.gone, descriptors() - many.descriptors, resident_kib());
    fflush(stdout);
    many.gone = 0;
    return 0;
}

/* The last one to go reports. Half of them end with a reset, which is no error here. */
static int serve_many(coil_stream *s, void *arg)
{
    char buf[256];
    (void)arg;
    int rc = finish(s, echo_with(s, buf, sizeof buf));
    coil_error *error = coil_catch(rc);
    if (++many.gone == many.wanted)
        COIL_TRY(report_gone());
    if (rc != -ECONNRESET)
        return coil_raise_error(error);
    coil_error_release(error);
    return 0;
}

static void allow_descriptors(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* --- the servers ---------------------------------------- */

typedef struct program {
    coil_client_connected *serve;
    size_t number;
    char **args; /* of pipe */
} program;

static int run_server(void *arg, void **result)
{
    program *p = arg;
    coil_server_options options = {.size = sizeof options, .backlog = 4096};
    coil_server *server;
    (void)result;
    COIL_TRY(coil_start_server(p->serve, &p->number, "127.0.0.1", "0", &options, &server));
    many.wanted = (unsigned)p->number;
    many.descriptors = descriptors();
    printf("listening on port %d\n", coil_server_port(server));
    fflush(stdout);
    int rc = coil_server_serve_forever(server);
    coil_error *error = coil_catch(rc);
    coil_server_free(server);
    return coil_raise_error(error);
}

/* --- pipe ---------------------------------------- */

typedef struct half {
    coil_stream *stream;
    FILE *file;
} half;

static int send_file(void *arg, void **result)
{
    half *h = arg;
    char buf[50000];
    size_t n;
    (void)result;
    while ((n = fread(buf, 1, sizeof buf, h->file)) > 0) {
        COIL_TRY(coil_stream_write(h->stream, buf, n));
        COIL_TRY(coil_stream_drain(h->stream));
    }
    return coil_stream_write_eof(h->stream);
}

static int receive_file(half *h)
{
    char buf[50000];
    size_t n;
    for (;;) {
        COIL_TRY(coil_stream_read(h->stream, buf, sizeof buf, &n));
        if (n == 0)
            return 0;
        if (fwrite(buf, 1, n, h->file) != n)
            return coil_raise(-EIO, "the output was not written");
    }
}

static int talk(coil_stream *s, FILE *in, FILE *out)
{
    half sends = {s, in}, receives = {s, out};
    coil_task *sender;
    COIL_TRY(coil_create_task(coil_coro_make(send_file, &sends, NULL, 0, "sender"), &sender));
    int rc = receive_file(&receives);
    coil_error *error = coil_catch(rc);
    rc = coil_join(sender, NULL);
    if (!error)
        return rc;
    coil_error_release(coil_catch(rc));
    return coil_raise_error(error);
}

static int run_client(void *arg, void **result)
{
    program *p = arg;
    FILE *in = fopen(p->args[1], "rb"), *out = fopen(p->args[2], "wb");
    coil_stream *s;
    (void)result;
    if (!in || !out) {
        if (in)
            fclose(in);
        if (out)
            fclose(out);
        return coil_raise(-EINVAL, "the files cannot be opened");
    }
    int rc = coil_open_connection("127.0.0.1", p->args[0], &s);
    if (rc == 0)
        rc = finish(s, talk(s, in, out));
    fclose(in);
    if (fclose(out) != 0 && rc == 0)
        rc = coil_raise(-EIO, "the output was not written");
    return rc;
}

int main(int argc, char **argv)
{
    program p = {.args = argv + 2};
    coil_coro_fn *body = run_server;
    const char *kind = argc > 1 ? argv[1] : "";
    if (strcmp(kind, "echo") == 0) {
        p.serve = serve_echo;
    } else if (strcmp(kind, "late") == 0 && argc == 3) {
        p.serve = serve_late;
        p.number = (size_t)strtoull(argv[2], NULL, 10);
    } else if (strcmp(kind, "many") == 0 && argc == 3) {
        p.serve = serve_many;
        p.number = (size_t)strtoull(argv[2], NULL, 10);
        allow_descriptors();
    } else if (strcmp(kind, "pipe") == 0 && argc == 5) {
        body = run_client;
    } else {
        fprintf(stderr, "usage: peer echo | late BYTES | many CLIENTS | pipe PORT IN OUT\n");
        return 2;
    }
    int rc = coil_run(coil_coro_make(body, &p, NULL, 0, "main"), NULL);
    if (rc == 0)
        return 0;
    char text[256];
    coil_error *e = coil_catch(rc);
    coil_error_format(e, text, sizeof text);
    fprintf(stderr, "peer: %s\n", text);
    coil_error_release(e);
    return 1;
}
