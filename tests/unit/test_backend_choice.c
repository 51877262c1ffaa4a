/*
 * test_backend_choice.c - which backend is chosen and why, with io_uring really refused; features; known-bad
 * kernels
 *
 * Filters make the kernel refuse, or look older than it is (old_kernel.h). They stay until the process ends,
 * and so does what was probed: tests that need that are left out where Check does not fork.
 */
#define _GNU_SOURCE /* unshare, pipe2, names of registers */
#include "backend.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "old_kernel.h"

#include "../../io/features.h"
#include "../../io/kernels.h"

static int open_as(enum coil_backend_kind kind)
{
    return coil__backend_open(kind, COIL_RING_DEFAULT, 0, &backend);
}

static const coil_backend_feature *feature(const char *name)
{
    for (size_t i = 0; i < COIL__BACKEND_FEATURES; i++) {
        if (!strcmp(backend->features[i].name, name))
            return &backend->features[i];
    }
    ck_abort_msg("no feature %s", name);
    return NULL;
}

/* --- what is asked for ---------------------------------------------------------------------------------------- */

TEST(the_environment_chooses_and_says_so)
{
    const char *word = getenv("COIL_BACKEND");
    if (!word || !*word)
        return;
    open_backend();
    ck_assert_str_eq(backend->ops->name, strcmp(word, "epoll") == 0 ? "epoll" : "io_uring");
    ck_assert_str_eq(backend->reason, "asked for by COIL_BACKEND");
    close_backend();
}

TEST(an_unknown_word_in_the_environment_is_refused)
{
    const char *word = getenv("COIL_BACKEND");
    char *before = word ? strdup(word) : NULL;
    setenv("COIL_BACKEND", "kqueue", 1);
    RAISES(-EINVAL, "unknown COIL_BACKEND 'kqueue' (uring, epoll, auto)", open_as(COIL_BACKEND_AUTO));
    unsetenv("COIL_BACKEND");
    if (before)
        setenv("COIL_BACKEND", before, 1);
    free(before);
}

TEST(a_program_can_insist_on_epoll)
{
    coil__list none;
    coil__list_init(&none);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    ck_assert_int_eq(coil__backend_open(COIL_BACKEND_EPOLL, COIL_RING_DEFAULT, fd, &backend), 0);
    ck_assert_str_eq(backend->ops->name, "epoll");
    ck_assert_str_eq(backend->reason, "asked for by coil_loop_options");
    ck_assert_str_eq(feature("defer_taskrun")->why, "the backend is epoll");
    ck_assert(!feature("defer_taskrun")->used);
    backend->ops->close(backend, &none);
    close(fd);
}

/* The line that COIL_LOG=@word writes when a backend is opened. */
static void read_log(const char *word, char *line, size_t size)
{
    int fds[2], before = dup(STDERR_FILENO);
    ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
    setenv("COIL_LOG", word, 1);
    dup2(fds[1], STDERR_FILENO);
    open_backend();
    dup2(before, STDERR_FILENO);
    unsetenv("COIL_LOG");
    close(before);
    close(fds[1]);
    ssize_t n = read(fds[0], line, size - 1);
    line[n < 0 ? 0 : n] = '\0';
    close(fds[0]);
}

TEST(the_log_is_one_line_with_backend_reason_and_kernel)
{
    char line[600];
    struct utsname kernel;
    ck_assert_int_eq(uname(&kernel), 0);
    read_log("1", line, sizeof line);
    ck_assert_ptr_nonnull(strstr(line, backend->ops->name));
    ck_assert_ptr_nonnull(strstr(line, backend->reason));
    ck_assert_ptr_nonnull(strstr(line, kernel.release));
    ck_assert_ptr_eq(strchr(line, '\n'), line + strlen(line) - 1);
    ck_assert_int_eq(strstr(line, "; with single_issuer") != NULL, !strcmp(backend->ops->name, "io_uring"));
    close_backend();
}

TEST(there_is_no_log_unless_it_is_asked_for)
{
    char line[600];
    read_log("0", line, sizeof line);
    ck_assert_str_eq(line, "");
    close_backend();
}

