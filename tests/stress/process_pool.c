/*
 * process_pool.c - workers of a process pool are killed at random under load, and no job is lost silently
 *
 *     process_pool [KILLS [WORKERS [SEED]]]     1,000 kills, 4 workers of the runtime, a seed from the clock
 *
 * Tasks submit jobs with arguments and results of all sizes up to a megabyte, some cancel them; meanwhile a thread of
 * its own kills worker processes with SIGKILL, whatever they do: run, read, write, or wait. Now and then it kills the
 * fork server. Checked: each job comes to exactly one end: its right result, or the error that says who was killed, or
 * its cancellation; the bytes of each are dropped once; at the end there is no descriptor, no process and no zombie
 * more than before.
 */
#define _GNU_SOURCE
#include "../support/stress.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TASKS = 16, PROCESSES = 4, SIZE_MAX_LOG = 20, SERVER_KILLS = 50 };

static long kills_due = 1000;
static atomic_long submitted, results, broken, cancelled, taken, dropped, killed, servers_killed;
static atomic_bool over;
static coil_executor *pool;

/* --- jobs: in the workers ---------------------------------------------------------------------------------------- */

/* Each byte comes back changed, so that a mixed-up answer shows. */
static int invert(const void *data, size_t n, coil_process_output *output)
{
    const unsigned char *from = data;
    unsigned char part[4096];
    for (size_t done = 0; done < n;) {
        size_t size = n - done < sizeof part ? n - done : sizeof part;
        for (size_t i = 0; i < size; i++)
            part[i] = (unsigned char)~from[done + i];
        COIL_TRY(coil_process_output_write(output, part, size));
        done += size;
    }
    return 0;
}

/* --- submitting -------------------------------------------------------------------------------------------------- */

static void drop_bytes(void *bytes)
{
    free(bytes);
    atomic_fetch_add(&dropped, 1);
}

static unsigned char byte_at(uint64_t key, size_t i)
{
    return (unsigned char)(key + i * 131 + i / 251);
}

static coil_process_call new_call(uint64_t key, size_t n)
{
    unsigned char *bytes = malloc(n + 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = byte_at(key, i);
    atomic_fetch_add(&taken, 1);
    return (coil_process_call){.size = sizeof(coil_process_call), .name = "invert", .data = bytes, .n = n,
                               .drop = drop_bytes};
}

static void check_result(const coil_process_result *r, uint64_t key, size_t n)
{
    const unsigned char *bytes = r->data;
    MUST(r->n == n);
    for (size_t i = 0; i < n; i++)
        MUST(bytes[i] == (unsigned char)~byte_at(key, i));
    atomic_fetch_add(&results, 1);
}

static const char worker_killed[] = "the worker process that ran job 'invert' was killed by signal 9 (SIGKILL)";
static const char server_killed[] =
    "the fork server was killed by signal 9 (SIGKILL) while its worker ran job 'invert'";

/* The error says that somebody was killed. */
static void check_error(int rc)
{
    coil_error *e = coil_catch(rc);
    const char *message = coil_error_message(e);
    if (rc == -ECANCELED) {
        atomic_fetch_add(&cancelled, 1);
    } else {
        MUST(rc == COIL_EBROKENPROCESS);
        MUST(strcmp(message, worker_killed) == 0 || strcmp(message, server_killed) == 0);
        atomic_fetch_add(&broken, 1);
    }
    coil_error_release(e);
}

static int one_job(uint64_t *random)
{
    coil_future *future;
    uint64_t key = stress_random(random, 1u << 30);
    size_t n = stress_random(random, 1u << stress_random(random, SIZE_MAX_LOG));
    coil_process_call call = new_call(key, n);
    atomic_fetch_add(&submitted, 1);
    stress_ok(coil_process_submit(pool, &call, &future));
    if (stress_random(random, 16) == 0)
        coil_future_cancel(future, NULL);
    void *value = NULL;
    int rc = coil_await(future, &value);
    if (rc == 0)
        check_result(value, key, n);
    else
        check_error(rc);
    coil_release(future);
    return 0;
}

static int submitter(void *arg, void **result)
{
    (void)result;
    uint64_t random = stress_random_state((uintptr_t)arg);
    while (!atomic_load(&over))
        COIL_TRY(one_job(&random));
    return 0;
}

static int load(void *arg, void **result)
{
    (void)arg, (void)result;
    coil_task *tasks[TASKS];
    for (uintptr_t i = 0; i < TASKS; i++)
        COIL_TRY(coil_create_task(coil_coro_of(submitter, (void *)i), &tasks[i]));
    for (int i = 0; i < TASKS; i++)
        COIL_TRY(coil_join(tasks[i], NULL));
    return 0;
}

/* --- killing ----------------------------------------------------------------------------------------------------- */

/* The children of a process, as /proc tells; their number. */
static size_t children_of(pid_t parent, pid_t *children, size_t max)
{
    size_t n = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; (entry = readdir(processes)) && n < max;) {
        char path[300], line[512];
        int ppid = 0;
        snprintf(path, sizeof path, "/proc/%s/stat", entry->d_name);
        FILE *stat = atoi(entry->d_name) > 0 ? fopen(path, "r") : NULL;
        if (!stat)
            continue;
        char *after = fgets(line, sizeof line, stat) ? strrchr(line, ')') : NULL;
        if (after && sscanf(after + 1, " %*c %d", &ppid) == 1 && ppid == parent)
            children[n++] = atoi(entry->d_name);
        fclose(stat);
    }
    closedir(processes);
    return n;
}

