/*
 * parse.c - the second pass over a scenario: statements become trees
 *
 * Called once, by main. Source: the section "Statements" of the scenario language.
 */
#include "parse.h"

#include <string.h>

#include "world.h"

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

/* --- second pass: statements ------------------------------------------------------------------------------------- */

static statement *parse_statement(struct parser *p, const struct line *line);

static void need(bool condition)
{
    if (!condition)
        die("malformed statement");
}

static const struct line *next_line(struct parser *p)
{
    if (p->at >= p->n)
        die("missing end");
    const struct line *line = &p->lines[p->at++];
    world_at_line(line->number);
    return line;
}

static bool closes(const struct line *line)
{
    const char *word = line->words[0];
    return is(word, "end") || is(word, "else") || is(word, "except") || is(word, "finally");
}

/* Up to a closing line, which is returned. */
static const struct line *parse_body(struct parser *p, statement **body)
{
    for (;;) {
        const struct line *line = next_line(p);
        if (closes(line))
            return line;
        *body = parse_statement(p, line);
        body = &(*body)->next;
    }
}

static void parse_to_end(struct parser *p, statement **body)
{
    need(is(parse_body(p, body)->words[0], "end"));
}

static void parse_loop_body(struct parser *p, statement *s)
{
    bool saved = p->in_loop;
    p->in_loop = true;
    parse_to_end(p, &s->body);
    p->in_loop = saved;
}

static bool in_kind(const struct parser *p, enum function_kind kind)
{
    return p->function && p->function->kind == kind;
}

static enum prefix parse_prefix(const struct parser *p, const char *word)
{
    if (is(word, "await")) {
        if (!in_kind(p, FUNCTION_CORO) && !in_kind(p, FUNCTION_AGEN))
            die("await outside a coroutine");
        return PREFIX_AWAIT;
    }
    if (is(word, "yield")) {
        if (!in_kind(p, FUNCTION_AGEN))
            die("yield outside an agen");
        return PREFIX_YIELD;
    }
    return PREFIX_NONE;
}

/* [await|yield] EXPR */
static void parse_value(struct parser *p, statement *s, const struct line *line, size_t first)
{
    if (line->n == first + 2)
        s->prefix = parse_prefix(p, line->words[first]);
    if (s->prefix != PREFIX_NONE)
        first++;
    need(line->n == first + 1);
    s->expression = parse_expression(p, line->words[first]);
}

static void add_target(struct parser *p, statement *s, const char *name, bool global)
{
    variable *v = &s->targets[s->n++];
    if (!parse_variable(p, name, v))
        die("unknown variable %s", name);
    if (global && !v->global) {
        v->global = true;
        v->slot = parse_name_index(p->globals, p->globals_n, name);
    }
}

/* `-> NAME` at the end of a line of four words. */
static void parse_arrow(struct parser *p, statement *s, const struct line *line)
{
    need(line->n == 2 || (line->n == 4 && is(line->words[2], "->")));
    s->expression = parse_expression(p, line->words[1]);
    s->targets = keep(sizeof *s->targets);
    if (line->n == 4)
        add_target(p, s, line->words[3], false);
}

static const char *source_of(const struct line *line)
{
    size_t n = 0;
    for (size_t i = 1; i < line->n; i++)
        n += strlen(line->words[i]) + 1;
    char *text = keep(n + 1), *end = text;
    for (size_t i = 1; i < line->n; i++)
        end = stpcpy(stpcpy(end, i > 1 ? " " : ""), line->words[i]);
    return text;
}

static void parse_log(struct parser *p, statement *s, const struct line *line)
{
    s->items = keep(line->n * sizeof *s->items);
    for (size_t i = 1; i < line->n; i++)
        s->items[s->n++] = parse_expression(p, line->words[i]);
}