/* --- known-bad kernels ---------------------------------------------------------------------------------------- */

#define RECV COIL__FEATURE(multishot_recv)
#define ACCEPT COIL__FEATURE(multishot_accept)

TEST(releases_of_all_sorts_are_understood)
{
    ck_assert_uint_eq(coil__kernel_number("6.1.7"), COIL__KERNEL(6, 1, 7));
    ck_assert_uint_eq(coil__kernel_number("6.1.0-27-amd64"), COIL__KERNEL(6, 1, 0));
    ck_assert_uint_eq(coil__kernel_number("6.15-rc3"), COIL__KERNEL(6, 15, 0));
    ck_assert_uint_eq(coil__kernel_number("7.2.100000"), COIL__KERNEL(7, 2, COIL__KERNEL_LAST));
    ck_assert_uint_eq(coil__kernel_number("6.6.31.fc39"), COIL__KERNEL(6, 6, 31));
    ck_assert_uint_eq(coil__kernel_number("GNU"), 0);
    ck_assert_uint_eq(coil__kernel_number(""), 0);
}

TEST(a_flaw_is_known_for_its_versions_and_its_feature_only)
{
    ck_assert_ptr_null(coil__kernel_flaw_of(RECV, "6.1.6"));
    ck_assert_ptr_nonnull(strstr(coil__kernel_flaw_of(RECV, "6.1.7-arch1-1"), "axboe/liburing#778"));
    ck_assert_ptr_null(coil__kernel_flaw_of(RECV, "6.1.8"));
    ck_assert_ptr_null(coil__kernel_flaw_of(ACCEPT, "6.1.7"));
    ck_assert_ptr_null(coil__kernel_flaw_of(ACCEPT, "6.2.16"));
    ck_assert_ptr_nonnull(coil__kernel_flaw_of(ACCEPT, "6.3.0"));
    ck_assert_ptr_nonnull(coil__kernel_flaw_of(ACCEPT, "6.7.99"));
    ck_assert_ptr_null(coil__kernel_flaw_of(ACCEPT, "6.8.0-31-generic"));
}

TEST(every_flaw_has_an_order_and_a_citation)
{
    size_t rows = 0;
    for (const coil__kernel_flaw *f = coil__kernel_flaws; f->what; f++, rows++) {
        ck_assert_uint_le(f->first, f->last);
        ck_assert_uint_ge(f->first, COIL__KERNEL(6, 1, 0)); /* older ones have no DEFER_TASKRUN */
        ck_assert_uint_lt(f->feature, sizeof(coil__features));
        ck_assert_ptr_nonnull(strchr(f->what, '#'));
    }
    ck_assert_uint_gt(rows, 0);
}

TEST(the_table_can_be_left_out_of_account)
{
    setenv("COIL_KERNEL_CHECK", "0", 1);
    ck_assert_ptr_null(coil__kernel_flaw_of(RECV, "6.1.7"));
    setenv("COIL_KERNEL_CHECK", "1", 1);
    ck_assert_ptr_nonnull(coil__kernel_flaw_of(RECV, "6.1.7"));
    unsetenv("COIL_KERNEL_CHECK");
    ck_assert_ptr_nonnull(coil__kernel_flaw_of(RECV, "6.1.7"));
}

#ifdef COIL_URING

static void choose_freely(void)
{
    unsetenv("COIL_BACKEND");
}

#define ALL_KERNELS COIL__KERNEL(0, 0, 0), COIL__KERNEL(999, 0, 0)

/* Tests that need a kernel that does not refuse: on_uring has asked. In a process of their own. */
static bool have_uring(void)
{
    const char *word = getenv("COIL_BACKEND");
    return forks() && word && !strcmp(word, "uring");
}

