/*
 * arch.h - what the coroutine switch needs to know of a processor: the saved frame, the switch, control words
 *
 * Included by coro.h only. The switch is inline assembly that declares every register clobbered: the compiler spills
 * what lives and nothing else, around a switch that neither calls nor returns, so that the processor's predictor of
 * returns stays in step. Through a chain of two calls, 10 coroutines (gcc 12, x86-64): 6 ns a yield like this, 32 ns
 * by a function that leaves by pop and jump, because from there on every return is mispredicted
 * (docs/decisions/0001-inline-switch.md).
 *
 * A suspended coroutine's saved stack pointer leads to a struct coil__arch_frame, pushed below the frame of the C function
 * that suspended it:
 *
 *        x86-64        aarch64
 *   +0   rip           pc       where to go on
 *   +8   rbp           x29      by hand: the compiler's own, since frame pointers are on
 *   +16  rbx           x19      by hand: some compilers address a realigned frame through it
 *   +24  128 bytes     8 bytes  the red zone of the C function; alignment
 *   +152               +32      the stack pointer when it goes on
 *
 * All other callee-saved registers (System V ABI AMD64 3.2.1: r12-r15; AAPCS64 6.1: x20-x28, x30, d8-d15) are on the
 * clobber list, hence in the C function's frame if they hold anything. Not kept: the signal mask, thread-local
 * variables, control words (coil__arch_fp_get for those who ask).
 *
 * I1 the C function finds its frame through rbp (x29), and so does its unwind information: pushing below does not disturb
 *    it, and every instruction of a switch belongs to the one chain of frames or to the other
 * I2 the place to go on is a landing pad (endbr64, bti j): coil is IBT- and BTI-clean. Shadow stacks are not claimed.
 */
#ifndef COIL_BASE_ARCH_H
#define COIL_BASE_ARCH_H

#include <stddef.h>
#include <stdint.h>

struct coil__arch_frame {
    void *pc;
    void *fp;
    void *base;
};
_Static_assert(offsetof(struct coil__arch_frame, pc) == 0, "the assembly below");
_Static_assert(offsetof(struct coil__arch_frame, fp) == 8, "the assembly below");
_Static_assert(offsetof(struct coil__arch_frame, base) == 16, "the assembly below");

/* What coil__arch_start finds at its stack pointer. */
struct coil__arch_call {
    void (*entry)(void *arg);
    void *arg;
};
_Static_assert(offsetof(struct coil__arch_call, entry) == 0, "x86_64_sysv.S, aarch64_aapcs64.S");
_Static_assert(offsetof(struct coil__arch_call, arg) == 8, "x86_64_sysv.S, aarch64_aapcs64.S");
_Static_assert(sizeof(struct coil__arch_call) % 16 == 0, "keeps the stack aligned");

/* The outermost frame of a coroutine: calls entry(arg), which does not return; backtraces end there. Not called. */
void coil__arch_start(void);

#if defined(__x86_64__)

#ifdef __AVX512F__
#define COIL__ARCH_CLOBBERS_AVX512                                                                                   \
    , "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24", "xmm25", "xmm26", "xmm27",    \
        "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3", "k4", "k5", "k6", "k7"
#else
#define COIL__ARCH_CLOBBERS_AVX512
#endif

enum { COIL__ARCH_FRAME_BYTES = 24 + 128 };

/* Suspends: *@save leads to the frame; resumes the frame @load. Returns when somebody resumes *@save. */
static inline __attribute__((always_inline)) void coil__arch_switch(void **save, void *load)
{
    __asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
                     "leaq -128(%%rsp), %%rsp\n\t"
                     "pushq %%rbx\n\t"
                     "pushq %%rbp\n\t"
                     "pushq %%rax\n\t"
                     "movq %%rsp, (%0)\n\t"
                     "movq %1, %%rsp\n\t"
                     "popq %%rax\n\t"
                     "popq %%rbp\n\t"
                     "popq %%rbx\n\t"
                     "leaq 128(%%rsp), %%rsp\n\t"
                     "jmpq *%%rax\n"
                     "1:\n\t"
                     "endbr64\n\t"
                     : "+D"(save), "+S"(load)
                     :
                     : "rax", "rcx", "rdx", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "xmm0", "xmm1",
                       "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12",
                       "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)", "st(6)", "st(7)",
                       "memory", "cc" COIL__ARCH_CLOBBERS_AVX512);
}

