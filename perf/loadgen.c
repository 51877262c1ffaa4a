/*
 * loadgen.c - the program coil-loadgen: W9's client, a closed loop over many connections; W11's, an open one (--rate)
 *
 * Plain C on epoll, one thread, nothing of coil's. Every byte that comes back is compared. Here are the arguments and
 * the lines of results; load.h is what does it, and what coil-bench calls as well.
 *
 * Exit status: 0; 1 after a wrong byte, a lost connection, 5 s without any answer, or a connection that got none
 * during the whole measurement; 2 for bad arguments.
 */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct program {
    load_options load;
    const char *contender; /* first word of each line of results */
    const char *name;      /* of the workload; NULL: W9.echo1_<connections>c, or W11.stall */
    bool lines;            /* results for programs, not for people */
} program;

/* --- results ------------------------------------------------------------------------------------------------- */

static void print_figure(const program *p, const char *name, const load_figure *f)
{
    char whole[128];
    snprintf(whole, sizeof whole, "%s%s", name, f->suffix);
    printf(p->lines ? "%s %s %.*f %s\n" : "%-10s %-28s %12.*f %s\n", p->contender, whole, f->value < 1000 ? 2 : 0,
           f->value, f->unit);
}

static int run(const program *p)
{
    char name[64];
    load_result result;
    if (p->name || p->load.rate > 0)
        snprintf(name, sizeof name, "%s", p->name ? p->name : "W11.stall");
    else
        snprintf(name, sizeof name, "W9.echo1_%" PRIu64 "c", p->load.connections);
    load_raise_descriptor_limit();
    int rc = load_run(&p->load, &result);
    for (size_t i = 0; i < result.count; i++)
        print_figure(p, name, &result.figures[i]);
    return rc < 0 ? 1 : 0;
}

/* --- arguments ----------------------------------------------------------------------------------------------- */

static int usage(FILE *out)
{
    fprintf(out,
            "usage: coil-loadgen --port N [option value ...]\n"
            "  --host ADDRESS       IPv4 address (127.0.0.1)\n"
            "  --connections N      (64)\n"
            "  --bytes N            of a message (64); from 4096 on bandwidth is printed as well\n"
            "  --seconds S          measured, after 0.3 s of warm-up (0.8)\n"
            "  --server-pid PID     whose processor time is measured\n"
            "  --wait sleep|spin    for answers; spin has a core for itself, and does not have to be woken (sleep)\n"
            "  --format table|lines for people, or one 'coil W9.echo1_64c 100000 req/s' a line (table)\n"
            "  --contender WORD     first word of the results (coil)\n"
            "  --name NAME          of the workload (W9.echo1_<connections>c, W11.stall)\n"
            "an open loop (W11), for servers that run with --stall:\n"
            "  --rate R             messages a second, at Poisson times, over all connections\n"
            "  --stalls S           of them, how many a second ask the server to compute (0)\n"
            "  --stall-us US        for how long (1000)\n");
    return out == stdout ? 0 : 2;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *number)
{
    char *end;
    unsigned long long parsed = strtoull(text, &end, 10);
    if (end == text || *end != '\0' || text[0] == '-' || parsed == 0 || parsed > max)
        return false;
    *number = parsed;
    return true;
}

static bool parse_seconds(const char *text, double *seconds)
{
    char *end;
    *seconds = strtod(text, &end);
    return end != text && *end == '\0' && *seconds > 0 && *seconds < 1e6;
}

static bool parse_text(const char *name, const char *value, program *p)
{
    if (strcmp(name, "--host") == 0) {
        p->load.host = value;
    } else if (strcmp(name, "--contender") == 0) {
        p->contender = value;
    } else if (strcmp(name, "--name") == 0) {
        p->name = value;
    } else if (strcmp(name, "--wait") == 0) {
        p->load.spins = strcmp(value, "spin") == 0;
        return p->load.spins || strcmp(value, "sleep") == 0;
    } else if (strcmp(name, "--format") == 0) {
        p->lines = strcmp(value, "lines") == 0;
        return p->lines || strcmp(value, "table") == 0;
    } else {
        return false;
    }
    return true;
}

static bool parse_option(const char *name, const char *value, program *p)
{
    load_options *o = &p->load;
    const struct {
        const char *name;
        uint64_t max, *number;
    } numbers[] = {
        {"--port", 65535, &o->port},
        {"--connections", 1000000, &o->connections},
        {"--bytes", 1 << 30, &o->bytes},
        {"--server-pid", INT32_MAX, &o->server_pid},
        {"--rate", 100000000, &o->rate},
        {"--stalls", 100000000, &o->stalls},
        {"--stall-us", 1000000, &o->stall_us},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strcmp(name, numbers[i].name) == 0)
            return parse_number(value, numbers[i].max, numbers[i].number);
    }
    if (strcmp(name, "--seconds") == 0)
        return parse_seconds(value, &o->seconds);
    return parse_text(name, value, p);
}

int main(int argc, char **argv)
{
    program p = {.load = {.host = "127.0.0.1", .connections = 64, .bytes = 64, .stall_us = 1000, .seconds = 0.8},
                 .contender = "coil"};
    const load_options *o = &p.load;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return usage(stdout);
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc || !parse_option(argv[i], argv[i + 1], &p))
            return usage(stderr);
    }
    if (o->port == 0 || o->stalls > o->rate || (o->rate > 0 && o->bytes < sizeof(uint32_t)))
        return usage(stderr);
    return run(&p);
}
