/*
 * exec.c - statements
 *
 * exec_* return a code < 0 for what was raised, else how the statement was left (FLOW_...). Source: the section
 * "Statements" of the scenario language; try, finally and else are Python's.
 */
#include <stdlib.h>

#include "eval.h"
#include "format.h"
#include "world.h"

static int exec_value(frame *f, const statement *s, value **out)
{
    value *v;
    COIL_TRY(eval(f, s->expression, &v));
    if (s->prefix == PREFIX_AWAIT)
        return await_value(v, out);
    if (s->prefix == PREFIX_YIELD)
        return agen_yield(f, v, out);
    *out = v;
    return 0;
}

/* --- simple statements ------------------------------------------------------------------------------------------- */

static int exec_assign(frame *f, const statement *s)
{
    value *v;
    COIL_TRY(exec_value(f, s, &v));
    if (s->n == 1) {
        eval_assign(f, &s->targets[0], v);
        return FLOW_NORMAL;
    }
    if (v->type != VALUE_LIST || v->as.list.n != s->n)
        die("cannot unpack into %zu names", s->n);
    for (size_t i = 0; i < s->n; i++)
        eval_assign(f, &s->targets[i], v->as.list.items[i]);
    return FLOW_NORMAL;
}

static int exec_log(frame *f, const statement *s)
{
    value **items = keep(s->n * sizeof *items);
    struct text text = {0};
    for (size_t i = 0; i < s->n; i++)
        COIL_TRY(eval(f, s->items[i], &items[i]));
    text_append(&text, "", 0);
    for (size_t i = 0; i < s->n; i++) {
        if (i)
            text_append(&text, " ", 1);
        format_item(&text, items[i]);
    }
    world_log(text.bytes);
    free(text.bytes);
    return FLOW_NORMAL;
}

static void log_value(const char *source, const char *verb, const value *v)
{
    struct text text = {0};
    text_printf(&text, "%s %s ", source, verb);
    format_value(&text, v);
    world_log(text.bytes);
    free(text.bytes);
}

static int exec_show(frame *f, const statement *s)
{
    value *v;
    int rc = exec_value(f, s, &v);
    if (rc >= 0)
        log_value(s->source, "=", v);
    else if (s->kind == STATEMENT_PROBE && !world_abandoned(rc))
        log_value(s->source, "raises", value_error(coil_catch(rc)));
    else
        return rc;
    return FLOW_NORMAL;
}

static int exec_return(frame *f, const statement *s)
{
    value *v = &value_none;
    if (s->expression)
        COIL_TRY(exec_value(f, s, &v));
    f->returned = v;
    return FLOW_RETURN;
}

static int exec_raise(frame *f, const statement *s)
{
    value *v;
    if (s->expression) {
        COIL_TRY(eval(f, s->expression, &v));
        return error_raise(v);
    }
    if (!f->handled)
        return coil_raise(COIL_ERUNTIME, "No active exception to reraise");
    return coil_raise_error(coil_error_retain(f->handled));
}

/* --- branches and loops ------------------------------------------------------------------------------------------ */

static int exec_if(frame *f, const statement *s)
{
    value *v;
    COIL_TRY(eval(f, s->expression, &v));
    return exec_body(f, value_truth(v) ? s->body : s->orelse);
}

/* One turn of a loop: false if the loop is over, with its flow. */
static bool turn(frame *f, const statement *s, int *flow)
{
    *flow = exec_body(f, s->body);
    if (*flow == FLOW_NORMAL || *flow == FLOW_CONTINUE) {
        *flow = FLOW_NORMAL;
        return true;
    }
    if (*flow == FLOW_BREAK)
        *flow = FLOW_NORMAL;
    return false;
}

static int exec_while(frame *f, const statement *s)
{
    int flow;
    do {
        value *v;
        world_check_limit();
        COIL_TRY(eval(f, s->expression, &v));
        if (!value_truth(v))
            return FLOW_NORMAL;
    } while (turn(f, s, &flow));
    return flow;
}

static int exec_repeat(frame *f, const statement *s)
{
    value *v;
    int flow = FLOW_NORMAL;
    COIL_TRY(eval(f, s->expression, &v));
    if (!value_is_int(v))
        die("repeat needs a number");
    for (int64_t i = 0; i < v->as.number; i++) {
        if (s->n)
            eval_assign(f, &s->targets[0], value_int(i));
        if (!turn(f, s, &flow))
            break;
    }
    return flow;
}

static int exec_for_list(frame *f, const statement *s, const value *list)
{
    int flow = FLOW_NORMAL;
    for (size_t i = 0; i < list->as.list.n; i++) {
        eval_assign(f, &s->targets[0], list->as.list.items[i]);
        if (!turn(f, s, &flow))
            break;
    }
    return flow;
}

