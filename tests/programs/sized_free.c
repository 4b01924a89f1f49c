/* The two functions that C23 adds; glibc has them only from 2.42 on, so a library of the test
 * (libsized.c) provides them. */
#include <stdlib.h>
#include "say.h"

extern void free_sized(void *block, size_t size);
extern void free_aligned_sized(void *block, size_t alignment, size_t size);

__attribute__((noinline)) static void call_free_sized(size_t size)
{
    void *block = malloc(size);
    say("sized=%p\n", block);
    free_sized(block, size);
}

__attribute__((noinline)) static void call_free_aligned_sized(size_t alignment, size_t size)
{
    void *block = aligned_alloc(alignment, size);
    say("aligned=%p\n", block);
    free_aligned_sized(block, alignment, size);
}

int main(void)
{
    call_free_sized(88);
    call_free_aligned_sized(64, 192);
    return 0;
}