/* A number is somebody else's only if it has come round between the look and the kill. */
static void kill_one(uint64_t *random)
{
    pid_t servers[4], workers[64];
    size_t n = children_of(getpid(), servers, 4);
    if (n == 0)
        return;
    if (stress_random(random, SERVER_KILLS) == 0) {
        atomic_fetch_add(&servers_killed, kill(servers[0], SIGKILL) == 0);
        return;
    }
    n = children_of(servers[0], workers, 64);
    if (n > 0 && kill(workers[stress_random(random, (uint32_t)n)], SIGKILL) == 0)
        atomic_fetch_add(&killed, 1);
}

static void *killer(void *arg)
{
    uint64_t random = stress_random_state(1000);
    (void)arg;
    while (atomic_load(&killed) < kills_due) {
        struct timespec pause = {.tv_nsec = (long)stress_random(&random, 4000000)};
        nanosleep(&pause, NULL);
        kill_one(&random);
    }
    atomic_store(&over, true);
    return NULL;
}

/* --- main -------------------------------------------------------------------------------------------------------- */

static int count_fds(void)
{
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void report(void)
{
    printf("%ld workers and %ld servers killed; %ld jobs: %ld right results, %ld errors, %ld cancelled\n", killed,
           servers_killed, submitted, results, broken, cancelled);
    MUST(submitted == results + broken + cancelled);
    MUST(taken == submitted && dropped == taken);
}

static void begin(int argc, char **argv)
{
    if (argc > 1)
        kills_due = atol(argv[1]);
    if (argc > 2)
        stress_options.workers = (unsigned)atoi(argv[2]);
    stress_seed = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t)time(NULL);
    printf("%ld kills, %u workers, seed %" PRIu64 "\n", kills_due, stress_options.workers, stress_seed);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    pthread_t thread;
    coil_process_pool_options options = {.size = sizeof options, .workers_max = PROCESSES, .jobs_max = 2 * PROCESSES};
    stress_ok(coil_process_register("invert", invert));
    stress_ok(coil_process_init(argc, argv));
    begin(argc, argv);
    int fds = count_fds();
    stress_ok(coil_process_pool_new(&options, &pool));
    pthread_create(&thread, NULL, killer, NULL);
    stress_run(load, NULL);
    pthread_join(thread, NULL);
    coil_executor_shutdown(pool, true);
    coil_executor_release(pool);
    report();
    MUST(count_fds() == fds);
    MUST(waitpid(-1, NULL, WNOHANG) < 0); /* no child, so no zombie */
    return 0;
}