static int exec_for(frame *f, const statement *s)
{
    value *v, *item;
    int flow = FLOW_NORMAL;
    COIL_TRY(eval(f, s->expression, &v));
    if (v->type == VALUE_LIST)
        return exec_for_list(f, s, v);
    if (v->type != VALUE_ITERATOR)
        die("for needs a list or as_completed");
    for (;;) {
        COIL_TRY(iterator_next(v, &item));
        if (!item)
            return FLOW_NORMAL;
        eval_assign(f, &s->targets[0], item);
        if (!turn(f, s, &flow))
            return flow;
    }
}

static int exec_async_for(frame *f, const statement *s)
{
    value *v, *item;
    int flow;
    COIL_TRY(eval(f, s->expression, &v));
    if (v->type != VALUE_AGEN)
        die("async for needs an asynchronous generator");
    do {
        world_check_limit();
        COIL_TRY(agen_iterate(v, &item));
        if (!item)
            return FLOW_NORMAL;
        eval_assign(f, &s->targets[0], item);
    } while (turn(f, s, &flow));
    return flow;
}

/* --- try --------------------------------------------------------------------------------------------------------- */

static const struct except_part *find_except(const statement *s, const coil_error *error)
{
    for (const struct except_part *part = s->excepts; part; part = part->next) {
        if (part->n == 0)
            return part;
        for (size_t i = 0; i < part->n; i++)
            if (error_is(error, part->kinds[i]))
                return part;
    }
    return NULL;
}

static int exec_except(frame *f, const statement *s, int rc)
{
    value *error = value_error(coil_catch(rc));
    const struct except_part *part = find_except(s, error->as.error);
    if (!part)
        return error_raise(error);
    coil_error *saved = f->handled;
    f->handled = error->as.error;
    if (part->variable.name)
        eval_assign(f, &part->variable, error);
    int flow = exec_body(f, part->body);
    f->handled = saved;
    return flow;
}

/* A finally part is left normally, or by raising; then what it raises replaces what happened before. */
static int exec_finally(frame *f, const statement *s, int before)
{
    coil_error *saved = f->handled;
    value *error = NULL;
    if (before < 0) {
        error = value_error(coil_catch(before));
        f->handled = error->as.error;
    }
    int flow = exec_body(f, s->finally);
    f->handled = saved;
    if (flow < 0)
        return flow;
    return error ? error_raise(error) : before;
}

static int exec_try(frame *f, const statement *s)
{
    int flow = exec_body(f, s->body);
    if (world_abandoned(flow))
        return flow;
    if (flow < 0 && s->excepts)
        flow = exec_except(f, s, flow);
    else if (flow == FLOW_NORMAL)
        flow = exec_body(f, s->orelse);
    return s->finally ? exec_finally(f, s, flow) : flow;
}

/* --- all of them ------------------------------------------------------------------------------------------------- */

static int exec_statement(frame *f, const statement *s)
{
    value *v;
    switch (s->kind) {
    case STATEMENT_EXPRESSION:
        return exec_value(f, s, &v);
    case STATEMENT_ASSIGN:
        return exec_assign(f, s);
    case STATEMENT_LOG:
        return exec_log(f, s);
    case STATEMENT_SHOW:
    case STATEMENT_PROBE:
        return exec_show(f, s);
    case STATEMENT_RETURN:
        return exec_return(f, s);
    case STATEMENT_RAISE:
        return exec_raise(f, s);
    case STATEMENT_PASS:
        return FLOW_NORMAL;
    case STATEMENT_BREAK:
        return FLOW_BREAK;
    case STATEMENT_CONTINUE:
        return FLOW_CONTINUE;
    case STATEMENT_IF:
        return exec_if(f, s);
    case STATEMENT_WHILE:
        return exec_while(f, s);
    case STATEMENT_REPEAT:
        return exec_repeat(f, s);
    case STATEMENT_FOR:
        return exec_for(f, s);
    case STATEMENT_ASYNC_FOR:
        return exec_async_for(f, s);
    case STATEMENT_WITH:
        return exec_with(f, s);
    case STATEMENT_TRY:
        return exec_try(f, s);
    }
    die("no such statement");
}

int exec_body(frame *f, const statement *body)
{
    int flow = FLOW_NORMAL;
    for (const statement *s = body; s && flow == FLOW_NORMAL; s = s->next) {
        world_at_line(s->line);
        world_check_limit();
        flow = exec_statement(f, s);
    }
    return flow;
}
