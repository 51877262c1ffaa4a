/*
 * text.h - what RFC 9110 and RFC 9112 say about characters: tokens, field values, lists, numbers
 *
 * Pure functions, for any thread. Used on what comes in (head.c, body.c) and on what a program wants to send.
 * Source: RFC 9110 5.6, RFC 9112 2.2, 5.
 */
#ifndef COIL_IO_HTTP_TEXT_H
#define COIL_IO_HTTP_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A space or a tab: what may stand around values and elements. */
static inline bool coil__http_is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Leaves the blanks at both ends out. */
static inline void coil__http_trim(const char **first, const char **end)
{
    while (*first < *end && coil__http_is_blank(**first))
        ++*first;
    while (*end > *first && coil__http_is_blank((*end)[-1]))
        --*end;
}

/* Whether it is a token: at least one character, all of them tchar. */
bool coil__http_is_token(const char *text, size_t n);

/* Whether it may be the value of a field: no control characters but tabs; no space or tab at its ends. */
bool coil__http_is_value(const char *text, size_t n);

/* Whether it may be a host with a port, as in the Host field, which may be empty. No comma: that would be a list. */
bool coil__http_is_host(const char *text, size_t n);

/* Whether it may be a request target: visible ASCII only, at least one character. */
bool coil__http_is_target(const char *text, size_t n);

/* Equal but for the case of ASCII letters. @name ends with a zero. */
bool coil__http_same(const char *text, size_t n, const char *name);

/* Whether a comma-separated list has this element, compared without case. */
bool coil__http_list_has(const char *list, size_t n, const char *element);

/* Digits only, at least one: false for anything else, also for what does not fit into 63 bits. */
bool coil__http_decimal(const char *text, size_t n, uint64_t *number);

/* Hexadecimal digits only, 1 to 15 of them, so that no sum of two overflows. */
bool coil__http_hexadecimal(const char *text, size_t n, uint64_t *number);

/* Whether requests with this method have a body as a rule: one without says so. */
bool coil__http_expects_body(const char *method);

/* The standard phrase of a status, "" for one without. */
const char *coil__http_reason(int status);

#endif
