/*
 * x86_64_sysv.S - the outermost frame of a coroutine (System V ABI, AMD64 supplement 1.0)
 *
 * The switch itself is inline (arch.h). A coroutine's first switch jumps to coil__arch_start with
 *
 *          rsp -> +0   entry     struct coil__arch_call, written by coil__coro_init
 *                 +8   arg
 *                 +16  top of the stack
 *          rbp = 0               ends a walk along frame pointers
 *
 * rsp is a multiple of 16 here, so that entry finds it as 3.2.2 demands: rsp + 8 a multiple of 16. No register is kept:
 * entry never returns. It is entered by a jump, with a return address pushed by hand for backtraces: a call would put an
 * entry into the processor's predictor of returns that is never taken off, and whoever resumes after the coroutine has
 * left would be mispredicted at every return (W2.spawn_one: 15 ns). rip is undefined in the unwind information, which is
 * how a backtrace knows that it is complete.
 */
        .text
        .globl  coil__arch_start
        .hidden coil__arch_start
        .type   coil__arch_start, @function
        .p2align 4
coil__arch_start:
        .cfi_startproc
        .cfi_undefined rip
        .cfi_undefined rbp
        .cfi_def_cfa rsp, 16
        endbr64
        movq    0(%rsp), %rax
        movq    8(%rsp), %rdi
        leaq    1f(%rip), %rdx
        pushq   %rdx
        jmp     *%rax
1:      ud2
        .cfi_endproc
        .size   coil__arch_start, . - coil__arch_start

        .section .note.GNU-stack, "", @progbits

/* IBT, and not shadow stacks: GNU_PROPERTY_X86_FEATURE_1_AND = GNU_PROPERTY_X86_FEATURE_1_IBT. */
        .section .note.gnu.property, "a", @note
        .p2align 3
        .long   4
        .long   16
        .long   5
        .asciz  "GNU"
        .long   0xc0000002
        .long   4
        .long   1
        .long   0
