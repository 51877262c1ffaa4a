/*
 * program.h - a scenario as a tree, made by parse.c and expression.c, walked by exec.c and eval.c
 *
 * Names are resolved when it is parsed: a variable is a slot of the invocation's locals or of the globals.
 */
#ifndef SCENARIO_PROGRAM_H
#define SCENARIO_PROGRAM_H

#include "errors.h"
#include "value.h"

/* --- expressions ------------------------------------------------------------------------------------------------- */

typedef struct expression expression;

typedef struct variable {
    const char *name;
    size_t slot;
    bool global;
} variable;

struct argument_source {
    const char *keyword; /* NULL: positional */
    bool splat;
    expression *value;
};

enum expression_kind {
    EXPRESSION_CONSTANT,
    EXPRESSION_LIST,
    EXPRESSION_VARIABLE,
    EXPRESSION_METHOD,        /* variable.method */
    EXPRESSION_CALL_METHOD,   /* variable.method(args) */
    EXPRESSION_CALL_VARIABLE, /* variable(args) */
    EXPRESSION_CALL_FUNCTION,
    EXPRESSION_CALL_NATIVE,
    EXPRESSION_ERROR, /* KIND(args) */
};

struct expression {
    enum expression_kind kind;
    value *constant;
    variable variable;
    const char *method;
    const definition *function;
    const native *native;
    const error_kind *error;
    struct argument_source *args;
    size_t n;
};

/* --- statements -------------------------------------------------------------------------------------------------- */

enum statement_kind {
    STATEMENT_EXPRESSION,
    STATEMENT_ASSIGN,
    STATEMENT_LOG,
    STATEMENT_SHOW,
    STATEMENT_PROBE,
    STATEMENT_RETURN,
    STATEMENT_RAISE,
    STATEMENT_PASS,
    STATEMENT_BREAK,
    STATEMENT_CONTINUE,
    STATEMENT_IF,
    STATEMENT_WHILE,
    STATEMENT_REPEAT,
    STATEMENT_FOR,
    STATEMENT_ASYNC_FOR,
    STATEMENT_WITH,
    STATEMENT_TRY,
};

typedef struct statement statement;

/* What stands before a statement's expression. */
enum prefix { PREFIX_NONE, PREFIX_AWAIT, PREFIX_YIELD };

struct except_part {
    struct except_part *next;
    const error_kind **kinds;
    size_t n; /* 0: catches everything */
    variable variable; /* name NULL: not bound */
    statement *body;
};

struct statement {
    statement *next;
    enum statement_kind kind;
    size_t line;
    enum prefix prefix;
    expression *expression; /* NULL: a return or raise without one */
    const char *source;     /* SHOW, PROBE: the words */
    expression **items;     /* LOG */
    variable *targets;      /* ASSIGN; REPEAT, the FORs, WITH have at most one */
    size_t n;               /* of items or targets */
    statement *body, *orelse, *finally;
    struct except_part *excepts;
};

/* --- definitions ------------------------------------------------------------------------------------------------- */

enum function_kind { FUNCTION_CORO, FUNCTION_DEF, FUNCTION_AGEN, FUNCTION_THREAD, FUNCTION_DRIVER };

struct definition {
    definition *next;
    enum function_kind kind;
    const char *name;
    size_t parameters;
    const char **names; /* of the locals, parameters first */
    size_t names_n;
    statement *body;
    value *self; /* DEF, THREAD: as a value; there is one per definition, for remove_done_callback */
};

struct program {
    definition *functions;
    definition *driver;   /* NULL without one */
    definition *main;     /* a coro without parameters, or NULL */
    statement *initial; /* the global assignments */
    size_t globals_n;
    _Atomic(value *) *globals;
};

/* Reads a scenario. A malformed one ends the program. */
void program_read(const char *path, struct program *program);

#endif