TEST(a_feature_that_is_known_to_be_broken_here_is_not_used)
{
    static const coil__kernel_flaw here[] = {
        {ACCEPT, ALL_KERNELS, "it is broken"},
        {COIL__FEATURE(no_iowait), ALL_KERNELS, "this too"},
        {0, 0, 0, NULL},
    };
    const coil__features *can;
    if (!have_uring())
        return;
    coil__kernel_flaws = here;
    ck_assert_int_eq(coil__features_probe(&can), 0);
    ck_assert(!can->multishot_accept);
    ck_assert(!can->no_iowait);
    ck_assert(can->defer_taskrun);
    open_backend();
    ck_assert_str_eq(feature("multishot_accept")->why, "it is broken");
    ck_assert_str_eq(feature("no_iowait")->why, "this too");
    close_backend();
}

TEST(a_flaw_in_the_rings_themselves_refuses_io_uring)
{
    static const coil__kernel_flaw here[] = {
        {COIL__FEATURE(defer_taskrun), ALL_KERNELS, "rings are broken"},
        {0, 0, 0, NULL},
    };
    if (!have_uring())
        return;
    coil__kernel_flaws = here;
    RAISES(-EINVAL, "rings are broken", open_as(COIL_BACKEND_URING));
    choose_freely();
    open_backend();
    ck_assert_str_eq(backend->ops->name, "epoll");
    ck_assert_str_eq(backend->reason, "rings are broken");
    close_backend();
}

/* --- refused -------------------------------------------------------------------------------------------------- */

/* Every call of @number fails with @error from now on; false if the test has to be left out. */
static bool refuse(int number, int error)
{
    if (!forks())
        return false;
    ck_assert_int_eq(forbid(number, error), 0);
    return true;
}

static void falls_back(const char *reason)
{
    choose_freely();
    open_backend();
    ck_assert_str_eq(backend->ops->name, "epoll");
    ck_assert_str_eq(backend->reason, reason);
    ck_assert(!feature("single_issuer")->used);
    close_backend();
}

#define EPERM_REASON "io_uring refused: EPERM, forbidden by a seccomp profile, as of a container"

/* Where the sysctl forbids io_uring too, it is what the reason names. */
static bool only_filters_forbid(void)
{
    char value = '0';
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, &value, 1) != 1)
        value = '0';
    close(fd);
    return value == '0';
}

TEST(refused_io_uring_falls_back_to_epoll_and_says_why)
{
    if (only_filters_forbid() && refuse(SYS_io_uring_setup, EPERM))
        falls_back(EPERM_REASON);
}

TEST(a_kernel_without_io_uring_falls_back_to_epoll)
{
    if (refuse(SYS_io_uring_setup, ENOSYS))
        falls_back("io_uring refused: ENOSYS, not in this kernel (or emulator, or seccomp profile)");
}

TEST(io_uring_that_can_be_set_up_but_not_entered_falls_back_to_epoll)
{
    if (only_filters_forbid() && refuse(SYS_io_uring_enter, EPERM))
        falls_back(EPERM_REASON);
}

TEST(who_insists_on_io_uring_is_told_that_it_is_refused)
{
    if (only_filters_forbid() && refuse(SYS_io_uring_setup, EPERM))
        RAISES(-EPERM, EPERM_REASON, open_as(COIL_BACKEND_URING));
}

/* Puts a file with this text in the place of the sysctl, for this process alone. False if that is not allowed. */
static bool sysctl_reads(const char *text)
{
    char path[] = "/tmp/coil-sysctl-XXXXXX";
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return false;
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
    bool done = mount(path, "/proc/sys/kernel/io_uring_disabled", NULL, MS_BIND, NULL) == 0;
    unlink(path);
    return done;
}

TEST(the_sysctl_that_forbids_io_uring_is_named)
{
    if (!forks())
        return;
    if (!sysctl_reads("2\n")) {
        puts("left out: only root can put a file in the sysctl's place");
        return;
    }
    if (refuse(SYS_io_uring_setup, EPERM))
        falls_back("io_uring refused: EPERM, kernel.io_uring_disabled is 2");
}

TEST(the_group_that_the_sysctl_asks_for_is_named)
{
    if (forks() && sysctl_reads("1\n") && refuse(SYS_io_uring_setup, EPERM))
        falls_back("io_uring refused: EPERM, kernel.io_uring_disabled is 1, "
                   "and this process is not in kernel.io_uring_group");
}

/* --- failing -------------------------------------------------------------------------------------------------- */