static void parse_assignment(struct parser *p, statement *s, const struct line *line)
{
    size_t global = parse_find_word(line, ":="), local = parse_find_word(line, "=");
    size_t sign = global < line->n ? global : local;
    need(sign >= 1);
    s->kind = STATEMENT_ASSIGN;
    s->targets = keep(sign * sizeof *s->targets);
    for (size_t i = 0; i < sign; i++)
        add_target(p, s, line->words[i], global < line->n);
    parse_value(p, s, line, sign + 1);
}

static struct except_part *parse_except(struct parser *p, const struct line *line)
{
    struct except_part *part = keep(sizeof *part);
    size_t n = line->n, arrow = parse_find_word(line, "->");
    if (arrow < n) {
        need(arrow == n - 2);
        if (!parse_variable(p, line->words[n - 1], &part->variable))
            die("unknown variable %s", line->words[n - 1]);
        n = arrow;
    }
    part->kinds = keep(n * sizeof(error_kind *));
    for (size_t i = 1; i < n; i++) {
        part->kinds[part->n] = error_kind_find(line->words[i], strlen(line->words[i]));
        if (!part->kinds[part->n++])
            die("unknown exception kind %s", line->words[i]);
    }
    return part;
}

static const struct line *parse_finally(struct parser *p, statement *s)
{
    bool finally = p->in_finally, loop = p->in_loop;
    p->in_finally = true;
    p->in_loop = false;
    const struct line *line = parse_body(p, &s->finally);
    p->in_finally = finally;
    p->in_loop = loop;
    return line;
}

static void parse_try(struct parser *p, statement *s)
{
    struct except_part **end = &s->excepts;
    bool protected = false;
    const struct line *line = parse_body(p, &s->body);
    for (; is(line->words[0], "except"); end = &(*end)->next) {
        *end = parse_except(p, line);
        line = parse_body(p, &(*end)->body);
        protected = true;
    }
    if (is(line->words[0], "else")) {
        need(protected);
        line = parse_body(p, &s->orelse);
    }
    if (is(line->words[0], "finally")) {
        line = parse_finally(p, s);
        protected = true;
    }
    need(protected && is(line->words[0], "end"));
}

static void parse_if(struct parser *p, statement *s, const struct line *line)
{
    need(line->n == 2);
    s->expression = parse_expression(p, line->words[1]);
    const struct line *closer = parse_body(p, &s->body);
    if (is(closer->words[0], "else"))
        parse_to_end(p, &s->orelse);
    else
        need(is(closer->words[0], "end"));
}

/* X in EXPR, from word @first on. */
static void parse_for(struct parser *p, statement *s, const struct line *line, size_t first)
{
    need(line->n == first + 3 && is(line->words[first + 1], "in"));
    s->targets = keep(sizeof *s->targets);
    add_target(p, s, line->words[first], false);
    s->expression = parse_expression(p, line->words[first + 2]);
    parse_loop_body(p, s);
}

static void parse_async_for(struct parser *p, statement *s, const struct line *line)
{
    need(line->n == 5 && is(line->words[1], "for"));
    need(in_kind(p, FUNCTION_CORO) || in_kind(p, FUNCTION_AGEN));
    parse_for(p, s, line, 2);
}

