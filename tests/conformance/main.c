/*
 * main.c - coil-scenario FILE: runs a scenario of the conformance kit on coil and prints its trace
 *
 * Exit status: 0 the trace is complete (DEADLOCK and STEP-LIMIT included), 2 the scenario is malformed; the reason goes
 * to stderr. Uses coil through <coil.h> alone.
 */
#include <stdio.h>
#include <stdlib.h>

#include "eval.h"
#include "format.h"
#include "program.h"
#include "world.h"

static void log_result(const char *what, const value *v)
{
    struct text text = {0};
    text_printf(&text, "%s ", what);
    format_value(&text, v);
    world_log(text.bytes);
    free(text.bytes);
}

static void run_driver(const definition *driver)
{
    arguments none = {0};
    value *out;
    int rc = call_function(driver, &none, &out);
    if (rc < 0)
        log_result("driver raised", value_error(coil_catch(rc)));
}

static void run_main(const definition *function)
{
    void *result = NULL;
    value *coro = value_call(VALUE_CORO, NULL, function, NULL, NULL);
    int rc = coil_loop_run_until_complete(world_loop(), value_coro(coro), &result);
    if (rc < 0)
        log_result("main raised", value_error(coil_catch(rc)));
    else
        log_result("main returned", value_unpack(result));
}

static void run_program(const struct program *program)
{
    frame initial = {0};
    char end[48];
    if (exec_body(&initial, program->initial) < 0)
        die("a global assignment raised");
    if (program->driver)
        run_driver(program->driver);
    else
        run_main(program->main);
    world_drop_all();
    snprintf(end, sizeof end, "end pending=%zu", world_pending());
    world_log(end);
}

int main(int argc, char **argv)
{
    struct program program = {0};
    if (argc != 2) {
        fprintf(stderr, "usage: %s FILE\n", argv[0]);
        return 2;
    }
    world_path = argv[1];
    world_init();
    program_read(argv[1], &program);
    eval_globals = program.globals;
    world_new_loop();
    run_program(&program);
    world_finish();
}
