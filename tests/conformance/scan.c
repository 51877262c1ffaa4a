/*
 * scan.c - the first pass over a scenario: its lines, its definitions, and which names are variables
 *
 * Definitions and globals may be used before their lines, and a name assigned anywhere in a definition is local in all
 * of it: so they are found before any statement is read. Source: "Text", "Top level" and "Variables" of the scenario
 * language.
 */
#include "parse.h"

#include <stdio.h>
#include <string.h>

#include "world.h"

#define FILE_BYTES_MAX ((size_t)4 * 1024 * 1024)

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* --- lines ------------------------------------------------------------------------------------------------------- */

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die("cannot open the file");
    char *text = keep(FILE_BYTES_MAX);
    size_t n = fread(text, 1, FILE_BYTES_MAX - 1, file);
    text[n] = 0;
    fclose(file);
    return text;
}

static size_t count(const char *text, char what)
{
    size_t n = 0;
    for (; *text; text++)
        n += *text == what;
    return n;
}

/* A word that begins with # starts a comment. */
static void split_words(struct line *line, char *text)
{
    char *rest = text;
    line->words = keep((strlen(text) / 2 + 2) * sizeof(char *));
    for (char *word; (word = strtok_r(rest, " \t\r\f\v", &rest)) && word[0] != '#';)
        line->words[line->n++] = word;
}

static void split_lines(struct parser *p, char *text)
{
    p->lines = keep((count(text, '\n') + 1) * sizeof *p->lines);
    for (size_t number = 1; text; number++) {
        char *end = strchr(text, '\n');
        if (end)
            *end = 0;
        struct line *line = &p->lines[p->n];
        line->number = number;
        split_words(line, text);
        p->n += line->n != 0;
        text = end ? end + 1 : NULL;
    }
}

size_t parse_find_word(const struct line *line, const char *word)
{
    size_t i = 0;
    while (i < line->n && !is(line->words[i], word))
        i++;
    return i;
}

static bool opens_block(const struct line *line)
{
    static const char *const openers[] = {"if", "repeat", "while", "for", "try", "with", "async"};
    for (size_t i = 0; i < sizeof openers / sizeof openers[0]; i++)
        if (is(line->words[0], openers[i]))
            return true;
    return false;
}

bool parse_opens_definition(const char *word)
{
    return is(word, "coro") || is(word, "def") || is(word, "agen") || is(word, "thread") || is(word, "driver");
}

/* --- names ------------------------------------------------------------------------------------------------------- */

size_t parse_name_index(const char *const *names, size_t n, const char *name)
{
    size_t i = 0;
    while (i < n && !is(names[i], name))
        i++;
    return i;
}

static void add_name(const char **names, size_t *n, const char *name)
{
    if (parse_name_index(names, *n, name) == *n)
        names[(*n)++] = name;
}

bool parse_variable(const struct parser *parser, const char *name, variable *v)
{
    const definition *f = parser->function;
    v->name = name;
    v->global = false;
    if (f && (v->slot = parse_name_index(f->names, f->names_n, name)) < f->names_n)
        return true;
    v->global = true;
    v->slot = parse_name_index(parser->globals, parser->globals_n, name);
    return v->slot < parser->globals_n;
}

const definition *parse_function(const struct parser *parser, const char *name)
{
    for (const definition *f = parser->program->functions; f; f = f->next)
        if (is(f->name, name))
            return f;
    return NULL;
}

/* --- first pass: definitions and globals ------------------------------------------------------------------------- */

static definition *new_function(struct parser *p, const struct line *line)
{
    definition *f = keep(sizeof *f);
    const char *kind = line->words[0];
    bool driver = is(kind, "driver");
    if (!driver && line->n < 2)
        die("name expected");
    f->kind = is(kind, "coro")   ? FUNCTION_CORO
              : is(kind, "def")  ? FUNCTION_DEF
              : is(kind, "agen") ? FUNCTION_AGEN
              : driver           ? FUNCTION_DRIVER
                                 : FUNCTION_THREAD;
    f->name = driver ? "driver" : line->words[1];
    f->parameters = driver ? 0 : line->n - 2;
    if (f->kind == FUNCTION_DEF)
        f->self = value_call(VALUE_DEF, NULL, f, NULL, NULL);
    if (f->kind == FUNCTION_THREAD)
        f->self = value_call(VALUE_THREAD, NULL, f, NULL, NULL);
    if (driver)
        p->program->driver = f;
    f->next = p->program->functions;
    p->program->functions = f;
    return f;
}

static void note_locals(definition *f, const struct line *line)
{
    const char *first = line->words[0];
    size_t arrow = parse_find_word(line, "->"), equals = parse_find_word(line, "=");
    if (is(first, "for") && line->n > 1)
        add_name(f->names, &f->names_n, line->words[1]);
    if (is(first, "async") && line->n > 2)
        add_name(f->names, &f->names_n, line->words[2]);
    if ((is(first, "repeat") || is(first, "with") || is(first, "except")) && arrow < line->n) {
        for (size_t i = arrow + 1; i < line->n; i++)
            add_name(f->names, &f->names_n, line->words[i]);
    } else if (equals < line->n && !is(first, "log") && !is(first, "show") && !is(first, "probe")) {
        for (size_t i = 0; i < equals; i++)
            add_name(f->names, &f->names_n, line->words[i]);
    }
}

static void note_globals(struct parser *p, const struct line *line)
{
    size_t assign = parse_find_word(line, ":=");
    for (size_t i = 0; assign < line->n && i < assign; i++)
        add_name(p->globals, &p->globals_n, line->words[i]);
}

/* The lines of one definition, without its first; returns the index behind its `end`. */
static size_t scan_definition(struct parser *p, definition *f, size_t i)
{
    const struct line *head = &p->lines[i++];
    size_t depth = 1, words = head->n, end = i;
    for (; end < p->n && depth; end++) {
        words += p->lines[end].n;
        depth += opens_block(&p->lines[end]);
        depth -= is(p->lines[end].words[0], "end");
    }
    if (depth)
        die("missing end");
    f->names = keep(words * sizeof *f->names);
    for (size_t w = 2; w < head->n; w++)
        add_name(f->names, &f->names_n, head->words[w]);
    for (; i < end; i++) {
        note_locals(f, &p->lines[i]);
        note_globals(p, &p->lines[i]);
    }
    return end;
}

void parse_definitions(struct parser *p, const char *path)
{
    size_t words = 0;
    split_lines(p, read_file(path));
    for (size_t i = 0; i < p->n; i++)
        words += p->lines[i].n;
    p->globals = keep(words * sizeof *p->globals);
    for (size_t i = 0; i < p->n;) {
        const struct line *line = &p->lines[i];
        world_at_line(line->number);
        if (parse_opens_definition(line->words[0])) {
            i = scan_definition(p, new_function(p, line), i);
        } else if (line->n == 3 && is(line->words[1], "=")) {
            add_name(p->globals, &p->globals_n, line->words[0]);
            i++;
        } else {
            die("definition expected");
        }
    }
}
