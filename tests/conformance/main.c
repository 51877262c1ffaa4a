/*
 * main.c - coil-scenario [OPTION]... FILE: runs a scenario of the conformance kit on coil and prints its trace
 *
 *   --workers N   on a runtime of N workers
 *   --exact       on a runtime of one worker that keeps asyncio's order
 *   --repeat N    N times, each in a process of its own with SECONDS_MAX to live; a line "=" ends each trace.
 *                 Every other time the threads dawdle.
 *
 * Without the first two $COIL_SCENARIO_WORKERS may be N or "exact". Exit status: 0 the trace is complete (DEADLOCK
 * and STEP-LIMIT included), 1 a repetition failed, 2 the scenario is malformed; the reason goes to stderr. Uses coil
 * through <coil.h> alone.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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
    int rc = world_run_main(value_coro(coro), &result);
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

static _Noreturn void run_once(const struct program *program)
{
    world_init();
    eval_globals = program->globals;
    world_new_loop();
    run_program(program);
    world_finish();
}

/* --- repeating --------------------------------------------------------------------------------------------------- */

#define SECONDS_MAX 20

/* False, and a line on stderr, if the process did not end well. */
static bool ended_well(pid_t pid, unsigned repetition)
{
    int status = 0;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "%s: repetition %u ", world_path, repetition);
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        fprintf(stderr, "hung for %d seconds\n", SECONDS_MAX);
    else if (WIFSIGNALED(status))
        fprintf(stderr, "was killed: %s\n", strsignal(WTERMSIG(status)));
    else
        fprintf(stderr, "ended with status %d\n", WEXITSTATUS(status));
    return false;
}

/* Lines are written at once, so that those of a process that hangs are seen. Ends at the first failure. */
static int repeat(const struct program *program, unsigned times)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (unsigned i = 1; i <= times; i++) {
        pid_t pid = fork();
        if (pid < 0) {
            perror("fork");
            return 2;
        }
        if (pid == 0) {
            alarm(SECONDS_MAX);
            world_dawdles = i % 2 == 0;
            run_once(program);
        }
        if (!ended_well(pid, i))
            return 1;
        puts("=");
    }
    return 0;
}

/* --- options ----------------------------------------------------------------------------------------------------- */

static unsigned number_of(const char *word)
{
    char *end = NULL;
    unsigned long n = word ? strtoul(word, &end, 10) : 0;
    if (n == 0 || n > 100000 || *end) {
        fprintf(stderr, "not a number: %s\n", word ? word : "nothing");
        exit(2);
    }
    return (unsigned)n;
}

static void set_workers(const char *word)
{
    world_exact = word && strcmp(word, "exact") == 0;
    world_workers = world_exact ? 0 : number_of(word);
}

/* Returns the arguments after the options. */
static char **parse_options(char **argv, unsigned *times)
{
    const char *workers = getenv("COIL_SCENARIO_WORKERS");
    if (workers && *workers)
        set_workers(workers);
    for (; *argv && strncmp(*argv, "--", 2) == 0; argv++) {
        if (strcmp(*argv, "--exact") == 0)
            set_workers("exact");
        else if (strcmp(*argv, "--workers") == 0 && argv[1])
            set_workers(*++argv);
        else if (strcmp(*argv, "--repeat") == 0 && argv[1])
            *times = number_of(*++argv);
        else
            break;
    }
    return argv;
}

int main(int argc, char **argv)
{
    struct program program = {0};
    unsigned times = 0;
    char **rest = parse_options(argv + 1, &times);
    if (argv + argc - rest != 1) {
        fprintf(stderr, "usage: %s [--workers N | --exact] [--repeat N] FILE\n", argv[0]);
        return 2;
    }
    world_path = rest[0];
    program_read(rest[0], &program);
    if (times > 0)
        return repeat(&program, times);
    run_once(&program);
}
