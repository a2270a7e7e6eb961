/*
 * poison - tells AddressSanitizer, where it is compiled in, which memory of a pool is not out.
 *
 * Without it these are nothing. Inline only.
 */
#ifndef NET_POISON_H
#define NET_POISON_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_ENABLED 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define POISON_ENABLED 1
#endif

#ifdef POISON_ENABLED
#include <sanitizer/asan_interface.h>
#endif

static inline void memory_poison(void *memory, size_t bytes)
{
#ifdef POISON_ENABLED
    __asan_poison_memory_region(memory, bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

static inline void memory_unpoison(void *memory, size_t bytes)
{
#ifdef POISON_ENABLED
    __asan_unpoison_memory_region(memory, bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

#endif
