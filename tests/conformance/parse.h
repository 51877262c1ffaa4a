/*
 * parse.h - between the parts of the parser: scan.c (lines, names), parse.c (statements), expression.c (words)
 */
#ifndef SCENARIO_PARSE_H
#define SCENARIO_PARSE_H

#include "program.h"

struct line {
    size_t number, n;
    char **words;
};

struct parser {
    struct program *program;
    struct line *lines;
    size_t n, at;
    const char **globals;
    size_t globals_n;
    definition *function; /* whose body is being read; NULL for a global assignment */
    bool in_finally, in_loop;
};

/* scan.c */
void parse_definitions(struct parser *parser, const char *path);
size_t parse_find_word(const struct line *line, const char *word); /* line->n if it is not there */
bool parse_opens_definition(const char *word);
size_t parse_name_index(const char *const *names, size_t n, const char *name); /* n if it is not there */

/* Local first, then global; false if there is no such variable. */
bool parse_variable(const struct parser *parser, const char *name, variable *variable);
const definition *parse_function(const struct parser *parser, const char *name);

expression *parse_expression(const struct parser *parser, const char *word);

/* builtins.c: NULL if there is none of that name. */
const native *builtin_find(const char *name);

#endif