TEST(other_errors_are_reported_and_do_not_fall_back)
{
    choose_freely();
    if (refuse(SYS_io_uring_setup, EBUSY))
        RAISES(-EBUSY, "io_uring cannot be set up: Device or resource busy; COIL_BACKEND=epoll does without",
               open_as(COIL_BACKEND_AUTO));
}

TEST(want_of_memory_is_reported_with_the_limit)
{
    choose_freely();
    struct rlimit limit = {.rlim_cur = 64 * 1024, .rlim_max = 64 * 1024};
    if (!forks())
        return;
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
    if (refuse(SYS_io_uring_setup, ENOMEM))
        RAISES(-ENOMEM,
               "no memory for an io_uring: a ring takes 140 KiB, which from Linux 6.14 on count as locked memory; "
               "the limit for all of a user's processes is 64 KiB (ulimit -l): raise it, or set COIL_BACKEND=epoll",
               open_as(COIL_BACKEND_AUTO));
}

/* The right to lock any amount of memory goes. */
static void drop_lock_right(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2];
    ck_assert_int_eq(syscall(SYS_capget, &header, data), 0);
    data[0].effective &= ~(1u << CAP_IPC_LOCK);
    ck_assert_int_eq(syscall(SYS_capset, &header, data), 0);
}

TEST(the_limit_on_locked_memory_is_met_in_earnest)
{
    struct utsname kernel;
    struct rlimit none = {.rlim_cur = 0, .rlim_max = 0};
    if (!have_uring() || uname(&kernel) < 0 || coil__kernel_number(kernel.release) < COIL__KERNEL(6, 14, 0))
        return;
    drop_lock_right();
    ck_assert_int_eq(setrlimit(RLIMIT_MEMLOCK, &none), 0);
    choose_freely();
    int rc = open_as(COIL_BACKEND_AUTO);
    ck_assert_int_eq(rc, -ENOMEM);
    ck_assert_ptr_nonnull(strstr(caught(rc), "is 0 KiB (ulimit -l): raise it"));
}

TEST(want_of_descriptors_is_reported_with_the_limit)
{
    char message[100];
    if (!forks())
        return;
    int fd = dup(0);
    struct rlimit usual, tight;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    tight = (struct rlimit){.rlim_cur = (rlim_t)fd, .rlim_max = usual.rlim_max};
    close(fd);
    snprintf(message, sizeof message, "no descriptor for an io_uring: the limit is %d (ulimit -n): raise it", fd);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int rc = open_as(COIL_BACKEND_URING);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0); /* leak checkers open files at the end */
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_str_eq(caught(rc), message);
}

TEST(a_probe_that_failed_is_made_again)
{
    const coil__features *can;
    struct rlimit usual, tight;
    if (!have_uring())
        return;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &usual), 0);
    tight = (struct rlimit){.rlim_cur = 0, .rlim_max = usual.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int rc = coil__features_probe(&can);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &usual), 0);
    ck_assert_int_eq(rc, -EMFILE);
    ck_assert_int_eq(coil__features_probe(&can), 0);
    ck_assert(can->defer_taskrun);
}

/* --- features ------------------------------------------------------------------------------------------------- */

TEST(the_two_sorts_of_rings_use_different_features)
{
    if (!have_uring())
        return;
    open_backend_with(COIL_RING_DEFER);
    ck_assert(feature("single_issuer")->used);
    ck_assert(feature("defer_taskrun")->used);
    ck_assert_ptr_null(feature("defer_taskrun")->why);
    ck_assert_str_eq(feature("coop_taskrun")->why, "defer_taskrun is used instead");
    close_backend();
    open_backend_with(COIL_RING_SHARED);
    ck_assert(feature("coop_taskrun")->used);
    ck_assert_str_eq(feature("defer_taskrun")->why,
                     "other workers may take what completes in this ring (coop_taskrun)");
    close_backend();
}

