/*
 * aarch64_aapcs64.S - the outermost frame of a coroutine (AAPCS64 2022Q3)
 *
 * The switch itself is inline (arch.h). A coroutine's first switch jumps (br x16) to coil__arch_start with
 *
 *          sp -> +0   entry     struct coil__arch_call, written by coil__coro_init
 *                +8   arg
 *                +16  top of the stack
 *          x29 = 0              ends a walk along frame records
 *
 * sp is a multiple of 16 here and at entry, as 6.4.5.1 demands. No register is kept: entry never returns. It is entered by
 * a jump with x30 set by hand (x86_64_sysv.S tells why). x30 is undefined in the unwind information, which is how a
 * backtrace knows that it is complete.
 */
        .text
        .globl  coil__arch_start
        .hidden coil__arch_start
        .type   coil__arch_start, %function
        .p2align 4
coil__arch_start:
        .cfi_startproc
        .cfi_undefined x30
        .cfi_undefined x29
        .cfi_def_cfa sp, 16
        hint    #38             /* bti jc */
        ldp     x16, x0, [sp]
        adr     x30, 1f
        br      x16             /* by x16: lands on bti c */
1:      brk     #1
        .cfi_endproc
        .size   coil__arch_start, . - coil__arch_start

        .section .note.GNU-stack, "", %progbits

/* BTI: GNU_PROPERTY_AARCH64_FEATURE_1_AND = GNU_PROPERTY_AARCH64_FEATURE_1_BTI. */
        .section .note.gnu.property, "a", %note
        .p2align 3
        .long   4
        .long   16
        .long   5
        .asciz  "GNU"
        .long   0xc0000000
        .long   4
        .long   1
        .long   0