static void parse_keyword(struct parser *p, statement *s, const struct line *line)
{
    switch (s->kind) {
    case STATEMENT_LOG:
        parse_log(p, s, line);
        break;
    case STATEMENT_SHOW:
    case STATEMENT_PROBE:
        parse_value(p, s, line, 1);
        need(s->prefix != PREFIX_YIELD);
        s->source = source_of(line);
        break;
    case STATEMENT_RETURN:
        need(!p->in_finally);
        need(line->n == 1 || !in_kind(p, FUNCTION_AGEN));
        if (line->n > 1)
            parse_value(p, s, line, 1);
        break;
    case STATEMENT_RAISE:
        need(line->n <= 2);
        if (line->n == 2)
            s->expression = parse_expression(p, line->words[1]);
        break;
    case STATEMENT_BREAK:
    case STATEMENT_CONTINUE:
        need(line->n == 1 && p->in_loop);
        break;
    case STATEMENT_IF:
        parse_if(p, s, line);
        break;
    case STATEMENT_WHILE:
        need(line->n == 2);
        s->expression = parse_expression(p, line->words[1]);
        parse_loop_body(p, s);
        break;
    case STATEMENT_REPEAT:
        parse_arrow(p, s, line);
        parse_loop_body(p, s);
        break;
    case STATEMENT_FOR:
        parse_for(p, s, line, 1);
        break;
    case STATEMENT_ASYNC_FOR:
        parse_async_for(p, s, line);
        break;
    case STATEMENT_WITH:
        parse_arrow(p, s, line);
        parse_to_end(p, &s->body);
        break;
    case STATEMENT_TRY:
        need(line->n == 1);
        parse_try(p, s);
        break;
    default:
        need(line->n == 1);
    }
}

static bool find_keyword(const char *word, enum statement_kind *kind)
{
    static const struct {
        const char *word;
        enum statement_kind kind;
    } keywords[] = {
        {"log", STATEMENT_LOG},       {"show", STATEMENT_SHOW},   {"probe", STATEMENT_PROBE},
        {"return", STATEMENT_RETURN}, {"raise", STATEMENT_RAISE}, {"pass", STATEMENT_PASS},
        {"break", STATEMENT_BREAK},   {"continue", STATEMENT_CONTINUE},
        {"if", STATEMENT_IF},         {"while", STATEMENT_WHILE}, {"repeat", STATEMENT_REPEAT},
        {"for", STATEMENT_FOR},       {"with", STATEMENT_WITH},   {"try", STATEMENT_TRY},
        {"async", STATEMENT_ASYNC_FOR},
    };
    for (size_t i = 0; i < sizeof keywords / sizeof keywords[0]; i++) {
        if (is(word, keywords[i].word)) {
            *kind = keywords[i].kind;
            return true;
        }
    }
    return false;
}

static statement *parse_statement(struct parser *p, const struct line *line)
{
    statement *s = keep(sizeof *s);
    s->line = line->number;
    if (find_keyword(line->words[0], &s->kind))
        parse_keyword(p, s, line);
    else if (parse_find_word(line, "=") < line->n || parse_find_word(line, ":=") < line->n)
        parse_assignment(p, s, line);
    else
        parse_value(p, s, line, 0); /* kind is STATEMENT_EXPRESSION, which is 0 */
    return s;
}

static definition *definition_at(struct parser *p, const struct line *line)
{
    const char *name = is(line->words[0], "driver") ? "driver" : line->words[1];
    for (definition *f = p->program->functions; f; f = f->next)
        if (is(f->name, name))
            return f;
    die("no definition %s", name);
}

static void parse_all(struct parser *p)
{
    statement **initial = &p->program->initial;
    while (p->at < p->n) {
        const struct line *line = next_line(p);
        if (parse_opens_definition(line->words[0])) {
            p->function = definition_at(p, line);
            parse_to_end(p, &p->function->body);
        } else {
            p->function = NULL;
            *initial = parse_statement(p, line);
            initial = &(*initial)->next;
        }
    }
}

void program_read(const char *path, struct program *program)
{
    struct parser p = {.program = program};
    parse_definitions(&p, path);
    parse_all(&p);
    p.program->globals_n = p.globals_n;
    program->globals = keep((p.globals_n + 1) * sizeof *program->globals);
    for (size_t i = 0; i < p.globals_n; i++)
        program->globals[i] = &value_none;
    for (definition *f = program->functions; f; f = f->next)
        if (f->kind == FUNCTION_CORO && f->parameters == 0 && is(f->name, "main"))
            program->main = f;
    if (!program->driver && !program->main)
        die("no driver and no coroutine main without parameters");
}
