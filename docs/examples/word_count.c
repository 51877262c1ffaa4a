/* Counts the words in the files of a directory, on all processors: a task for each file, shared by the workers of a runtime. */
#define _GNU_SOURCE /* asprintf */
#include <coil.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

typedef struct text {
    size_t length;
    char bytes[];
} text;

/* Blocking, so it runs on a thread of the executor: the contents of a file; nothing of what is no regular file. */
static int read_file(void *path, void **result)
{
    struct stat status;
    FILE *file = fopen(path, "rb");
    if (!file || fstat(fileno(file), &status) < 0) {
        int rc = coil_raise(-errno, "%s: %s", (char *)path, strerror(errno));
        if (file)
            fclose(file);
        return rc;
    }
    size_t size = S_ISREG(status.st_mode) ? (size_t)status.st_size : 0;
    text *t = malloc(sizeof *t + size);
    if (t) {
        t->length = fread(t->bytes, 1, size, file);
        coil_job_set_result_drop(free);
        *result = t;
    }
    fclose(file);
    return t ? 0 : coil_raise(-ENOMEM, NULL);
}

static size_t count_words(const text *t)
{
    size_t words = 0;
    bool inside = false;
    for (size_t i = 0; i < t->length; i++) {
        bool space = isspace((unsigned char)t->bytes[i]);
        words += !space && !inside;
        inside = !space;
    }
    return words;
}

typedef struct entry {
    char *path;
    size_t words;
} entry;

typedef struct listing {
    size_t count;
    entry entries[];
} listing;

/* A task. Which worker it runs on after coil_to_thread() is for the runtime to say. */
static int count_file(void *arg, void **result)
{
    entry *e = arg;
    void *t;
    (void)result;
    COIL_TRY(coil_to_thread(read_file, e->path, &t));
    e->words = count_words(t);
    free(t);
    return 0;
}

static void free_listing(void *arg)
{
    listing *l = arg;
    for (size_t i = 0; i < l->count; i++)
        free(l->entries[i].path);
    free(l);
}

/* Blocking, too. */
static int list_files(void *directory, void **result)
{
    struct dirent **names;
    int n = scandir(directory, &names, NULL, alphasort);
    if (n < 0)
        return coil_raise(-errno, "%s: %s", (char *)directory, strerror(errno));
    listing *l = calloc(1, sizeof *l + (size_t)n * sizeof(entry));
    for (int i = 0; i < n; i++) {
        if (l && names[i]->d_name[0] != '.' &&
            asprintf(&l->entries[l->count].path, "%s/%s", (char *)directory, names[i]->d_name) >= 0)
            l->count++;
        free(names[i]);
    }
    free(names);
    coil_job_set_result_drop(free_listing);
    *result = l;
    return l ? 0 : coil_raise(-ENOMEM, NULL);
}

static int start_all(coil_group *group, void *arg)
{
    listing *l = arg;
    for (size_t i = 0; i < l->count; i++)
        COIL_TRY(coil_group_create_task(group, coil_coro_of(count_file, &l->entries[i]), NULL, NULL));
    return 0;
}

/* When the group has ended so have all its tasks; the first to fail cancels the others. */
static int count_directory(void *directory, void **result)
{
    void *listed;
    size_t words = 0;
    (void)result;
    COIL_TRY(coil_to_thread(list_files, directory, &listed));
    listing *l = listed;
    int rc = coil_group_run(start_all, l);
    for (size_t i = 0; i < l->count; i++)
        words += l->entries[i].words;
    if (rc == 0)
        printf("%zu files, %zu words\n", l->count, words);
    free_listing(l);
    return rc;
}

int main(int argc, char **argv)
{
    char message[256];
    coil_coro coro = coil_coro_of(count_directory, argc > 1 ? argv[1] : ".");
    coil_error *e = coil_catch(coil_runtime_run(NULL, coro, NULL));
    if (!e)
        return 0;
    coil_error_format(e, message, sizeof message);
    fprintf(stderr, "%s: %s\n", argv[0], message);
    coil_error_release(e);
    return 1;
}
