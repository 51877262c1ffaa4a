/*
 * parser.h - the parser of heads: llhttp where the system has it, else http-parser
 *
 * The only file that knows which. It is given the bytes of one head, in pieces, and tells head.c where the
 * target and the fields lie; it stops behind the empty line, whatever the head says about a body. Its state
 * is part of a coil__http_head. Debian's http-parser 2.9 may be built without HTTP_PARSER_STRICT: nothing
 * relies on its strictness, since head.c checks every line once more.
 */
#ifndef COIL_IO_HTTP_PARSER_H
#define COIL_IO_HTTP_PARSER_H

#include <stdbool.h>
#include <stddef.h>

#ifdef COIL_HTTP_LLHTTP
#include <llhttp.h>
typedef llhttp_t coil__http_parser;
typedef llhttp_settings_t coil__http_parser_settings;
#else
#include <http_parser.h>
typedef http_parser coil__http_parser;
typedef http_parser_settings coil__http_parser_settings;
#endif

enum coil__http_kind { COIL__HTTP_REQUEST, COIL__HTTP_RESPONSE };

/* What went wrong, as far as an answer depends on it. */
enum coil__http_fault { COIL__HTTP_FINE, COIL__HTTP_BAD, COIL__HTTP_BAD_METHOD };

struct coil__http_head;

/* Begins a head. */
void coil__http_parser_start(coil__http_parser *p, enum coil__http_kind kind, struct coil__http_head *head);

/* Parses @n more bytes; gives how many of them belong to the head. It is over when head.c was told so. */
enum coil__http_fault coil__http_parser_feed(coil__http_parser *p, const char *data, size_t n, size_t *used);

/* Of a head that is over. */
const char *coil__http_parser_method(const coil__http_parser *p); /* static */

#endif
