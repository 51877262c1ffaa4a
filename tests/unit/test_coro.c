/*
 * test_coro.c - the switch: registers, control words, alignment, backtraces (src/base/coro.h)
 *
 * The registers that a function must preserve are filled with a pattern around each of many random switches, by a
 * routine in assembly, since a compiler would not let them be. Backtraces are taken by the unwinder of gcc, on the
 * coroutine, and on x86-64 also after every single instruction of a switch; a suspended coroutine is walked along its
 * frame records, from what the switch saved.
 */
#define _GNU_SOURCE
#include "base/coro.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unwind.h>

#include "coil_test.h"

#ifdef COIL_VALGRIND
#include <valgrind/valgrind.h>
#define on_valgrind() RUNNING_ON_VALGRIND
#else
#define on_valgrind() 0
#endif

/*
 * uint64_t call_with_poisoned_registers(void (*fn)(void *arg), void *arg, uint64_t pattern): calls fn(arg) with every
 * callee-saved register holding @pattern plus a number of its own; gives 0 if all of them still do afterwards.
 */
uint64_t call_with_poisoned_registers(void (*fn)(void *arg), void *arg, uint64_t pattern);

#if defined(__x86_64__)
__asm__(".text\n"
        ".globl call_with_poisoned_registers\n"
        ".type call_with_poisoned_registers, @function\n"
        "call_with_poisoned_registers:\n"
        "    endbr64\n"
        "    push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15; push %rdx\n"
        "    lea 1(%rdx), %rbx; lea 2(%rdx), %rbp; lea 3(%rdx), %r12; lea 4(%rdx), %r13\n"
        "    lea 5(%rdx), %r14; lea 6(%rdx), %r15\n"
        "    mov %rdi, %rax; mov %rsi, %rdi\n"
        "    call *%rax\n"
        "    pop %rdx\n"
        "    sub %rdx, %rbx; sub %rdx, %rbp; sub %rdx, %r12; sub %rdx, %r13; sub %rdx, %r14; sub %rdx, %r15\n"
        "    xor $1, %rbx; xor $2, %rbp; xor $3, %r12; xor $4, %r13; xor $5, %r14; xor $6, %r15\n"
        "    mov %rbx, %rax; or %rbp, %rax; or %r12, %rax; or %r13, %rax; or %r14, %rax; or %r15, %rax\n"
        "    pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp\n"
        "    ret\n"
        ".size call_with_poisoned_registers, . - call_with_poisoned_registers\n");
#else
#define EACH_X(op) op(19) op(20) op(21) op(22) op(23) op(24) op(25) op(26) op(27) op(28) op(29)
#define EACH_D(op) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define FILL_X(n) "    add x" #n ", x2, #" #n "\n"
#define FILL_D(n) "    add x9, x2, #" #n "\n    fmov d" #n ", x9\n"
#define CHECK_D(n) "    fmov x9, d" #n "\n    sub x9, x9, x2\n    mov x10, #" #n "\n    eor x9, x9, x10\n    orr x0, x0, x9\n"
#define CHECK_X(n) "    sub x9, x" #n ", x2\n    mov x10, #" #n "\n    eor x9, x9, x10\n    orr x0, x0, x9\n"
__asm__(".text\n"
        ".globl call_with_poisoned_registers\n"
        ".type call_with_poisoned_registers, %function\n"
        "call_with_poisoned_registers:\n"
        "    hint #34\n"
        "    stp x29, x30, [sp, #-176]!\n"
        "    stp x19, x20, [sp, #16]; stp x21, x22, [sp, #32]; stp x23, x24, [sp, #48]; stp x25, x26, [sp, #64]\n"
        "    stp x27, x28, [sp, #80]; stp d8, d9, [sp, #96]; stp d10, d11, [sp, #112]; stp d12, d13, [sp, #128]\n"
        "    stp d14, d15, [sp, #144]; str x2, [sp, #160]\n"
        EACH_X(FILL_X) EACH_D(FILL_D)
        "    mov x9, x0\n    mov x0, x1\n    blr x9\n"
        "    ldr x2, [sp, #160]\n    mov x0, #0\n"
        EACH_X(CHECK_X) EACH_D(CHECK_D)
        "    ldp x19, x20, [sp, #16]; ldp x21, x22, [sp, #32]; ldp x23, x24, [sp, #48]; ldp x25, x26, [sp, #64]\n"
        "    ldp x27, x28, [sp, #80]; ldp d8, d9, [sp, #96]; ldp d10, d11, [sp, #112]; ldp d12, d13, [sp, #128]\n"
        "    ldp d14, d15, [sp, #144]\n"
        "    ldp x29, x30, [sp], #176\n"
        "    ret\n"
        ".size call_with_poisoned_registers, . - call_with_poisoned_registers\n");
