/*
 * format.h - text that grows, and values as the trace prints them
 */
#ifndef SCENARIO_FORMAT_H
#define SCENARIO_FORMAT_H

#include "value.h"

/* Starts as {0}; bytes is malloc'ed and zero-terminated; free() it. */
struct text {
    char *bytes;
    size_t n, size;
};

void text_append(struct text *text, const char *bytes, size_t n);
void text_printf(struct text *text, const char *format, ...) COIL_PRINTF(2, 3);

/* As inside a list: strings in quotes. Newlines are printed as \n. */
void format_value(struct text *text, const value *v);

/* As an item of log: a string is printed raw. */
void format_item(struct text *text, const value *v);

/* A new string value, e.g. for names: what Python's str() gives for a string or an int. */
const char *format_plain(const value *v);

#endif
