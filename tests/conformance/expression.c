/*
 * expression.c - parsing one word, which is always exactly one expression
 *
 * Called by parse.c. Source: the grammar of expressions in the scenario language.
 *
 * I1 `at` points into the word; nothing is read past its final zero
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "builtins.h"
#include "parse.h"
#include "world.h"

struct cursor {
    const struct parser *parser;
    const char *word, *at;
};

static expression *parse(struct cursor *c);

/* --- tokens ------------------------------------------------------------------------------------------------------ */

static bool starts_name(char c)
{
    return isalpha((unsigned char)c) || c == '_';
}

static size_t name_length(const char *p)
{
    size_t n = 0;
    if (starts_name(p[0]))
        while (isalnum((unsigned char)p[n]) || p[n] == '_')
            n++;
    return n;
}

static char *take_name(struct cursor *c)
{
    size_t n = name_length(c->at);
    if (n == 0)
        die("name expected in %s", c->word);
    char *name = keep_text(c->at, n);
    c->at += n;
    return name;
}

static bool take(struct cursor *c, char what)
{
    if (*c->at != what)
        return false;
    c->at++;
    return true;
}

static expression *node(enum expression_kind kind)
{
    expression *e = keep(sizeof *e);
    e->kind = kind;
    return e;
}

static expression *constant(value *v)
{
    expression *e = node(EXPRESSION_CONSTANT);
    e->constant = v;
    return e;
}

static expression *parse_int(struct cursor *c)
{
    char *end;
    long long number = strtoll(c->at, &end, 10);
    c->at = end;
    return constant(value_int(number));
}

static char unescape(const struct cursor *c, char letter)
{
    switch (letter) {
    case 's':
        return ' ';
    case 'n':
        return '\n';
    case '\\':
        return '\\';
    default:
        die("unknown escape in %s", c->word);
    }
}

/* There is no closing quote: the string ends before the first character that it cannot contain. */
static expression *parse_string(struct cursor *c)
{
    char *text = keep(strlen(c->at) + 1);
    size_t n = 0;
    while (*c->at && !strchr(",()[]'", *c->at)) {
        char letter = *c->at++;
        if (letter == '\\')
            letter = unescape(c, *c->at++);
        text[n++] = letter;
    }
    return constant(value_string(text, n));
}

/* --- arguments --------------------------------------------------------------------------------------------------- */

static struct argument_source parse_argument(struct cursor *c)
{
    struct argument_source a = {0};
    size_t n = name_length(c->at);
    if (take(c, '*')) {
        a.splat = true;
    } else if (n && c->at[n] == '=') {
        a.keyword = take_name(c);
        c->at++;
    }
    a.value = parse(c);
    return a;
}

static void parse_arguments(struct cursor *c, expression *e, char close)
{
    size_t size = 0;
    if (take(c, close))
        return;
    for (;;) {
        if (e->n == size) {
            struct argument_source *old = e->args;
            size = size ? 2 * size : 4;
            e->args = keep(size * sizeof *e->args);
            if (old)
                memcpy(e->args, old, e->n * sizeof *old);
        }
        e->args[e->n++] = parse_argument(c);
        if (take(c, close))
            return;
        if (!take(c, ','))
            die("expected , or %c in %s", close, c->word);
    }
}

static bool only_positional(const expression *e)
{
    for (size_t i = 0; i < e->n; i++)
        if (e->args[i].splat || e->args[i].keyword)
            return false;
    return true;
}

/* --- names ------------------------------------------------------------------------------------------------------- */

static expression *parse_method(struct cursor *c, const char *name)
{
    expression *e = node(EXPRESSION_METHOD);
    if (!parse_variable(c->parser, name, &e->variable))
        die("unknown variable %s", name);
    e->method = take_name(c);
    if (take(c, '(')) {
        e->kind = EXPRESSION_CALL_METHOD;
        parse_arguments(c, e, ')');
    }
    return e;
}

static expression *variable_or_call(struct cursor *c, const variable *v, bool called)
{
    expression *e = node(called ? EXPRESSION_CALL_VARIABLE : EXPRESSION_VARIABLE);
    e->variable = *v;
    if (called)
        parse_arguments(c, e, ')');
    return e;
}

static expression *function_or_call(struct cursor *c, const definition *f, bool called)
{
    if (!called) {
        if (!f->self)
            die("%s must be called", f->name);
        return constant(f->self);
    }
    if (f->kind == FUNCTION_THREAD)
        die("thread %s cannot be called", f->name);
    expression *e = node(EXPRESSION_CALL_FUNCTION);
    e->function = f;
    parse_arguments(c, e, ')');
    if (only_positional(e) && e->n != f->parameters)
        die("%s takes %zu arguments", f->name, f->parameters);
    return e;
}

/* A kind that is not called is its name, for isexc. */
static expression *kind_or_error(struct cursor *c, const error_kind *kind, const char *name, bool called)
{
    if (!called)
        return constant(value_string(name, strlen(name)));
    if (!error_kind_constructible(kind))
        die("%s cannot be constructed", name);
    expression *e = node(EXPRESSION_ERROR);
    e->error = kind;
    parse_arguments(c, e, ')');
    return e;
}

static expression *builtin_or_call(struct cursor *c, const native *builtin, bool called)
{
    if (!called)
        return constant(value_call(VALUE_METHOD, NULL, NULL, builtin, NULL));
    expression *e = node(EXPRESSION_CALL_NATIVE);
    e->native = builtin;
    parse_arguments(c, e, ')');
    return e;
}

static bool one_of(const char *name, const char *const *names)
{
    while (*names && strcmp(*names, name) != 0)
        names++;
    return *names != NULL;
}

static expression *parse_other_name(struct cursor *c, const char *name, bool called)
{
    static const char *const constants[] = {"ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", NULL};
    const definition *function = parse_function(c->parser, name);
    const error_kind *kind = error_kind_find(name, strlen(name));
    const native *job = native_find(jobs, name), *builtin = builtin_find(name);
    if (function)
        return function_or_call(c, function, called);
    if (kind)
        return kind_or_error(c, kind, name, called);
    if (job)
        return constant(value_call(VALUE_JOB, NULL, NULL, job, NULL));
    if (one_of(name, constants))
        return constant(value_string(name, strlen(name)));
    if (!builtin)
        die("unknown name %s", name);
    return builtin_or_call(c, builtin, called);
}

static expression *parse_name(struct cursor *c)
{
    variable v;
    const char *name = take_name(c);
    if (take(c, '.'))
        return parse_method(c, name);
    bool called = take(c, '(');
    if (!called && strcmp(name, "None") == 0)
        return constant(&value_none);
    if (!called && strcmp(name, "True") == 0)
        return constant(&value_true);
    if (!called && strcmp(name, "False") == 0)
        return constant(&value_false);
    if (parse_variable(c->parser, name, &v))
        return variable_or_call(c, &v, called);
    return parse_other_name(c, name, called);
}

static expression *parse(struct cursor *c)
{
    if (isdigit((unsigned char)c->at[0]) || (c->at[0] == '-' && isdigit((unsigned char)c->at[1])))
        return parse_int(c);
    if (take(c, '\''))
        return parse_string(c);
    if (take(c, '[')) {
        expression *e = node(EXPRESSION_LIST);
        parse_arguments(c, e, ']');
        return e;
    }
    return parse_name(c);
}

expression *parse_expression(const struct parser *parser, const char *word)
{
    struct cursor c = {parser, word, word};
    expression *e = parse(&c);
    if (*c.at)
        die("junk after the expression in %s", word);
    return e;
}
