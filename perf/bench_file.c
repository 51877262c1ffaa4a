/*
 * bench_file.c - W12: random reads of 4 KiB from a file, with 1, 16 and 128 under way
 *
 * W12.file.direct (O_DIRECT, left out where the file system has none) and W12.file.cached (all of it read once before):
 * reads a second. As many tasks as reads are to be under way draw block numbers and read. The file is --file PATH, or a
 * new one of 1 GiB in TMPDIR (/var/tmp), which is removed; perf/run.sh lets fio read the same one.
 */
#define _GNU_SOURCE /* O_DIRECT */
#include "bench.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES 4096
#define FILE_BYTES ((int64_t)1 << 30)
#define PIECE_BYTES ((size_t)1 << 20)
#define DEPTH_MAX 128

typedef struct reads {
    const char *path;
    int flags; /* O_DIRECT or 0 */
    unsigned depth;
    uint64_t count;  /* reads of a round */
    uint64_t blocks; /* of the file */
    uint64_t random;
    coil_file *file;
    char *memory; /* a block for each task; aligned */
} reads;

typedef struct reader {
    reads *all;
    char *block;
    uint64_t random, count;
} reader;

/* --- the file ------------------------------------------------------------------------------------------------ */

static int fill(int fd)
{
    uint64_t random = 1;
    uint64_t *piece = malloc(PIECE_BYTES);
    int rc = piece ? 0 : -ENOMEM;
    for (int64_t at = 0; at < FILE_BYTES && rc == 0; at += (int64_t)PIECE_BYTES) {
        for (size_t i = 0; i < PIECE_BYTES / sizeof *piece; i++)
            piece[i] = bench_random(&random);
        ssize_t n = write(fd, piece, PIECE_BYTES);
        rc = n < 0 ? -errno : (size_t)n < PIECE_BYTES ? -ENOSPC : 0;
    }
    free(piece);
    if (rc == 0 && fsync(fd) < 0)
        rc = -errno;
    return rc;
}

/* The new file's path is put into @path; it is to be removed. */
static int make_file(char *path, size_t cap)
{
    const char *directory = getenv("TMPDIR");
    snprintf(path, cap, "%s/coil-bench-XXXXXX", directory ? directory : "/var/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return coil_raise(-errno, "%s", path);
    fprintf(stderr, "# W12: writing %s\n", path);
    int rc = fill(fd);
    close(fd);
    if (rc == 0)
        return 0;
    unlink(path);
    return coil_raise(rc, "cannot write %s", path);
}

/* --- reading ------------------------------------------------------------------------------------------------- */

static int read_blocks(void *arg, void **result)
{
    (void)result;
    reader *r = arg;
    for (uint64_t i = 0; i < r->count; i++) {
        int64_t offset = (int64_t)(bench_random(&r->random) % r->all->blocks) * BLOCK_BYTES;
        size_t n;
        COIL_TRY(coil_file_pread(r->all->file, r->block, BLOCK_BYTES, offset, &n));
        if (n != BLOCK_BYTES)
            return coil_raise(COIL_EUSER(0), "a read at %" PRId64 " is too short", offset);
    }
    return 0;
}

static int read_all(reads *all)
{
    reader readers[DEPTH_MAX];
    coil_task *tasks[DEPTH_MAX];
    for (unsigned i = 0; i < all->depth; i++) {
        readers[i] = (reader){.all = all, .block = all->memory + (size_t)i * BLOCK_BYTES,
                              .random = bench_random(&all->random), .count = all->count / all->depth};
        COIL_TRY(coil_create_task(coil_coro_of(read_blocks, &readers[i]), &tasks[i]));
    }
    int rc = 0;
    for (unsigned i = 0; i < all->depth; i++) {
        int joined = coil_join(tasks[i], NULL);
        rc = rc < 0 ? rc : joined;
    }
    return rc;
}

static int round_of_reads(void *state, bench_lap *laps)
{
    reads *all = state;
    COIL_TRY(coil_file_open(all->path, O_RDONLY | all->flags, 0, &all->file));
    bench_lap_start(&laps[0]);
    int rc = read_all(all);
    bench_lap_stop(&laps[0]);
    int closed = coil_file_close(all->file);
    return rc < 0 ? rc : closed;
}

static int measure(const bench_options *options, reads *all, const char *how, unsigned depth, uint64_t count)
{
    char name[64];
    all->depth = depth;
    all->count = bench_count(options, count) / depth * depth;
    if (all->count == 0)
        all->count = depth;
    snprintf(name, sizeof name, "W12.file.%s_qd%u", how, depth);
    const bench_figure figure = {name, BENCH_PER_SECOND, all->count};
    return bench_repeat_in_task(options, &figure, 1, round_of_reads, all);
}

/* --- all of it ----------------------------------------------------------------------------------------------- */

/* Brings it into the page cache, and finds out its size. */
static int read_through(reads *all)
{
    int fd = open(all->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return coil_raise(-errno, "%s", all->path);
    char *piece = malloc(PIECE_BYTES);
    int64_t bytes = 0;
    ssize_t n = -1;
    while (piece && (n = read(fd, piece, PIECE_BYTES)) > 0)
        bytes += n;
    int rc = piece ? (n < 0 ? -errno : 0) : -ENOMEM;
    free(piece);
    close(fd);
    all->blocks = (uint64_t)bytes / BLOCK_BYTES;
    if (rc == 0 && all->blocks == 0)
        return coil_raise(-EINVAL, "%s has less than %d bytes", all->path, BLOCK_BYTES);
    return rc < 0 ? coil_raise(rc, "%s", all->path) : 0;
}

static bool has_direct(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static int measure_depths(const bench_options *options, reads *all)
{
    static const struct {
        unsigned depth;
        uint64_t direct, cached; /* reads: about a second's */
    } depths[] = {{1, 8000, 200000}, {16, 60000, 400000}, {128, 100000, 400000}};
    bool direct = has_direct(all->path);
    if (!direct)
        fprintf(stderr, "# W12: the file system of %s has no O_DIRECT\n", all->path);
    for (size_t i = 0; i < sizeof depths / sizeof depths[0]; i++) {
        all->flags = O_DIRECT;
        if (direct)
            COIL_TRY(measure(options, all, "direct", depths[i].depth, depths[i].direct));
        all->flags = 0;
        COIL_TRY(measure(options, all, "cached", depths[i].depth, depths[i].cached));
    }
    return 0;
}

static int run(const bench_options *options)
{
    char made[PATH_MAX];
    reads all = {.path = options->file ? options->file : made, .random = 1};
    if (!options->file)
        COIL_TRY(make_file(made, sizeof made));
    all.memory = aligned_alloc(BLOCK_BYTES, (size_t)DEPTH_MAX * BLOCK_BYTES);
    int rc = all.memory ? read_through(&all) : coil_raise(-ENOMEM, NULL);
    if (rc == 0)
        rc = measure_depths(options, &all);
    free(all.memory);
    if (!options->file)
        unlink(made);
    return rc;
}

const bench_workload bench_file = {"file", "W12: 4 KiB random reads, 1, 16 and 128 under way; --file PATH", run};
