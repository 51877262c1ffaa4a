/*
 * origin.c - names for addresses in code: which function, in which file and line
 *
 * Asked for only when a test has failed: addr2line (binutils) reads the debugging information; without either what is
 * left is the module and the offset in it, which addr2line takes later.
 * Source: backtrace(3), dladdr(3), addr2line(1).
 */
#define _GNU_SOURCE /* dladdr */
#include "testing.h"

#include <dlfcn.h>
#include <elf.h>
#include <execinfo.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATH_BYTES = 512 };

typedef struct place {
    char function[128];
    char file[PATH_BYTES]; /* with ":line"; "" if it is not known */
    char module[PATH_BYTES];
    unsigned long offset; /* in the module */
} place;

void coil__origin_take(coil__origin *origin)
{
    origin->count = backtrace(origin->frames, COIL__ORIGIN_FRAMES);
}

/* What addr2line counts from: the start of a module that can lie anywhere, else 0. */
static unsigned long base_of(const Dl_info *info)
{
    const unsigned char *ident = info->dli_fbase;
    unsigned short type;
    memcpy(&type, ident + EI_NIDENT, sizeof type);
    return type == ET_DYN ? (unsigned long)info->dli_fbase : 0;
}

static void cut_newline(char *line)
{
    line[strcspn(line, "\n")] = '\0';
}

/* The answer to one address: two lines. False at the end of the answers. */
static bool take_answer(FILE *answer, place *p)
{
    char function[sizeof p->function] = "", file[sizeof p->file] = "";
    if (!fgets(function, sizeof function, answer) || !fgets(file, sizeof file, answer))
        return false;
    cut_newline(function);
    cut_newline(file);
    file[strcspn(file, " ")] = '\0'; /* "(discriminator 2)" */
    if (function[0] != '?')
        strcpy(p->function, function);
    if (file[0] != '?')
        strcpy(p->file, file);
    return true;
}

/* Of @n places those in @module, with one call of the program: reading the debugging information is what takes time. */
static void ask_addr2line(const char *module, place *places, int n)
{
    coil__text command = {.length = 0};
    if (!*module || strchr(module, '\''))
        return;
    coil__text_add(&command, "exec addr2line -f -e '%s'", module);
    for (int i = 0; i < n; i++)
        if (strcmp(places[i].module, module) == 0)
            coil__text_add(&command, " 0x%lx", places[i].offset);
    coil__text_add(&command, " 2>/dev/null");
    FILE *answer = popen(command.bytes, "re");
    if (!answer)
        return;
    bool more = true;
    for (int i = 0; i < n && more; i++)
        if (strcmp(places[i].module, module) == 0)
            more = take_answer(answer, &places[i]);
    pclose(answer);
}

static void name_program(char module[PATH_BYTES])
{
    ssize_t n = readlink("/proc/self/exe", module, PATH_BYTES - 1);
    module[n > 0 ? n : 0] = '\0';
}

/* What the loader knows. */
static void find(const void *address, place *p)
{
    Dl_info info;
    *p = (place){.offset = (unsigned long)address};
    if (!dladdr(address, &info) || !info.dli_fbase)
        return;
    snprintf(p->module, sizeof p->module, "%s", info.dli_fname);
    if (p->module[0] != '/') /* the program, as it was called: from another directory, perhaps, or through $PATH */
        name_program(p->module);
    p->offset = (unsigned long)address - base_of(&info);
    if (info.dli_sname)
        snprintf(p->function, sizeof p->function, "%s", info.dli_sname);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static void describe(const place *p, char *buf, size_t size)
{
    if (p->file[0])
        snprintf(buf, size, "%s at %s", p->function, last_part(p->file));
    else if (p->function[0])
        snprintf(buf, size, "%s in %s", p->function, last_part(p->module));
    else
        snprintf(buf, size, "%s+0x%lx", *p->module ? last_part(p->module) : "?", p->offset);
}

void coil__address_describe(const void *address, char *buf, size_t size)
{
    place p;
    find(address, &p);
    ask_addr2line(p.module, &p, 1);
    describe(&p, buf, size);
}

/* Of the library's source "ROOT/src/task.c" leaves "ROOT/"; of nothing nothing. */
static void cut_to_root(char *file)
{
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(file, '/');
        if (slash)
            slash[i == 1] = '\0';
    }
}

/*
 * Whether @p is in the library. Linked as a shared one that is a module of its own; else its sources' directories
 * tell, or its functions' names.
 */
static bool is_of_library(const place *p, const place *library, bool shared)
{
    size_t n = strlen(library->file);
    if (shared)
        return strcmp(p->module, library->module) == 0;
    if (strncmp(p->function, "coil_", 5) == 0)
        return true;
    if (n == 0 || strncmp(p->file, library->file, n) != 0)
        return false;
    const char *rest = p->file + n;
    return strncmp(rest, "src/", 4) == 0 || strncmp(rest, "io/", 3) == 0 || strncmp(rest, "sched/", 6) == 0;
}

/* The innermost frame that is neither the kit's, which comes first, nor the library's, which is next. */
void coil__origin_describe(const coil__origin *origin, char *buf, size_t size)
{
    place places[COIL__ORIGIN_FRAMES + 1], kit;
    place *library = &places[origin->count];
    find((const void *)coil__origin_take, &kit);
    for (int i = 0; i < origin->count; i++)
        find((const char *)origin->frames[i] - 1, &places[i]); /* the call, not where it returns to */
    find((const void *)coil_create_task, library);
    ask_addr2line(kit.module, places, origin->count + 1);
    bool shared = strcmp(library->module, kit.module) != 0, outside = false;
    cut_to_root(library->file);
    buf[0] = '\0';
    for (int i = 0; i < origin->count; i++) {
        bool of_library = is_of_library(&places[i], library, shared);
        if (outside && !of_library) {
            describe(&places[i], buf, size);
            return;
        }
        outside |= of_library && strncmp(places[i].function, "coil__origin", 12) != 0;
    }
}
