/*
 * sanitized.h - COIL_TEST_SANITIZED, where the address or the thread sanitizer is at work: memory, stacks and signals
 * are not what they are without one
 */
#ifndef COIL_TEST_SANITIZED_H
#define COIL_TEST_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COIL_TEST_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COIL_TEST_SANITIZED 1
#endif
#endif

#endif
