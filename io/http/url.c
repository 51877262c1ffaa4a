/*
 * url.c - see url.h
 */
#include "url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define URL_BYTES_MAX ((size_t)64 * 1024)

static const char scheme[] = "http://";
enum { SCHEME_BYTES = sizeof scheme - 1 };

typedef struct parts {
    const char *authority, *host, *port, *target;
    size_t authority_bytes, host_bytes, port_bytes, target_bytes;
} parts;

static int bad(const char *what)
{
    return coil_raise(-EINVAL, "the URL has %s", what);
}

static bool is_host(const char *host, size_t n, bool address)
{
    for (size_t i = 0; i < n; i++) {
        char c = host[i];
        bool digit = c >= '0' && c <= '9', letter = (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
        if (!digit && !(address && c == ':') && !letter && c != '.' && (address || (c != '-' && c != '_')))
            return false;
    }
    return n > 0;
}

/* "host", "host:port", "[address]:port" */
static int split_authority(parts *p)
{
    const char *at = p->authority, *end = at + p->authority_bytes;
    bool address = at < end && *at == '[';
    const char *stop = address ? memchr(at, ']', p->authority_bytes) : memchr(at, ':', p->authority_bytes);
    if (memchr(at, '@', p->authority_bytes))
        return bad("a user's name, which is not supported");
    if (address && !stop)
        return bad("a bad host");
    p->host = address ? at + 1 : at;
    stop = stop ? stop : end;
    p->host_bytes = (size_t)(stop - p->host);
    if (!is_host(p->host, p->host_bytes, address))
        return bad("a bad host");
    stop += address ? 1 : 0;
    p->port = "80";
    p->port_bytes = 2;
    if (stop == end)
        return 0;
    uint64_t number;
    p->port = stop + 1;
    p->port_bytes = (size_t)(end - p->port);
    if (*stop != ':' || !coil__http_decimal(p->port, p->port_bytes, &number) || number == 0 || number > 65535)
        return bad("a bad port");
    return 0;
}

static int split(const char *text, parts *p)
{
    size_t n = strlen(text);
    if (n > 8 && coil__http_same(text, 8, "https://"))
        return coil_raise(-EPROTONOSUPPORT, "https is not supported");
    if (n < SCHEME_BYTES || !coil__http_same(text, SCHEME_BYTES, scheme))
        return bad("no http scheme");
    if (n > URL_BYTES_MAX)
        return bad("too many characters");
    p->authority = text + SCHEME_BYTES;
    p->authority_bytes = strcspn(p->authority, "/?#");
    p->target = p->authority + p->authority_bytes;
    p->target_bytes = strcspn(p->target, "#");
    if (p->target_bytes > 0 && !coil__http_is_target(p->target, p->target_bytes))
        return bad("characters that have to be percent-encoded");
    return split_authority(p);
}

static char *put(char **at, const char *text, size_t n)
{
    char *first = *at;
    memcpy(first, text, n);
    first[n] = '\0';
    *at += n + 1;
    return first;
}

static void lower(char *text)
{
    for (; *text; text++)
        if (*text >= 'A' && *text <= 'Z')
            *text |= 0x20;
}

int coil__http_url_parse(const char *text, coil__http_url *url)
{
    parts p = {0};
    COIL_TRY(split(text, &p));
    size_t whole = SCHEME_BYTES + p.authority_bytes + p.target_bytes;
    char *memory = malloc(2 * whole + 2 * (p.host_bytes + p.port_bytes) + p.authority_bytes + 16), *at = memory;
    if (!memory)
        return coil_raise(-ENOMEM, NULL);
    bool slash = p.target_bytes == 0 || *p.target == '?';
    url->text = memory;
    at += sprintf(at, "%s%.*s%s%.*s", scheme, (int)p.authority_bytes, p.authority, slash ? "/" : "",
                  (int)p.target_bytes, p.target) +
          1;
    url->target = put(&at, memory + SCHEME_BYTES + p.authority_bytes, p.target_bytes + slash);
    url->authority = put(&at, p.authority, p.authority_bytes);
    url->host = put(&at, p.host, p.host_bytes);
    url->port = put(&at, p.port, p.port_bytes);
    char *origin = put(&at, p.host, p.host_bytes);
    at[-1] = ':';
    put(&at, p.port, p.port_bytes);
    lower(origin);
    url->origin = origin;
    return 0;
}

void coil__http_url_fini(coil__http_url *url)
{
    free(url->text);
    *url = (coil__http_url){0};
}

/* --- resolving ------------------------------------------------------------------------------------------ */

/* Cuts the last segment of what has been written: "/a/b" becomes "/a". */
static char *cut_segment(char *first, char *end)
{
    while (end > first && *--end != '/') {
    }
    return end;
}

/* RFC 3986 5.2.4, in place; leaves the query and the fragment alone. */
static void remove_dots(char *path)
{
    char *stop = path + strcspn(path, "?#"), *out = path;
    const char *in = path;
    while (in < stop) {
        const char *next = memchr(in + 1, '/', (size_t)(stop - in - 1));
        size_t n = (size_t)((next ? next : stop) - in);
        bool one = n == 2 && in[1] == '.', two = n == 3 && in[1] == '.' && in[2] == '.';
        if (two)
            out = cut_segment(path, out);
        if (one || two) {
            if (!next)
                *out++ = '/';
        } else {
            memmove(out, in, n);
            out += n;
        }
        in += n;
    }
    memmove(out, stop, strlen(stop) + 1);
}

static bool has_scheme(const char *text)
{
    size_t n = strcspn(text, ":/?#");
    return n > 0 && text[n] == ':';
}

/* The path of @base that a relative one is appended to. */
static size_t directory_bytes(const char *target)
{
    size_t n = strcspn(target, "?");
    while (n > 0 && target[n - 1] != '/')
        n--;
    return n;
}

int coil__http_url_resolve(const coil__http_url *base, const char *location, coil__http_url *url)
{
    if (has_scheme(location))
        return coil__http_url_parse(location, url);
    size_t cap = strlen(base->text) + strlen(location) + 16;
    char *text = malloc(cap);
    if (!text)
        return coil_raise(-ENOMEM, NULL);
    size_t kept = 0; /* of the base's target */
    if (*location == '?' || *location == '\0' || *location == '#')
        kept = strcspn(base->target, *location == '?' ? "?" : "");
    else if (*location != '/')
        kept = directory_bytes(base->target);
    if (strncmp(location, "//", 2) == 0)
        snprintf(text, cap, "http:%s", location);
    else
        snprintf(text, cap, "%s%s%.*s%s", scheme, base->authority, (int)kept, base->target, location);
    char *path = text + SCHEME_BYTES;
    path += strcspn(path, "/?#");
    if (*path == '/')
        remove_dots(path);
    int rc = coil__http_url_parse(text, url);
    free(text);
    return rc;
}