#endif

/* --- a few coroutines -------------------------------------------------------------------------------------------------- */

static coil__coro main_coro, coro[50];
static coil__coro *running;

static void switch_to(coil__coro *to)
{
    coil__coro *from = running;
    running = to;
    coil__coro_switch(from, to);
}

static _Noreturn void leave_to(coil__coro *to)
{
    coil__coro *from = running;
    running = to;
    coil__coro_leave(from, to);
}

static void start(size_t i, bool fp_control, coil__coro_entry *entry)
{
    coil__stack *stack = coil__stack_alloc(COIL_STACK_BYTES_DEFAULT, NULL);
    ck_assert_ptr_nonnull(stack);
    coil__coro_init(&coro[i], stack, fp_control, entry, &coro[i]);
}

static void begin(void)
{
    coil__coro_init_thread(&main_coro);
    running = &main_coro;
}

static void end(size_t n)
{
    for (size_t i = 0; i < n; i++)
        coil__stack_free(coro[i].stack);
}

/* --- registers --------------------------------------------------------------------------------------------------------- */

enum { CORO_COUNT = sizeof coro / sizeof *coro, SWITCHES = 100000 };

static uint64_t seed;
static long switches_left;
static uint64_t register_damage;
static bool over[CORO_COUNT];

static uint64_t next_random(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return seed >> 33;
}

static void hop(void *to)
{
    switch_to(to);
}

static void wander(void *arg)
{
    coil__coro *self = arg;
    while (switches_left-- > 0) {
        coil__coro *to = &coro[next_random() % CORO_COUNT];
        uint64_t pattern = next_random() << 20;
        if (to != self)
            register_damage |= call_with_poisoned_registers(hop, to, pattern);
    }
    over[self - coro] = true;
    leave_to(&main_coro);
}

TEST(coro_switch_preserves_the_callee_saved_registers)
{
    begin();
    seed = 20240229;
    switches_left = SWITCHES;
    for (size_t i = 0; i < CORO_COUNT; i++)
        start(i, i % 3 == 0, wander);
    /* The switches are used up when the first comes back; the others, suspended, then end one by one. */
    for (size_t i = 0; i < CORO_COUNT; i++)
        while (!over[i])
            switch_to(&coro[i]);
    ck_assert_uint_eq(register_damage, 0);
    end(CORO_COUNT);
}

static double sum_of_many_locals(double x, int depth)
{
    double a = x + 1, b = x * 2, c = x - 3, d = x * x, e = x / 2, f = x + 7, g = -x, h = x * 5;
    long i = depth, j = depth * 3, k = depth ^ 5, l = depth + 11, m = ~depth, n = depth << 2;
    switch_to(&main_coro);
    if (depth > 0)
        a += sum_of_many_locals(x + 1, depth - 1);
    return a + b + c + d + e + f + g + h + (double)(i + j + k + l + m + n);
}

static double sums[2];

