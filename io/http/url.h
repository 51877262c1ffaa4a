/*
 * url.h - http URLs: taken apart, and resolved against each other; pure functions, for any thread
 *
 * What is not exactly a URL is refused, not repaired: a URL may come from elsewhere, and its bytes go into a
 * request line.
 * Source: RFC 3986, RFC 9110 4.2.
 */
#ifndef COIL_IO_HTTP_URL_H
#define COIL_IO_HTTP_URL_H

#include <coil.h>

typedef struct coil__http_url {
    char *text;            /* the whole, without fragment; owned, with the strings below in the same memory */
    const char *authority; /* "host:8080" */
    const char *host;      /* without brackets */
    const char *port;      /* "80" where there is none */
    const char *origin;    /* "host:80", in lower case: what connections are kept for */
    const char *target;    /* "/path?query" */
} coil__http_url;

/* Errors: -EINVAL, -EPROTONOSUPPORT (https), -ENOMEM. */
int coil__http_url_parse(const char *text, coil__http_url *url);

/* What the Location field of a reply from @base means. */
int coil__http_url_resolve(const coil__http_url *base, const char *location, coil__http_url *url);
void coil__http_url_fini(coil__http_url *url);

#endif
