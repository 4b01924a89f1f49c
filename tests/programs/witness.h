/* A second opinion on stacks: touch() takes a block of a size that no other has, and writes down what
 * libunwind says of the stack at that moment. The file's name is in WITNESS; it holds, per block, in
 * 64-bit words: the size, how many return addresses, the return addresses. The first is touch's own.
 * Without the variable, and in programs that can't have libunwind (-DALONE), it only takes blocks. */
#ifndef WITNESS_H
#define WITNESS_H
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#ifndef ALONE
#define UNW_LOCAL_ONLY
#include <libunwind.h>
#endif

enum { WITNESS_FIRST_SIZE = 50000, WITNESS_FRAMES = 32768 };

static unsigned witness_blocks;
static int witness_file = -2;

/* Before the first thread. */
__attribute__((unused)) static void witness_open(void)
{
    const char *name = getenv("WITNESS");
    witness_file = name ? open(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (name && witness_file < 0)
        _exit(96);
}

#ifdef WITNESS_STEPS
/* Step by step: unw_backtrace remembers what it found at an address, also after another library has
 * come there. */
__attribute__((always_inline)) static inline unsigned long witness_stack(unsigned long *words)
{
    unw_context_t context;
    unw_cursor_t cursor;
    unsigned long count = 0;
    unw_set_caching_policy(unw_local_addr_space, UNW_CACHE_NONE);
    unw_getcontext(&context);
    unw_init_local(&cursor, &context);
    do {
        unw_word_t address;
        unw_get_reg(&cursor, UNW_REG_IP, &address);
        if (!address)
            break;
        words[count++] = address;
    } while (count < WITNESS_FRAMES && unw_step(&cursor) > 0);
    return count;
}
#elif !defined ALONE
#define witness_stack(words) (unsigned long)unw_backtrace((void **)(words), WITNESS_FRAMES)
#endif

__attribute__((noinline, unused)) static void touch(void)
{
    unsigned long size = WITNESS_FIRST_SIZE + __atomic_fetch_add(&witness_blocks, 1, __ATOMIC_RELAXED);
    void *block = malloc(size);
    /* It has a use, so that no compiler takes the pair of calls away. */
    __asm__ volatile("" : "+r"(block) : : "memory");
#ifndef ALONE
    if (witness_file >= 0) {
        static __thread unsigned long words[2 + WITNESS_FRAMES];
        words[0] = size;
        words[1] = witness_stack(words + 2);
        long bytes = (long)(2 + words[1]) * 8;
        /* One write to a file that is appended to: those of several threads don't mix. */
        if (write(witness_file, words, (size_t)bytes) != bytes)
            _exit(95);
    }
#endif
    free(block);
}
#endif