static void add_up(void *arg)
{
    size_t i = (size_t)((coil__coro *)arg - coro);
    sums[i] = sum_of_many_locals((double)i, 9);
    leave_to(&main_coro);
}

static double sum_without_switches(double x, int depth)
{
    double a = x + 1, b = x * 2, c = x - 3, d = x * x, e = x / 2, f = x + 7, g = -x, h = x * 5;
    long i = depth, j = depth * 3, k = depth ^ 5, l = depth + 11, m = ~depth, n = depth << 2;
    if (depth > 0)
        a += sum_without_switches(x + 1, depth - 1);
    return a + b + c + d + e + f + g + h + (double)(i + j + k + l + m + n);
}

TEST(coro_switch_keeps_the_locals_of_interleaved_recursions)
{
    begin();
    start(0, false, add_up);
    start(1, false, add_up);
    for (int i = 0; i < 11; i++) {
        switch_to(&coro[0]);
        switch_to(&coro[1]);
    }
    for (int i = 0; i < 2; i++)
        ck_assert(sums[i] == sum_without_switches(i, 9));
    end(2);
}

/* --- the entry --------------------------------------------------------------------------------------------------------- */

static uintptr_t entry_frame;
static void *entry_arg;

static void note_entry(void *arg)
{
    entry_frame = (uintptr_t)__builtin_frame_address(0);
    entry_arg = arg;
    leave_to(&main_coro);
}

TEST(coro_entry_finds_its_argument_and_an_aligned_stack)
{
    begin();
    for (int i = 0; i < 20; i++) { /* stacks of all colours */
        start((size_t)i, false, note_entry);
        switch_to(&coro[i]);
        ck_assert_ptr_eq(entry_arg, &coro[i]);
        ck_assert_uint_eq(entry_frame % 16, 0);
        ck_assert(entry_frame > (uintptr_t)coro[i].stack->base);
        ck_assert(entry_frame < (uintptr_t)coro[i].stack->top);
    }
    end(20);
}

static void run_twice_on_one_stack(void *arg)
{
    coil__coro *self = arg;
    switch_to(&main_coro);
    coro[1] = *self; /* I3: from here on, coro[1] runs */
    running = &coro[1];
    switch_to(&main_coro);
    leave_to(&main_coro);
}

TEST(coro_struct_may_be_copied_while_it_runs)
{
    begin();
    start(0, false, run_twice_on_one_stack);
    switch_to(&coro[0]);
    switch_to(&coro[0]);
    ck_assert_ptr_eq(coro[1].stack, coro[0].stack);
    memset(&coro[0], 0xff, sizeof coro[0]);
    switch_to(&coro[1]);
    coil__stack_free(coro[1].stack);
}

static void *resume_on_another_thread(void *unused)
{
    (void)unused;
    coil__coro_init_thread(&main_coro);
    running = &main_coro;
    switch_to(&coro[0]);
    return NULL;
}

static void change_threads(void *unused)
{
    (void)unused;
    switch_to(&main_coro);
    leave_to(&main_coro);
}

TEST(coro_resumes_on_another_thread)
{
    pthread_t thread;
    begin();
    start(0, true, change_threads);
    switch_to(&coro[0]);
    ck_assert_int_eq(pthread_create(&thread, NULL, resume_on_another_thread, NULL), 0);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    end(1);
}

/* --- floating-point control words ---------------------------------------------------------------------------------------- */

static coil__arch_fp rounding(bool up)
{
    coil__arch_fp words = coil__arch_fp_get();
#if defined(__x86_64__)
    words.mxcsr = (words.mxcsr & ~0x6000u) | (up ? 0x4000u : 0);
    words.x87 = (uint16_t)((words.x87 & ~0x0c00) | (up ? 0x0800 : 0));
#else
    words.fpcr = (words.fpcr & ~(uint64_t)0xc00000) | (up ? 0x400000u : 0);
#endif
    return words;
}