/* 6.18.44 has been seen to have all; of some older ones it is not known which repairs they have. */
TEST(a_new_kernel_has_every_feature)
{
    struct utsname kernel;
    const coil__features *can;
    if (!have_uring() || uname(&kernel) < 0 || coil__kernel_number(kernel.release) < COIL__KERNEL(6, 18, 44))
        return;
    ck_assert_int_eq(coil__features_probe(&can), 0);
    for (size_t i = 0; i < sizeof *can; i++)
        ck_assert_msg(coil__features_has(can, i), "member %zu of coil__features", i);
}

static void *probe_there(void *can)
{
    ck_assert_int_eq(coil__features_probe(can), 0);
    return NULL;
}

TEST(several_threads_can_probe_at_once)
{
    pthread_t threads[4];
    const coil__features *can[4];
    if (!have_uring())
        return;
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(pthread_create(&threads[i], NULL, probe_there, &can[i]), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    for (int i = 1; i < 4; i++)
        ck_assert_ptr_eq(can[i], can[0]);
}

/* Linux 6.1: SINGLE_ISSUER and DEFER_TASKRUN are the newest flags, SENDMSG_ZC the newest request. */
static const old_kernel linux_6_1 = {
    .setup_flags = (IORING_SETUP_DEFER_TASKRUN << 1) - 1,
    .features = (IORING_FEAT_LINKED_FILE << 1) - 1,
    .last_op = IORING_OP_SENDMSG_ZC,
};

TEST(a_6_1_kernel_has_the_full_design_but_not_what_came_later)
{
    const coil__features *can;
    if (!have_uring())
        return;
    ck_assert_int_eq(look_like(linux_6_1), 0);
    ck_assert_int_eq(coil__features_probe(&can), 0);
    ck_assert(can->single_issuer && can->defer_taskrun && can->coop_taskrun && can->send_zc);
    ck_assert(can->read && can->write && can->openat && can->statx && can->fsync && can->close && can->splice);
    ck_assert(can->buffer_ring && can->registered_descriptors);
    ck_assert(!can->no_iowait && !can->min_wait);
    open_backend();
    ck_assert(feature("defer_taskrun")->used);
    ck_assert_ptr_eq(strstr(feature("no_iowait")->why, "not in this kernel"), feature("no_iowait")->why);
    close_backend();
}

TEST(a_5_15_kernel_has_no_defer_taskrun_and_gets_epoll)
{
    if (!forks())
        return;
    ck_assert_int_eq(look_like((old_kernel){
                         .setup_flags = (IORING_SETUP_R_DISABLED << 1) - 1,
                         .features = (IORING_FEAT_RSRC_TAGS << 1) - 1,
                         .last_op = IORING_OP_LINKAT,
                     }),
                     0);
    RAISES(-EINVAL, "io_uring refused: EINVAL, no DEFER_TASKRUN: the kernel is older than 6.1",
           open_as(COIL_BACKEND_URING));
    falls_back("io_uring refused: EINVAL, no DEFER_TASKRUN: the kernel is older than 6.1");
}

TEST(requests_and_buffer_rings_that_are_missing_are_found_out)
{
    const coil__features *can;
    old_kernel kernel = linux_6_1;
    if (!have_uring())
        return;
    kernel.last_op = IORING_OP_RECV;
    kernel.no_buffer_ring = true;
    ck_assert_int_eq(look_like(kernel), 0);
    ck_assert_int_eq(coil__features_probe(&can), 0);
    ck_assert(can->read && can->statx);
    ck_assert(!can->splice && !can->send_zc && !can->shutdown);
    ck_assert(!can->buffer_ring && !can->multishot_recv);
    ck_assert(can->multishot_accept);
}

TEST(without_io_uring_register_all_that_is_optional_is_missing)
{
    const coil__features *can;
    if (!have_uring() || !refuse(SYS_io_uring_register, EPERM))
        return;
    ck_assert_int_eq(coil__features_probe(&can), 0);
    ck_assert(can->defer_taskrun && can->multishot_accept);
    ck_assert(!can->read && !can->buffer_ring && !can->multishot_recv && !can->registered_descriptors);
    open_backend();
    ck_assert_str_eq(backend->ops->name, "io_uring");
    close_backend();
}

#endif

COIL_TEST_MAIN("backend_choice")