/* Resumes the frame @load and forgets the running one. */
static inline __attribute__((always_inline)) _Noreturn void coil__arch_jump(void *load)
{
    __asm__ volatile("movq %0, %%rsp\n\t"
                     "popq %%rax\n\t"
                     "popq %%rbp\n\t"
                     "popq %%rbx\n\t"
                     "leaq 128(%%rsp), %%rsp\n\t"
                     "jmpq *%%rax\n\t"
                     :
                     : "S"(load)
                     : "memory");
    __builtin_unreachable();
}

/* The control words that calls preserve: mxcsr and the x87 control word. */
typedef struct coil__arch_fp {
    uint32_t mxcsr;
    uint16_t x87;
} coil__arch_fp;

static inline coil__arch_fp coil__arch_fp_get(void)
{
    coil__arch_fp words;
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(words.mxcsr), "=m"(words.x87));
    return words;
}

static inline void coil__arch_fp_set(coil__arch_fp words)
{
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(words.mxcsr), "m"(words.x87));
}

#elif defined(__aarch64__) && defined(__LP64__)

#ifdef __ARM_FEATURE_SVE
#define COIL__ARCH_CLOBBERS_SVE                                                                                      \
    , "p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7", "p8", "p9", "p10", "p11", "p12", "p13", "p14", "p15"
#else
#define COIL__ARCH_CLOBBERS_SVE
#endif

enum { COIL__ARCH_FRAME_BYTES = 32 };

/* Suspends: *@save leads to the frame; resumes the frame @load. Returns when somebody resumes *@save. */
static inline __attribute__((always_inline)) void coil__arch_switch(void **save, void *load)
{
    register void **place __asm__("x0") = save;
    register void *other __asm__("x1") = load;
    __asm__ volatile("adr x9, 1f\n\t"
                     "stp x9, x29, [sp, #-32]!\n\t"
                     "str x19, [sp, #16]\n\t"
                     "mov x10, sp\n\t"
                     "str x10, [%0]\n\t"
                     "mov sp, %1\n\t"
                     "ldr x19, [sp, #16]\n\t"
                     "ldp x16, x29, [sp], #32\n\t"
                     "br x16\n"
                     "1:\n\t"
                     "hint #36\n\t" /* bti j */
                     : "+r"(place), "+r"(other)
                     :
                     : "x2", "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15", "x16",
                       "x17", "x18", "x20", "x21", "x22", "x23", "x24", "x25", "x26", "x27", "x28", "x30", "v0", "v1",
                       "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",
                       "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29",
                       "v30", "v31", "memory", "cc" COIL__ARCH_CLOBBERS_SVE);
}

/* Resumes the frame @load and forgets the running one. */
static inline __attribute__((always_inline)) _Noreturn void coil__arch_jump(void *load)
{
    register void *other __asm__("x1") = load;
    __asm__ volatile("mov sp, %0\n\t"
                     "ldr x19, [sp, #16]\n\t"
                     "ldp x16, x29, [sp], #32\n\t"
                     "br x16\n\t"
                     :
                     : "r"(other)
                     : "memory");
    __builtin_unreachable();
}

/* The control word that calls preserve. */
typedef struct coil__arch_fp {
    uint64_t fpcr;
} coil__arch_fp;

static inline coil__arch_fp coil__arch_fp_get(void)
{
    coil__arch_fp words;
    __asm__ volatile("mrs %0, fpcr" : "=r"(words.fpcr));
    return words;
}

static inline void coil__arch_fp_set(coil__arch_fp words)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(words.fpcr));
}

#else
#error "coil runs on x86-64 (System V ABI) and aarch64 (AAPCS64, LP64)"
#endif

#endif