static bool rounds_up(void)
{
    coil__arch_fp now = coil__arch_fp_get(), up = rounding(true), down = rounding(false);
#if defined(__x86_64__)
    ck_assert((now.mxcsr == up.mxcsr) == (now.x87 == up.x87));
    return now.mxcsr != down.mxcsr;
#else
    (void)up;
    return now.fpcr != down.fpcr;
#endif
}

static bool seen_up[8];
static size_t seen_count;

static void see(void)
{
    seen_up[seen_count++] = rounds_up();
}

static void round_up_and_suspend(void *unused)
{
    (void)unused;
    see();
    coil__arch_fp_set(rounding(true));
    switch_to(&main_coro);
    see();
    leave_to(&main_coro);
}

static void look_and_leave(void *unused)
{
    (void)unused;
    see();
    leave_to(&main_coro);
}

static void round_up_and_pass_on(void *unused)
{
    (void)unused;
    coil__arch_fp_set(rounding(true));
    switch_to(&coro[1]);
    see();
    leave_to(&main_coro);
}

TEST(coro_with_fp_control_keeps_its_rounding_to_itself)
{
    begin();
    seen_count = 0;
    start(0, true, round_up_and_suspend);
    switch_to(&coro[0]);
    ck_assert(!seen_up[0]);
    ck_assert(!rounds_up());
    start(1, false, look_and_leave);
    switch_to(&coro[1]);
    ck_assert(!seen_up[1]);
    switch_to(&coro[0]);
    ck_assert_uint_eq(seen_count, 3);
    ck_assert(seen_up[2]);
    ck_assert(!rounds_up());
    end(2);
}

TEST(coro_without_fp_control_changes_the_rounding_of_its_thread)
{
    begin();
    seen_count = 0;
    start(0, false, round_up_and_suspend);
    switch_to(&coro[0]);
    ck_assert(rounds_up());
    coil__arch_fp_set(rounding(false));
    switch_to(&coro[0]);
    ck_assert(!seen_up[1]);
    end(1);
}

TEST(coro_with_fp_control_hands_the_threads_rounding_to_the_next)
{
    begin();
    seen_count = 0;
    start(0, true, round_up_and_pass_on);
    start(1, true, look_and_leave);
    switch_to(&coro[0]);
    ck_assert(!seen_up[0]); /* coro[1]'s own words are the thread's */
    ck_assert(!rounds_up());
    switch_to(&coro[0]);
    ck_assert(seen_up[1]);
    ck_assert(!rounds_up());
    end(2);
}

/* --- backtraces ---------------------------------------------------------------------------------------------------------- */

enum { TRACE_MAX = 64 };

struct backtrace {
    void *function[TRACE_MAX]; /* the start of the function of each frame, innermost first */
    size_t count;
};

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *arg)
{
    struct backtrace *b = arg;
    int before = 0;
    uintptr_t pc = _Unwind_GetIPInfo(context, &before);
    if (!pc)
        return _URC_NO_REASON; /* gcc's way to say that the last frame was the outermost */
    if (b->count == TRACE_MAX)
        return _URC_NORMAL_STOP;
    b->function[b->count++] = _Unwind_FindEnclosingFunction((void *)(before ? pc : pc - 1));
    return _URC_NO_REASON;
}

/* True if the unwinder reached an end, and did not give up. */
static bool take_backtrace(struct backtrace *b)
{
    b->count = 0;
    return _Unwind_Backtrace(add_frame, b) == _URC_END_OF_STACK;
}

static struct backtrace running_trace;
static bool trace_complete;

static __attribute__((noinline)) void suspend_inside(int depth)
{
    if (depth > 0) {
        suspend_inside(depth - 1);
    } else {
        switch_to(&main_coro);
        trace_complete = take_backtrace(&running_trace);
    }
    __asm__ volatile(""); /* no tail call */
}

static void enter_and_suspend(void *unused)
{
    (void)unused;
    volatile int depth = 3; /* no copies of the function for each depth */
    suspend_inside(depth);
    leave_to(&main_coro);
}

/* The frames of @b from suspend_inside outwards are those of enter_and_suspend's call, and nothing else. */
static void check_chain(const struct backtrace *b, bool with_innermost)
{
    size_t i = 0;
    while (with_innermost && i < b->count && b->function[i] != (void *)(uintptr_t)suspend_inside)
        i++;
    for (int depth = 3; depth >= 0; depth--)
        ck_assert_ptr_eq(b->function[i++], (void *)(uintptr_t)suspend_inside);
    ck_assert_ptr_eq(b->function[i++], (void *)(uintptr_t)enter_and_suspend);
#ifdef COIL_ASAN
    i++; /* the function that finishes the first switch */
#endif
    ck_assert_ptr_eq(b->function[i++], (void *)(uintptr_t)coil__arch_start);
    ck_assert_uint_eq(i, b->count);
}

TEST(backtrace_of_a_running_coroutine_ends_below_its_entry)
{
    begin();
    start(0, false, enter_and_suspend);
    switch_to(&coro[0]);
    switch_to(&coro[0]);
    ck_assert(trace_complete);
    check_chain(&running_trace, true);
    end(1);
}

/* Along the frame records, which is how perf goes; both processors keep {caller's record, return address}. */
static struct backtrace walk_suspended(const coil__coro *c)
{
    struct backtrace b = {.count = 0};
    const struct coil__arch_frame *frame = c->sp;
    void **record = frame->fp;
    void *pc = frame->pc;
    while (pc && b.count < TRACE_MAX) {
        b.function[b.count++] = _Unwind_FindEnclosingFunction((char *)pc - 1);
        pc = record ? record[1] : NULL;
        record = record ? record[0] : NULL;
    }
    return b;
}

TEST(backtrace_of_a_suspended_coroutine_reaches_its_entry)
{
    begin();
    start(0, false, enter_and_suspend);
    switch_to(&coro[0]);
    struct backtrace b = walk_suspended(&coro[0]);
    check_chain(&b, true);
    switch_to(&coro[0]);
    end(1);
}

#if defined(__x86_64__) && !defined(COIL_ASAN) && !defined(COIL_TSAN)

static size_t steps, broken_steps, coroutine_steps;

static void on_step(int sig)
{
    struct backtrace b;
    (void)sig;
    steps++;
    if (!take_backtrace(&b) || b.count == 0)
        broken_steps++;
    else if (b.function[b.count - 1] == (void *)(uintptr_t)coil__arch_start)
        coroutine_steps++;
}

/* The processor's trap flag: SIGTRAP after every instruction from here on. */
static void single_step(bool on)
{
    if (on)
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
                         : : : "memory", "cc");
    else
        __asm__ volatile("lea -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; lea 128(%%rsp), %%rsp"
                         : : : "memory", "cc");
}

static void step_in_coroutine(void *unused)
{
    (void)unused;
    for (;;)
        switch_to(&main_coro);
}

TEST(backtrace_is_whole_after_every_instruction_of_a_switch)
{
    char *alternate = malloc(1 << 16);
    struct sigaction action = {.sa_handler = on_step, .sa_flags = SA_ONSTACK};
    if (on_valgrind())
        return; /* an emulated processor without a trap flag */
    ck_assert_int_eq(sigaltstack(&(stack_t){.ss_sp = alternate, .ss_size = 1 << 16}, NULL), 0);
    begin();
    start(0, false, step_in_coroutine);
    switch_to(&coro[0]);
    ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
    single_step(true);
    switch_to(&coro[0]);
    single_step(false);
    if (steps == 0)
        return;
    ck_assert_uint_gt(steps, 20);
    ck_assert_uint_gt(coroutine_steps, 5);
    ck_assert_uint_eq(broken_steps, 0);
    end(1);
}

#endif

COIL_TEST_MAIN("coro")
